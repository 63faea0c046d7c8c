//! Events of a community: when they take place, how many fit, and what becomes of them.

mod schedule;
mod status;
mod window;

pub use schedule::{Edge, Fold, LocalTime, Plan, Schedule, ScheduleError, has_a_date};
pub use status::{InvalidTransition, Status};
pub use window::{EmptyWindow, RsvpWindow};

use jiff::Timestamp;

use crate::ids::{CommunityId, EventId};
use crate::text::{Description, Title};

/// How many seats an event has: 1–1,000,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capacity(u32);

impl Capacity {
    /// The most seats that an event can have, other than without limit.
    pub const MAX: u32 = 1_000_000;

    /// A number of seats, unless it is outside 1–1,000,000.
    #[must_use]
    pub const fn new(seats: u32) -> Option<Self> {
        if seats >= 1 && seats <= Self::MAX { Some(Self(seats)) } else { None }
    }

    /// The number of seats.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its identity.
    pub id: EventId,
    /// The community that it belongs to.
    pub community: CommunityId,
    /// What it is called.
    pub title: Title,
    /// What it is about.
    pub description: Option<Description>,
    /// When it takes place.
    pub schedule: Schedule,
    /// When people may join.
    pub window: RsvpWindow,
    /// How many seats there are; none means without limit.
    pub capacity: Option<Capacity>,
    /// Where it stands.
    pub status: Status,
    /// When it was published. A draft that was cancelled never was, and stays out of sight.
    pub published_at: Option<Timestamp>,
    /// How many recorded events it has, which is the aggregate version of the last.
    pub version: i32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What a new event is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// What it is called.
    pub title: Title,
    /// What it is about.
    pub description: Option<Description>,
    /// When it takes place.
    pub plan: Plan,
    /// First instant at which people may join.
    pub rsvp_opens_at: Option<Timestamp>,
    /// First instant at which people may join no longer.
    pub rsvp_closes_at: Option<Timestamp>,
    /// How many seats there are; none means without limit.
    pub capacity: Option<Capacity>,
}

/// Changes to an event; what is `None` stays, `Some(None)` clears.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventPatch {
    /// Another title.
    pub title: Option<Title>,
    /// Another description, or none.
    pub description: Option<Option<Description>>,
    /// Another start.
    pub starts_at_local: Option<LocalTime>,
    /// Another end.
    pub ends_at_local: Option<LocalTime>,
    /// Another time zone.
    pub time_zone: Option<crate::zone::TimeZoneName>,
    /// Another choice for times that occur twice, or none.
    pub fold: Option<Option<Fold>>,
    /// Another first instant at which people may join, or none.
    pub rsvp_opens_at: Option<Option<Timestamp>>,
    /// Another first instant at which people may join no longer, or none.
    pub rsvp_closes_at: Option<Option<Timestamp>>,
    /// Another number of seats, or no limit.
    pub capacity: Option<Option<Capacity>>,
}

/// Why what is said about an event does not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// Its times.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The time in which people may join.
    #[error(transparent)]
    Window(#[from] EmptyWindow),
}

/// Why an event does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its status does not allow it.
    #[error(transparent)]
    Transition(#[from] InvalidTransition),
    /// More seats are taken than there would be.
    #[error("{taken} seats are taken")]
    CapacityBelowTaken {
        /// Seats held by confirmed parties.
        taken: u32,
    },
}

/// An event after a change, with the version of each event that is to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// The event as it is now.
    pub event: Event,
    /// The version with which something other than the capacity changed.
    pub updated: Option<i32>,
    /// The version with which the capacity changed.
    pub capacity_changed: Option<i32>,
}

impl Event {
    /// A new draft; its making is its first recorded event.
    ///
    /// # Errors
    /// Everything that does not fit together.
    pub fn draft(
        id: EventId,
        community: CommunityId,
        new: NewEvent,
        now: Timestamp,
    ) -> Result<Self, Vec<Mistake>> {
        let (schedule, window) = fitted(
            Schedule::derive(new.plan),
            RsvpWindow::new(new.rsvp_opens_at, new.rsvp_closes_at),
        )?;
        Ok(Self {
            id,
            community,
            title: new.title,
            description: new.description,
            schedule,
            window,
            capacity: new.capacity,
            status: Status::Draft,
            published_at: None,
            version: 1,
            created_at: now,
            updated_at: now,
        })
    }

    /// What the event would be with these changes. Its instants are derived again if its local times changed.
    ///
    /// # Errors
    /// Everything that does not fit together.
    pub fn amended(&self, patch: EventPatch) -> Result<Self, Vec<Mistake>> {
        let old = self.schedule.plan();
        let plan = Plan {
            starts_at_local: patch.starts_at_local.unwrap_or(old.starts_at_local),
            ends_at_local: patch.ends_at_local.unwrap_or(old.ends_at_local),
            time_zone: patch.time_zone.unwrap_or_else(|| old.time_zone.clone()),
            fold: patch.fold.unwrap_or(old.fold),
        };
        let schedule =
            if plan == *old { Ok(self.schedule.clone()) } else { Schedule::derive(plan) };
        let window = RsvpWindow::new(
            patch.rsvp_opens_at.unwrap_or(self.window.opens_at()),
            patch.rsvp_closes_at.unwrap_or(self.window.closes_at()),
        );
        let (schedule, window) = fitted(schedule, window)?;
        Ok(Self {
            title: patch.title.unwrap_or_else(|| self.title.clone()),
            description: patch.description.unwrap_or_else(|| self.description.clone()),
            schedule,
            window,
            capacity: patch.capacity.unwrap_or(self.capacity),
            ..self.clone()
        })
    }

    /// Takes over what [`Event::amended`] made, if the state allows it. `None` if it is the same. `taken` are the seats
    /// held by confirmed parties, under lock.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn revised(
        &self,
        amended: Self,
        taken: u32,
        now: Timestamp,
    ) -> Result<Option<Revision>, Refusal> {
        self.status.ensure_editable()?;
        if amended == *self {
            return Ok(None);
        }
        let capacity_changes = amended.capacity != self.capacity;
        if capacity_changes && amended.capacity.is_some_and(|capacity| capacity.get() < taken) {
            return Err(Refusal::CapacityBelowTaken { taken });
        }
        let details_change = Self { capacity: self.capacity, ..amended.clone() } != *self;
        let mut event = amended;
        let updated = details_change.then(|| event.touch(now));
        let capacity_changed = capacity_changes.then(|| event.touch(now));
        Ok(Some(Revision { event, updated, capacity_changed }))
    }

    /// The event, published.
    ///
    /// # Errors
    /// [`InvalidTransition`] unless it is a draft.
    pub fn published(&self, now: Timestamp) -> Result<Self, InvalidTransition> {
        let status = self.status.publish()?;
        let mut event = Self { status, published_at: Some(now), ..self.clone() };
        event.touch(now);
        Ok(event)
    }

    /// The event, cancelled.
    ///
    /// # Errors
    /// [`InvalidTransition`] if it was cancelled before.
    pub fn cancelled(&self, now: Timestamp) -> Result<Self, InvalidTransition> {
        let mut event = Self { status: self.status.cancel()?, ..self.clone() };
        event.touch(now);
        Ok(event)
    }

    /// Whether more people fit than into the other: into the old event, say, before its capacity changed.
    #[must_use]
    pub fn holds_more_than(&self, other: &Self) -> bool {
        match (self.capacity, other.capacity) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(new), Some(old)) => new > old,
        }
    }

    /// Makes the next version and returns it.
    fn touch(&mut self, now: Timestamp) -> i32 {
        self.version += 1;
        self.updated_at = now;
        self.version
    }
}

/// Both, or all that is wrong with either.
fn fitted(
    schedule: Result<Schedule, Vec<ScheduleError>>,
    window: Result<RsvpWindow, EmptyWindow>,
) -> Result<(Schedule, RsvpWindow), Vec<Mistake>> {
    match (schedule, window) {
        (Ok(schedule), Ok(window)) => Ok((schedule, window)),
        (schedule, window) => {
            let of_times = schedule.err().unwrap_or_default().into_iter().map(Mistake::from);
            Err(of_times.chain(window.err().map(Mistake::from)).collect())
        }
    }
}

#[cfg(test)]
mod tests;
