//! Events as clients read and write them.

use convene_application::kernel::error::{Failure, FieldError};
use convene_domain::event::{self as domain, Capacity, LocalTime, Plan};
use convene_domain::text::{Description, Reason, Title};
use convene_domain::zone::TimeZoneName;
use garde::Validate;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::instant::Instant;
use crate::expand::{self, BesideEvent, Related};
use crate::json::{Patch, present};
use crate::{id, rules};

/// An event of a community.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Event {
    /// Its id.
    id: id::Event,
    /// The community that it belongs to.
    community_id: id::Community,
    /// What it is called.
    #[schema(min_length = 1, max_length = 200, example = "Async Rust from first principles")]
    title: String,
    /// What it is about.
    #[schema(required, max_length = 10_000, example = "Doors open at half past five.")]
    description: Option<String>,
    /// `draft`: only those who manage it see it. `published`: it takes RSVPs. `cancelled`: it will not take place.
    #[schema(example = "draft")]
    status: Status,
    /// When it starts, by the clocks of its time zone.
    #[schema(example = "2027-05-01T18:00:00")]
    starts_at_local: String,
    /// When it ends, by the clocks of its time zone.
    #[schema(example = "2027-05-01T20:30:00")]
    ends_at_local: String,
    /// Its time zone, by the name in the IANA database.
    #[schema(example = "Europe/Berlin")]
    time_zone: String,
    /// Which one is meant of two equal local times, where clocks are set back; null if none was chosen.
    #[schema(required, example = json!(null))]
    fold: Option<Fold>,
    /// The instant of its start, which follows from the local time.
    #[schema(example = "2027-05-01T16:00:00Z")]
    starts_at: Timestamp,
    /// The instant of its end, which follows from the local time.
    #[schema(example = "2027-05-01T18:30:00Z")]
    ends_at: Timestamp,
    /// How many seats there are; null without a limit.
    #[schema(required, minimum = 1, maximum = 1_000_000, example = 50)]
    capacity: Option<u32>,
    /// From when on it takes RSVPs; null for as soon as it is published.
    #[schema(required, example = "2027-04-01T08:00:00Z")]
    rsvp_opens_at: Option<Timestamp>,
    /// From when on it takes RSVPs no longer; null for its start.
    #[schema(required, example = json!(null))]
    rsvp_closes_at: Option<Timestamp>,
    /// When it was made.
    #[schema(example = "2027-03-15T10:00:00.123456Z")]
    created_at: Timestamp,
    /// When it last changed.
    #[schema(example = "2027-03-15T10:00:00.123456Z")]
    updated_at: Timestamp,
    #[serde(skip_serializing_if = "Related::is_absent")]
    #[schema(required = false, schema_with = expand::availability)]
    availability: Related,
    #[serde(skip_serializing_if = "Related::is_absent")]
    #[schema(required = false, schema_with = expand::community)]
    community: Related,
    #[serde(skip_serializing_if = "Related::is_absent")]
    #[schema(required = false, schema_with = expand::rsvp)]
    rsvp: Related,
}

impl Event {
    /// The same with what comes with it.
    pub(crate) fn with(self, beside: BesideEvent) -> Self {
        let BesideEvent { availability, community, rsvp } = beside;
        Self { availability, community, rsvp, ..self }
    }
}

impl From<&domain::Event> for Event {
    fn from(event: &domain::Event) -> Self {
        let plan = event.schedule.plan();
        Self {
            id: event.id.into(),
            community_id: event.community.into(),
            title: event.title.to_string(),
            description: event.description.as_ref().map(ToString::to_string),
            status: event.status.into(),
            starts_at_local: plan.starts_at_local.to_string(),
            ends_at_local: plan.ends_at_local.to_string(),
            time_zone: plan.time_zone.to_string(),
            fold: plan.fold.map(Fold::from),
            starts_at: event.schedule.starts_at(),
            ends_at: event.schedule.ends_at(),
            capacity: event.capacity.map(Capacity::get),
            rsvp_opens_at: event.window.opens_at(),
            rsvp_closes_at: event.window.closes_at(),
            created_at: event.created_at,
            updated_at: event.updated_at,
            availability: Related::default(),
            community: Related::default(),
            rsvp: Related::default(),
        }
    }
}

/// Where an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = EventStatus)]
pub(super) enum Status {
    /// Only those who manage it see it.
    Draft,
    /// It is announced and takes RSVPs.
    Published,
    /// It will not take place.
    Cancelled,
}

impl From<domain::Status> for Status {
    fn from(status: domain::Status) -> Self {
        match status {
            domain::Status::Draft => Self::Draft,
            domain::Status::Published => Self::Published,
            domain::Status::Cancelled => Self::Cancelled,
        }
    }
}

/// Which one is meant of two equal local times, where clocks are set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = EventFold)]
pub(super) enum Fold {
    /// The first, before clocks are set back.
    Earlier,
    /// The second.
    Later,
}

impl From<domain::Fold> for Fold {
    fn from(fold: domain::Fold) -> Self {
        match fold {
            domain::Fold::Earlier => Self::Earlier,
            domain::Fold::Later => Self::Later,
        }
    }
}

impl From<Fold> for domain::Fold {
    fn from(fold: Fold) -> Self {
        match fold {
            Fold::Earlier => Self::Earlier,
            Fold::Later => Self::Later,
        }
    }
}

/// What a new event is made of.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct CreateEvent {
    /// What it is called: one line.
    #[garde(custom(rules::text(Title::check)))]
    #[schema(min_length = 1, max_length = 200, example = "Async Rust from first principles")]
    title: String,
    /// What it is about.
    #[serde(default)]
    #[garde(inner(custom(rules::text(Description::check))))]
    #[schema(max_length = 10_000, example = "Doors open at half past five.")]
    description: Option<String>,
    /// When it starts, by the clocks of the time zone; seconds may be left out.
    #[garde(custom(rules::text(LocalTime::check)))]
    #[schema(
        pattern = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?$",
        example = "2027-05-01T18:00:00"
    )]
    starts_at_local: String,
    /// When it ends, by the clocks of the time zone; later than the start.
    #[garde(custom(rules::text(LocalTime::check)))]
    #[schema(
        pattern = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?$",
        example = "2027-05-01T20:30:00"
    )]
    ends_at_local: String,
    /// The time zone, by the name in the IANA database.
    #[garde(custom(rules::text(TimeZoneName::check)))]
    #[schema(example = "Europe/Berlin")]
    time_zone: String,
    /// Which one is meant of two equal local times, where clocks are set back; for start and end. Needed for such times
    /// alone, without effect on others.
    #[serde(default)]
    #[garde(skip)]
    #[schema(example = json!(null))]
    fold: Option<Fold>,
    /// How many seats there are; null or left out for no limit.
    #[serde(default)]
    #[garde(inner(range(min = 1, max = Capacity::MAX)))]
    #[schema(minimum = 1, maximum = 1_000_000, example = 50)]
    capacity: Option<u32>,
    /// From when on it takes RSVPs; null or left out for as soon as it is published.
    #[serde(default)]
    #[garde(skip)]
    #[schema(value_type = Option<Timestamp>, example = "2027-04-01T08:00:00Z")]
    rsvp_opens_at: Option<Instant>,
    /// From when on it takes RSVPs no longer, later than `rsvp_opens_at`; null or left out for the start.
    #[serde(default)]
    #[garde(skip)]
    #[schema(value_type = Option<Timestamp>, example = json!(null))]
    rsvp_closes_at: Option<Instant>,
}

impl TryFrom<CreateEvent> for domain::NewEvent {
    type Error = Failure;

    fn try_from(body: CreateEvent) -> Result<Self, Failure> {
        Ok(Self {
            title: title(body.title)?,
            description: body.description.map(description).transpose()?,
            plan: Plan {
                starts_at_local: starts_at_local(&body.starts_at_local)?,
                ends_at_local: ends_at_local(&body.ends_at_local)?,
                time_zone: time_zone(body.time_zone)?,
                fold: body.fold.map(domain::Fold::from),
            },
            rsvp_opens_at: body.rsvp_opens_at.map(Timestamp::from),
            rsvp_closes_at: body.rsvp_closes_at.map(Timestamp::from),
            capacity: body.capacity.map(capacity).transpose()?,
        })
    }
}

/// What can be changed about an event. What is left out stays.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct PatchEvent {
    /// What it is called; cannot be null.
    #[serde(default, deserialize_with = "present")]
    #[garde(inner(custom(rules::text(Title::check))))]
    #[schema(
        nullable = false,
        min_length = 1,
        max_length = 200,
        example = "Async Rust from first principles"
    )]
    title: Option<String>,
    /// What it is about; null clears it.
    #[serde(default)]
    #[garde(inner(custom(rules::text(Description::check))))]
    #[schema(
        value_type = Option<String>,
        max_length = 10_000,
        example = "Doors open at half past five."
    )]
    description: Patch<String>,
    /// When it starts, by the clocks of the time zone; cannot be null.
    #[serde(default, deserialize_with = "present")]
    #[garde(inner(custom(rules::text(LocalTime::check))))]
    #[schema(
        nullable = false,
        pattern = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?$",
        example = "2027-05-01T18:00:00"
    )]
    starts_at_local: Option<String>,
    /// When it ends, by the clocks of the time zone; cannot be null.
    #[serde(default, deserialize_with = "present")]
    #[garde(inner(custom(rules::text(LocalTime::check))))]
    #[schema(
        nullable = false,
        pattern = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?$",
        example = "2027-05-01T20:30:00"
    )]
    ends_at_local: Option<String>,
    /// The time zone, by the name in the IANA database; cannot be null. The local times stay what they are.
    #[serde(default, deserialize_with = "present")]
    #[garde(inner(custom(rules::text(TimeZoneName::check))))]
    #[schema(nullable = false, example = "Europe/Berlin")]
    time_zone: Option<String>,
    /// Which one is meant of two equal local times, where clocks are set back; null for no choice.
    #[serde(default)]
    #[garde(skip)]
    #[schema(value_type = Option<Fold>, example = json!(null))]
    fold: Patch<Fold>,
    /// How many seats there are, not fewer than are taken; null for no limit.
    #[serde(default)]
    #[garde(inner(range(min = 1, max = Capacity::MAX)))]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000, example = 60)]
    capacity: Patch<u32>,
    /// From when on it takes RSVPs; null for as soon as it is published.
    #[serde(default)]
    #[garde(skip)]
    #[schema(value_type = Option<Timestamp>, example = "2027-04-01T08:00:00Z")]
    rsvp_opens_at: Patch<Instant>,
    /// From when on it takes RSVPs no longer, later than `rsvp_opens_at`; null for the start.
    #[serde(default)]
    #[garde(skip)]
    #[schema(value_type = Option<Timestamp>, example = json!(null))]
    rsvp_closes_at: Patch<Instant>,
}

impl TryFrom<PatchEvent> for domain::EventPatch {
    type Error = Failure;

    fn try_from(body: PatchEvent) -> Result<Self, Failure> {
        Ok(Self {
            title: body.title.map(title).transpose()?,
            description: body.description.try_map(description)?.into_option(),
            starts_at_local: body.starts_at_local.as_deref().map(starts_at_local).transpose()?,
            ends_at_local: body.ends_at_local.as_deref().map(ends_at_local).transpose()?,
            time_zone: body.time_zone.map(time_zone).transpose()?,
            fold: body.fold.map(domain::Fold::from).into_option(),
            rsvp_opens_at: body.rsvp_opens_at.map(Timestamp::from).into_option(),
            rsvp_closes_at: body.rsvp_closes_at.map(Timestamp::from).into_option(),
            capacity: body.capacity.try_map(capacity)?.into_option(),
        })
    }
}

/// What can be said about the cancelling of an event.
#[derive(Debug, Default, Deserialize, Validate, ToSchema)]
pub(super) struct CancelEvent {
    /// Why it will not take place, for those who meant to come.
    #[serde(default)]
    #[garde(inner(custom(rules::text(Reason::check))))]
    #[schema(max_length = 1_000, example = "The speaker is ill.")]
    reason: Option<String>,
}

impl CancelEvent {
    /// The reason, if one was given.
    ///
    /// # Errors
    /// 422 if it is none.
    pub(super) fn reason(self) -> Result<Option<Reason>, Failure> {
        self.reason.map(|reason| rules::checked("reason", Reason::new(reason))).transpose()
    }
}

fn title(text: String) -> Result<Title, Failure> {
    rules::checked("title", Title::new(text))
}

fn description(text: String) -> Result<Description, Failure> {
    rules::checked("description", Description::new(text))
}

fn starts_at_local(text: &str) -> Result<LocalTime, Failure> {
    rules::checked("starts_at_local", LocalTime::parse(text))
}

fn ends_at_local(text: &str) -> Result<LocalTime, Failure> {
    rules::checked("ends_at_local", LocalTime::parse(text))
}

fn time_zone(name: String) -> Result<TimeZoneName, Failure> {
    rules::checked("time_zone", TimeZoneName::new(name))
}

fn capacity(seats: u32) -> Result<Capacity, Failure> {
    Capacity::new(seats).ok_or_else(|| {
        let detail = format!("must be from 1 to {}", Capacity::MAX);
        Failure::invalid(vec![FieldError::field("capacity", "out_of_range", detail)])
    })
}
