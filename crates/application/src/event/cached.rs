//! Events and their organisers, out of the caches: for reads alone. What changes an event reads it under its lock.

use std::sync::Arc;

use async_trait::async_trait;
use convene_domain::event::{Capacity, Event, Fold, LocalTime, Plan, RsvpWindow, Schedule, Status};
use convene_domain::ids::{CommunityId, EventId, TypedId as _, UserId};
use convene_domain::text::{Description, Title};
use convene_domain::zone::TimeZoneName;
use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::ports::EventReads;
use crate::kernel::cache::{Cached, Caches, Key, Load, Policy, Record, Stale};
use crate::kernel::store::StoreError;

const MIB: u64 = 1 << 20;

/// Events and who organises them, cached.
#[derive(Clone)]
pub(super) struct CachedEvents {
    pub(super) records: Cached<EventId, Event>,
    pub(super) organizers: Cached<OrganizerKey, Organizes>,
}

impl CachedEvents {
    pub(super) fn new(reads: Arc<dyn EventReads>, caches: &Caches) -> Self {
        let load = Arc::new(FromReads(reads));
        Self {
            records: caches.of(Policy::new("event", 32 * MIB), load.clone()),
            organizers: caches.of(Policy::new("organizer", 4 * MIB), load),
        }
    }
}

/// What it is found by that somebody organises an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OrganizerKey {
    /// The event.
    pub event: EventId,
    /// Who may organise it.
    pub user: UserId,
}

/// Somebody organises an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Organizes;

impl Key for EventId {
    fn stale(&self) -> Stale {
        Stale::of("event", self.uuid())
    }
}

impl Key for OrganizerKey {
    fn stale(&self) -> Stale {
        Stale::between("organizer", self.event.uuid(), self.user.uuid())
    }
}

struct FromReads(Arc<dyn EventReads>);

#[async_trait]
impl Load<EventId, Event> for FromReads {
    async fn load(&self, key: &EventId) -> Result<Option<Event>, StoreError> {
        Ok(self.0.event(*key, None).await?.map(|seen| seen.event))
    }
}

#[async_trait]
impl Load<OrganizerKey, Organizes> for FromReads {
    async fn load(&self, key: &OrganizerKey) -> Result<Option<Organizes>, StoreError> {
        let seen = self.0.event(key.event, Some(key.user)).await?;
        Ok(seen.filter(|seen| seen.organizes).map(|_| Organizes))
    }
}

/// An event as processes share it.
#[derive(Serialize, Deserialize)]
struct Shared {
    id: Uuid,
    community: Uuid,
    title: String,
    description: Option<String>,
    starts_at_local: DateTime,
    ends_at_local: DateTime,
    time_zone: String,
    fold: Option<String>,
    starts_at: Timestamp,
    ends_at: Timestamp,
    opens_at: Option<Timestamp>,
    closes_at: Option<Timestamp>,
    capacity: Option<u32>,
    status: String,
    published_at: Option<Timestamp>,
    version: i32,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Record for Event {
    const FORM: &'static str = "event.v1";

    fn encode(&self) -> Option<Vec<u8>> {
        let plan = self.schedule.plan();
        serde_json::to_vec(&Shared {
            id: self.id.uuid(),
            community: self.community.uuid(),
            title: self.title.to_string(),
            description: self.description.clone().map(String::from),
            starts_at_local: plan.starts_at_local.civil(),
            ends_at_local: plan.ends_at_local.civil(),
            time_zone: plan.time_zone.to_string(),
            fold: plan.fold.map(|fold| fold.as_str().to_owned()),
            starts_at: self.schedule.starts_at(),
            ends_at: self.schedule.ends_at(),
            opens_at: self.window.opens_at(),
            closes_at: self.window.closes_at(),
            capacity: self.capacity.map(Capacity::get),
            status: self.status.as_str().to_owned(),
            published_at: self.published_at,
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
        .ok()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let shared: Shared = serde_json::from_slice(bytes).ok()?;
        let plan = Plan {
            starts_at_local: LocalTime::from_civil(shared.starts_at_local),
            ends_at_local: LocalTime::from_civil(shared.ends_at_local),
            time_zone: TimeZoneName::new(shared.time_zone).ok()?,
            fold: match shared.fold {
                Some(name) => Some(Fold::parse(&name)?),
                None => None,
            },
        };
        Some(Self {
            id: EventId::from_uuid(shared.id),
            community: CommunityId::from_uuid(shared.community),
            title: Title::new(shared.title).ok()?,
            description: shared.description.map(Description::new).transpose().ok()?,
            schedule: Schedule::stored(plan, shared.starts_at, shared.ends_at),
            window: RsvpWindow::new(shared.opens_at, shared.closes_at).ok()?,
            capacity: match shared.capacity {
                Some(seats) => Some(Capacity::new(seats)?),
                None => None,
            },
            status: Status::parse(&shared.status)?,
            published_at: shared.published_at,
            version: shared.version,
            created_at: shared.created_at,
            updated_at: shared.updated_at,
        })
    }

    /// Twice its texts: the reply is kept, too.
    fn weight(&self) -> u32 {
        let description = self.description.as_ref().map_or(0, |text| text.as_str().len());
        u32::try_from(1_500 + 2 * (self.title.as_str().len() + description)).unwrap_or(u32::MAX)
    }
}

impl Record for Organizes {
    const FORM: &'static str = "organizer.v1";

    fn encode(&self) -> Option<Vec<u8>> {
        Some(Vec::new())
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.is_empty().then_some(Self)
    }

    fn weight(&self) -> u32 {
        0
    }
}

#[cfg(test)]
mod tests {
    use convene_domain::event::NewEvent;

    use super::*;

    #[test]
    fn an_event_is_shared_whole() {
        let now = Timestamp::from_microsecond(1_800_000_000_123_456).unwrap();
        let new = NewEvent {
            title: Title::new("Async Rust").unwrap(),
            description: Some(Description::new("Doors open at half past five.").unwrap()),
            plan: Plan {
                starts_at_local: LocalTime::parse("2027-10-31T02:30").unwrap(),
                ends_at_local: LocalTime::parse("2027-10-31T04:30").unwrap(),
                time_zone: TimeZoneName::new("Europe/Berlin").unwrap(),
                fold: Some(Fold::Later),
            },
            rsvp_opens_at: None,
            rsvp_closes_at: Some(now + std::time::Duration::from_secs(60)),
            capacity: Capacity::new(50),
        };
        let ids =
            (EventId::from_uuid(Uuid::from_u128(1)), CommunityId::from_uuid(Uuid::from_u128(2)));
        let event = Event::draft(ids.0, ids.1, new, now).unwrap();
        assert_eq!(Event::decode(&event.encode().unwrap()), Some(event));
        assert_eq!(Event::decode(b"[]"), None);
    }
}
