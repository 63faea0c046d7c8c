//! Rows of this module, and the domain's values that they hold.

use convene_application::community::offers::CommunityStanding;
use convene_application::kernel::page::PageKey;
use convene_application::kernel::store::StoreError;
use convene_domain::community::Visibility;
use convene_domain::event::{Capacity, Event, Fold, LocalTime, Plan, RsvpWindow, Schedule, Status};
use convene_domain::ids::TypedId;
use convene_domain::role::Role;
use convene_domain::text::{Description, Title};
use convene_domain::zone::TimeZoneName;
use diesel::QueryableByName;
use diesel::sql_types::{
    Bool, Integer, Nullable, Text, Timestamp as SqlTimestamp, Timestamptz, Uuid as SqlUuid,
};
use jiff::Timestamp;
use jiff::civil::DateTime;
use uuid::Uuid;

use crate::postgres::sql::stored;

/// The columns of [`EventRow`] of a row `e` of `events`.
pub(super) const EVENT_COLUMNS: &str = "e.id, e.community_id, e.title, e.description, e.status, e.starts_at_local, \
     e.ends_at_local, e.time_zone, e.fold, e.starts_at, e.ends_at, e.rsvp_opens_at, e.rsvp_closes_at, \
     e.published_at, e.version, e.created_at, e.updated_at";

/// An event without its capacity, which lies with its seats.
#[derive(QueryableByName)]
pub(super) struct EventRow {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    community_id: Uuid,
    #[diesel(sql_type = Text)]
    title: String,
    #[diesel(sql_type = Nullable<Text>)]
    description: Option<String>,
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = SqlTimestamp, deserialize_as = jiff_diesel::DateTime)]
    starts_at_local: DateTime,
    #[diesel(sql_type = SqlTimestamp, deserialize_as = jiff_diesel::DateTime)]
    ends_at_local: DateTime,
    #[diesel(sql_type = Text)]
    time_zone: String,
    #[diesel(sql_type = Nullable<Text>)]
    fold: Option<String>,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    starts_at: Timestamp,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    ends_at: Timestamp,
    #[diesel(sql_type = Nullable<Timestamptz>, deserialize_as = jiff_diesel::NullableTimestamp)]
    rsvp_opens_at: Option<Timestamp>,
    #[diesel(sql_type = Nullable<Timestamptz>, deserialize_as = jiff_diesel::NullableTimestamp)]
    rsvp_closes_at: Option<Timestamp>,
    #[diesel(sql_type = Nullable<Timestamptz>, deserialize_as = jiff_diesel::NullableTimestamp)]
    published_at: Option<Timestamp>,
    #[diesel(sql_type = Integer)]
    version: i32,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    created_at: Timestamp,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    updated_at: Timestamp,
}

impl EventRow {
    /// The event, with the capacity of its seats.
    pub(super) fn with_capacity(self, capacity: Option<u32>) -> Result<Event, StoreError> {
        let plan = Plan {
            starts_at_local: LocalTime::from_civil(self.starts_at_local),
            ends_at_local: LocalTime::from_civil(self.ends_at_local),
            time_zone: stored("events.time_zone", TimeZoneName::new(self.time_zone))?,
            fold: self
                .fold
                .map(|name| stored("events.fold", Fold::parse(&name).ok_or(())))
                .transpose()?,
        };
        let window = RsvpWindow::new(self.rsvp_opens_at, self.rsvp_closes_at);
        Ok(Event {
            id: TypedId::from_uuid(self.id),
            community: TypedId::from_uuid(self.community_id),
            title: stored("events.title", Title::new(self.title))?,
            description: stored(
                "events.description",
                self.description.map(Description::new).transpose(),
            )?,
            schedule: Schedule::stored(plan, self.starts_at, self.ends_at),
            window: stored("events.rsvp_closes_at", window)?,
            capacity: capacity
                .map(|seats| stored("event_seats.capacity", Capacity::new(seats).ok_or(())))
                .transpose()?,
            status: stored("events.status", Status::parse(&self.status).ok_or(()))?,
            published_at: self.published_at,
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

/// An event with its capacity.
#[derive(QueryableByName)]
pub(super) struct SizedRow {
    #[diesel(embed)]
    event: EventRow,
    #[diesel(sql_type = Nullable<Integer>)]
    capacity: Option<i32>,
}

impl SizedRow {
    pub(super) fn page_key(&self) -> PageKey {
        PageKey { sort: self.event.starts_at.as_microsecond(), id: self.event.id }
    }
}

impl TryFrom<SizedRow> for Event {
    type Error = StoreError;

    fn try_from(row: SizedRow) -> Result<Self, StoreError> {
        row.event.with_capacity(row.capacity.map(i32::unsigned_abs))
    }
}

/// A community as far as permissions depend on it.
#[derive(QueryableByName)]
pub(super) struct CommunityRow {
    #[diesel(sql_type = SqlUuid)]
    community_id: Uuid,
    #[diesel(sql_type = Text)]
    visibility: String,
    #[diesel(sql_type = Bool)]
    archived: bool,
}

impl CommunityRow {
    /// Who somebody with this role, or none, is to the community.
    pub(super) fn standing(self, role: Option<&str>) -> Result<CommunityStanding, StoreError> {
        Ok(CommunityStanding {
            id: TypedId::from_uuid(self.community_id),
            visibility: stored(
                "communities.visibility",
                Visibility::parse(&self.visibility).ok_or(()),
            )?,
            archived: self.archived,
            role: role
                .map(|name| stored("members.role", Role::parse(name).ok_or(())))
                .transpose()?,
        })
    }
}
