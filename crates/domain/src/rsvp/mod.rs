//! RSVPs: who has a seat at an event, who waits, and in which order.

mod admission;
mod window;

pub use admission::{Admission, Ask, Cause, EventLine, Fact, FactKind, Refusal, Request, Seats};
pub use window::{Admissibility, Closed};

use jiff::Timestamp;

use crate::ids::{EventId, RsvpId, UserId};

/// The greatest number of people that one RSVP can bring.
pub const MAX_PARTY_SIZE: u32 = 10;

/// How many people one RSVP brings: 1–10.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartySize(u32);

impl PartySize {
    /// A party of one.
    pub const ONE: Self = Self(1);

    /// A size, unless it is outside 1–10.
    #[must_use]
    pub const fn new(people: u32) -> Option<Self> {
        if people >= 1 && people <= MAX_PARTY_SIZE { Some(Self(people)) } else { None }
    }

    /// The number of people.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Where an RSVP stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Its whole party has seats.
    Confirmed,
    /// Its whole party waits for seats.
    Waitlisted,
    /// It holds nothing any more; joining again makes a new RSVP.
    Cancelled,
}

impl Status {
    /// The stable name of the status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Waitlisted => "waitlisted",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status with that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Confirmed, Self::Waitlisted, Self::Cancelled]
            .into_iter()
            .find(|status| status.as_str() == name)
    }
}

/// One person's answer to one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rsvp {
    /// Its identity; a person who cancels and joins again gets a new one.
    pub id: RsvpId,
    /// The event that it answers.
    pub event: EventId,
    /// Whose answer it is.
    pub user: UserId,
    /// Where it stands.
    pub status: Status,
    /// How many people it brings.
    pub party: PartySize,
    /// Its number in the line while it waits; lower numbers go first.
    pub waitlist_number: Option<i64>,
    /// How many recorded events it has, which is the aggregate version of the last.
    pub version: i32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}
