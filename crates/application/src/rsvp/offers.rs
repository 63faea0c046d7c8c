//! What this module offers to others: seats that are part of their transaction, and jobs that they may stage.

use async_trait::async_trait;
use convene_domain::ids::{CommunityId, EventId, UserId};
use convene_domain::rsvp::Seats;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::kernel::jobs::Job;
use crate::kernel::store::StoreError;

/// The seats of an event, within another module's transaction. To be locked before the event's own row.
#[async_trait]
pub trait SeatingTx: Send {
    /// Locks the counters of an event's seats until the transaction ends. `None` if there is no such event.
    async fn lock_seats(&mut self, event: EventId) -> Result<Option<Seats>, StoreError>;

    /// Stages the seats of a new event.
    fn open_seats(&mut self, event: EventId, capacity: Option<u32>);

    /// Stages another capacity. The caller holds the lock and has compared it with the seats that are taken.
    fn change_capacity(&mut self, event: EventId, capacity: Option<u32>);
}

/// Gives free seats to those who wait, a bounded number at a time. To be staged when a capacity was raised; unique by
/// event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromoteWaitlist {
    /// The event.
    #[serde(with = "crate::kernel::typed")]
    pub event: EventId,
}

/// Ends all RSVPs of a cancelled event and tells each person once. Unique by event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseEvent {
    /// The event.
    #[serde(with = "crate::kernel::typed")]
    pub event: EventId,
}

/// Ends the future RSVPs of a person who left a community.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseMember {
    /// The community that was left.
    #[serde(with = "crate::kernel::typed")]
    pub community: CommunityId,
    /// Who left.
    #[serde(with = "crate::kernel::typed")]
    pub user: UserId,
    /// When; RSVPs made later, after coming back, stay.
    pub left_at: Timestamp,
}

impl Job for PromoteWaitlist {
    const KIND: &'static str = "rsvp.promote_waitlist";
    const PRIORITY: i16 = 10;
}

impl Job for ReleaseEvent {
    const KIND: &'static str = "rsvp.release_event";
    const PRIORITY: i16 = 20;
}

impl Job for ReleaseMember {
    const KIND: &'static str = "rsvp.release_member";
    const PRIORITY: i16 = 20;
}
