//! RSVPs as clients read and write them.

use convene_application::rsvp::Availability;
use convene_application::rsvp::ports::RsvpView;
use convene_domain::rsvp::{Admission, MAX_PARTY_SIZE, PartySize, Status};
use garde::Validate;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::expand::{self, Related};
use crate::id;

/// How many people come.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct PutRsvp {
    /// The person and those they bring.
    #[serde(default = "one")]
    #[garde(range(min = 1, max = MAX_PARTY_SIZE))]
    #[schema(minimum = 1, maximum = 10, default = 1, example = 2)]
    party_size: u32,
}

fn one() -> u32 {
    1
}

impl From<PutRsvp> for PartySize {
    fn from(body: PutRsvp) -> Self {
        Self::new(body.party_size).unwrap_or(Self::ONE)
    }
}

/// One person's answer to one event.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Rsvp {
    /// A new one each time the person joins again after cancelling.
    id: id::Rsvp,
    /// The event.
    event_id: id::Event,
    /// Whose answer it is.
    user_id: id::User,
    /// `confirmed`: the whole party has seats. `waitlisted`: the whole party waits. `cancelled`: it holds nothing.
    #[schema(example = "confirmed")]
    status: RsvpStatus,
    /// How many people it brings.
    #[schema(minimum = 1, maximum = 10, example = 2)]
    party_size: u32,
    /// The place in the line from 1, counted in parties; null unless waitlisted.
    #[schema(minimum = 1, example = json!(null))]
    waitlist_position: Option<u32>,
    /// When it was made.
    #[schema(example = "2027-04-01T08:30:00.123456Z")]
    created_at: Timestamp,
    /// When it last changed.
    #[schema(example = "2027-04-01T08:30:00.123456Z")]
    updated_at: Timestamp,
    #[serde(skip_serializing_if = "Related::is_absent")]
    #[schema(required = false, schema_with = expand::event)]
    event: Related,
}

impl Rsvp {
    /// The same with its event.
    pub(super) fn with(self, event: Related) -> Self {
        Self { event, ..self }
    }
}

impl From<&RsvpView> for Rsvp {
    fn from(RsvpView { rsvp, position }: &RsvpView) -> Self {
        Self {
            id: rsvp.id.into(),
            event_id: rsvp.event.into(),
            user_id: rsvp.user.into(),
            status: rsvp.status.into(),
            party_size: rsvp.party.get(),
            waitlist_position: *position,
            created_at: rsvp.created_at,
            updated_at: rsvp.updated_at,
            event: Related::default(),
        }
    }
}

impl From<&Admission> for Rsvp {
    fn from(admission: &Admission) -> Self {
        let Admission { rsvp, position, .. } = admission.clone();
        Self::from(&RsvpView { rsvp, position })
    }
}

/// Where an RSVP stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RsvpStatus {
    /// The whole party has seats.
    Confirmed,
    /// The whole party waits for seats.
    Waitlisted,
    /// It holds nothing any more.
    Cancelled,
}

impl From<Status> for RsvpStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Confirmed => Self::Confirmed,
            Status::Waitlisted => Self::Waitlisted,
            Status::Cancelled => Self::Cancelled,
        }
    }
}

impl From<RsvpStatus> for Status {
    fn from(status: RsvpStatus) -> Self {
        match status {
            RsvpStatus::Confirmed => Self::Confirmed,
            RsvpStatus::Waitlisted => Self::Waitlisted,
            RsvpStatus::Cancelled => Self::Cancelled,
        }
    }
}

/// Which RSVPs of an event.
#[derive(Clone, Copy, Debug, Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RsvpFilter {
    /// Those of this status; without it those that are confirmed or waitlisted.
    #[garde(skip)]
    pub(super) status: Option<RsvpStatus>,
}

/// How many seats an event has left. Changes with every RSVP.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventAvailability {
    /// All seats; null without a limit.
    #[schema(example = 50)]
    capacity: Option<u32>,
    /// Seats of confirmed parties.
    #[schema(example = 48)]
    seats_taken: u32,
    /// Seats that nobody holds; null without a limit.
    #[schema(example = 2)]
    seats_left: Option<u32>,
    /// Parties that wait.
    #[schema(example = 0)]
    waitlist_length: u32,
}

impl From<Availability> for EventAvailability {
    fn from(seats: Availability) -> Self {
        Self {
            capacity: seats.capacity,
            seats_taken: seats.seats_taken,
            seats_left: seats.seats_left,
            waitlist_length: seats.waitlist_length,
        }
    }
}
