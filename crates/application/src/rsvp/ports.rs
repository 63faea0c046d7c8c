//! What this module needs of the store.

use async_trait::async_trait;
use convene_domain::ids::{CommunityId, EventId, UserId};
use convene_domain::rsvp::{Admissibility, Rsvp, Seats, Status};
use jiff::Timestamp;
use jiff::civil::DateTime;

use crate::kernel::authz::Standing;
use crate::kernel::page::{Page, PageQuery};
use crate::kernel::store::StoreError;
use crate::kernel::uow::Tx;

/// The transaction of this module.
#[async_trait]
pub trait RsvpTx: Tx {
    /// Locks the memberships of `users`, then the event's seats, and loads what decides about them: one flight. The front
    /// of the line is long enough for all seats that these users can free, and `promote` more. `None` without such an
    /// event.
    async fn open(
        &mut self,
        event: EventId,
        users: &[UserId],
        promote: u32,
    ) -> Result<Option<Opened>, StoreError>;

    /// Stages the counters and the RSVPs that were made or changed.
    fn save(&mut self, event: EventId, seats: Seats, rsvps: Vec<Rsvp>);
}

/// An event under lock, as far as the requests at hand can touch it.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Facts of the event.
    pub event: EventFacts,
    /// Who the requesters are to the event, in the order they were asked for.
    pub standings: Vec<Standing>,
    /// The counters.
    pub seats: Seats,
    /// The last RSVP of each requester, with the number of parties ahead of it.
    pub requesters: Vec<(Rsvp, u32)>,
    /// The front of the line.
    pub front: Vec<Rsvp>,
}

/// What an event's RSVPs depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFacts {
    /// The community that the event belongs to.
    pub community: CommunityId,
    /// Whether only members see the community.
    pub private: bool,
    /// Whether it was ever published: a draft that was cancelled stays hidden.
    pub published: bool,
    /// When it takes RSVPs.
    pub rules: Admissibility,
}

/// How an event is told about in mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventCard {
    /// Its title.
    pub title: String,
    /// When it starts, in its own zone.
    pub starts_at_local: DateTime,
    /// The zone's IANA name.
    pub time_zone: String,
}

/// An RSVP as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RsvpView {
    /// The RSVP.
    pub rsvp: Rsvp,
    /// Its place in the line, from 1, counted in parties; none unless it waits.
    pub position: Option<u32>,
}

/// An event as one viewer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Facts of the event.
    pub event: EventFacts,
    /// Who the viewer is to it.
    pub standing: Standing,
}

/// Reads that need no transaction.
#[async_trait]
pub trait RsvpReads: Send + Sync {
    /// The event as the viewer sees it.
    async fn event(
        &self,
        event: EventId,
        viewer: Option<UserId>,
    ) -> Result<Option<Seen>, StoreError>;

    /// The event as the viewer sees it, with its seats.
    async fn seats(
        &self,
        event: EventId,
        viewer: Option<UserId>,
    ) -> Result<Option<(Seen, Seats)>, StoreError>;

    /// The event as the person sees it, with the person's last RSVP.
    async fn last_of(
        &self,
        event: EventId,
        user: UserId,
    ) -> Result<Option<(Seen, Option<RsvpView>)>, StoreError>;

    /// These events as the viewer sees them, with their seats; in any order, without those that are not there.
    async fn seats_of(
        &self,
        events: &[EventId],
        viewer: Option<UserId>,
    ) -> Result<Vec<(EventId, Seen, Seats)>, StoreError>;

    /// A person's last RSVP to each of these events, where there is one; in any order.
    async fn last_to_each(
        &self,
        events: &[EventId],
        user: UserId,
    ) -> Result<Vec<RsvpView>, StoreError>;

    /// RSVPs of an event by creation: those of one status, or all that are active.
    async fn of_event(
        &self,
        event: EventId,
        status: Option<Status>,
        query: PageQuery,
    ) -> Result<Page<RsvpView>, StoreError>;

    /// RSVPs of a person, newest first.
    async fn of_user(&self, user: UserId, query: PageQuery) -> Result<Page<RsvpView>, StoreError>;

    /// Up to `limit` people with an active RSVP to an event.
    async fn active_users(&self, event: EventId, limit: i64) -> Result<Vec<UserId>, StoreError>;

    /// Events of a community that have not ended by `now` and to which a person has an active RSVP made or changed no
    /// later than `until`.
    async fn events_held_by(
        &self,
        community: CommunityId,
        user: UserId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<EventId>, StoreError>;

    /// How an event is told about in mail.
    async fn card(&self, event: EventId) -> Result<Option<EventCard>, StoreError>;
}

impl Seen {
    /// Whether the viewer may know that the event exists: drafts are for those who manage it, private communities for
    /// their members.
    #[must_use]
    pub fn is_visible(&self) -> bool {
        self.event.is_visible_to(self.standing)
    }
}

impl EventFacts {
    /// Whether somebody with this standing may know that the event exists.
    #[must_use]
    pub fn is_visible_to(&self, standing: Standing) -> bool {
        standing.sees_event(self.private, self.published)
    }
}
