//! What this module needs of the store.

use async_trait::async_trait;
use convene_domain::community::CommunityRef;
use convene_domain::event::Event;
use convene_domain::ids::{CommunityId, EventId, UserId};
use convene_domain::rsvp::Seats;

use crate::community::offers::CommunityStanding;
use crate::kernel::authz::{Action, Standing};
use crate::kernel::page::{Page, PageQuery};
use crate::kernel::store::StoreError;
use crate::kernel::uow::Tx;
use crate::rsvp::offers::SeatingTx;

/// The transaction of this module. Locks are taken in the order community, member, seats, event: the first two are shared
/// and keep the community from being archived, and the person from leaving, until the change is done.
#[async_trait]
pub trait EventTx: Tx + SeatingTx {
    /// Keeps a community and the viewer's membership from changing, for the making of an event. `None` without such a
    /// community.
    ///
    /// # Errors
    /// The store's.
    async fn hold_community(
        &mut self,
        community: &CommunityRef,
        viewer: UserId,
    ) -> Result<Option<CommunityStanding>, StoreError>;

    /// Locks an event and its seats, and reads who the viewer is to it. `None` without such an event.
    ///
    /// # Errors
    /// The store's.
    async fn lock_event(
        &mut self,
        event: EventId,
        viewer: UserId,
    ) -> Result<Option<LockedEvent>, StoreError>;

    /// Stages a new event and its first organiser. Its seats are opened beside, after it.
    fn insert_event(&mut self, event: &Event, organizer: UserId);

    /// Stages a change of a locked event, other than of its capacity.
    fn update_event(&mut self, event: &Event);
}

/// An event whose row and seats are locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedEvent {
    /// The event, and who the viewer is to it.
    pub seen: SeenEvent,
    /// The counters of its seats.
    pub seats: Seats,
}

/// An event as one viewer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenEvent {
    /// The event.
    pub event: Event,
    /// Its community, and who the viewer is to that.
    pub community: CommunityStanding,
    /// Whether the viewer organises this event.
    pub organizes: bool,
}

/// Which of a community's events that were never published are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpublished {
    /// None.
    Hidden,
    /// Those that this person organises.
    OrganizedBy(UserId),
    /// All.
    Listed,
}

/// Reads that need no transaction.
#[async_trait]
pub trait EventReads: Send + Sync {
    /// An event as the viewer sees it. `None` if there is none.
    ///
    /// # Errors
    /// The store's.
    async fn event(
        &self,
        event: EventId,
        viewer: Option<UserId>,
    ) -> Result<Option<SeenEvent>, StoreError>;

    /// These events as the viewer sees them; in any order, without those that are not there.
    ///
    /// # Errors
    /// The store's.
    async fn events(
        &self,
        events: &[EventId],
        viewer: Option<UserId>,
    ) -> Result<Vec<SeenEvent>, StoreError>;

    /// Events of a community by their start.
    ///
    /// # Errors
    /// The store's.
    async fn of_community(
        &self,
        community: CommunityId,
        unpublished: Unpublished,
        query: PageQuery,
    ) -> Result<Page<Event>, StoreError>;
}

impl SeenEvent {
    /// What the viewer may do to the event.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            event: Some(self.event.id),
            organizes_event: self.organizes,
            ..self.community.standing()
        }
    }

    /// Whether the viewer may know that the event exists. What was never published is for those who manage it, and events
    /// of a private community for its members. That a community is archived hides no event.
    #[must_use]
    pub fn is_visible(&self) -> bool {
        is_visible(&self.event, &self.community, self.organizes)
    }
}

/// Whether somebody may know that an event exists: who stands so to its community, and organises it or not.
pub(super) fn is_visible(event: &Event, community: &CommunityStanding, organizes: bool) -> bool {
    let standing =
        Standing { event: Some(event.id), organizes_event: organizes, ..community.standing() };
    standing.sees_event(community.is_private(), event.published_at.is_some())
}

impl Unpublished {
    /// What a viewer finds in the list of a community.
    #[must_use]
    pub fn of(community: &CommunityStanding, viewer: Option<UserId>) -> Self {
        if community.standing().may(Action::ManageEvent) {
            return Self::Listed;
        }
        match viewer {
            Some(viewer) if community.role.is_some() => Self::OrganizedBy(viewer),
            _ => Self::Hidden,
        }
    }
}
