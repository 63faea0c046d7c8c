//! Events about a community's events: the things that people attend.

use jiff::{Timestamp, civil};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Change, Changes, EventPayload, EventType,
    ids::{CommunityId, EventId, TypeId},
    time::{LocalDateTime, UtcTimestamp},
};

/// Every event type of this module.
pub(crate) const EVENT_TYPES: &[EventType] = &[
    EventType::of::<EventCreated>(),
    EventType::of::<EventPublished>(),
    EventType::of::<EventUpdated>(),
    EventType::of::<EventCapacityChanged>(),
    EventType::of::<EventCancelled>(),
];

/// An event was created, as a draft that only its organisers see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventCreated {
    /// The community that holds the event.
    pub community_id: CommunityId,
    /// The new event.
    pub event_id: EventId,
    /// Its title.
    pub title: String,
    /// When it starts, in UTC.
    pub starts_at: UtcTimestamp,
    /// When it ends, in UTC.
    pub ends_at: UtcTimestamp,
    /// When it starts, by the clocks of `time_zone`.
    pub starts_at_local: LocalDateTime,
    /// When it ends, by the clocks of `time_zone`.
    pub ends_at_local: LocalDateTime,
    /// The IANA time zone in which the event was planned.
    pub time_zone: String,
    /// How many seats there are; null if their number is unlimited.
    #[schemars(range(min = 1))]
    pub capacity: Option<u32>,
}

impl EventPayload for EventCreated {
    type Subject = EventId;
    const TYPE: &'static str = "event.created";
    const VERSION: u16 = 1;

    fn community_id(&self) -> Option<&CommunityId> {
        Some(&self.community_id)
    }

    fn example() -> Self {
        Self {
            community_id: CommunityId::example(),
            event_id: EventId::example(),
            title: "Spring Hack Day".to_owned(),
            starts_at: example_instant(16),
            ends_at: example_instant(20),
            starts_at_local: civil::datetime(2027, 5, 1, 18, 0, 0, 0).into(),
            ends_at_local: civil::datetime(2027, 5, 1, 22, 0, 0, 0).into(),
            time_zone: "Europe/Berlin".to_owned(),
            capacity: Some(40),
        }
    }
}

/// A draft was published: members see the event and may RSVP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventPublished {
    /// The community that holds the event.
    pub community_id: CommunityId,
    /// The event.
    pub event_id: EventId,
    /// When it starts, in UTC.
    pub starts_at: UtcTimestamp,
    /// When it ends, in UTC.
    pub ends_at: UtcTimestamp,
    /// The IANA time zone in which the event was planned.
    pub time_zone: String,
}

impl EventPayload for EventPublished {
    type Subject = EventId;
    const TYPE: &'static str = "event.published";
    const VERSION: u16 = 1;

    fn community_id(&self) -> Option<&CommunityId> {
        Some(&self.community_id)
    }

    fn example() -> Self {
        Self {
            community_id: CommunityId::example(),
            event_id: EventId::example(),
            starts_at: example_instant(16),
            ends_at: example_instant(20),
            time_zone: "Europe/Berlin".to_owned(),
        }
    }
}

/// Something about an event changed, other than its capacity and its status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventUpdated {
    /// The community that holds the event.
    pub community_id: CommunityId,
    /// The event.
    pub event_id: EventId,
    /// The members of the event resource that changed, by name.
    pub changed: Changes,
}

impl EventPayload for EventUpdated {
    type Subject = EventId;
    const TYPE: &'static str = "event.updated";
    const VERSION: u16 = 1;

    fn community_id(&self) -> Option<&CommunityId> {
        Some(&self.community_id)
    }

    fn example() -> Self {
        Self {
            community_id: CommunityId::example(),
            event_id: EventId::example(),
            changed: Changes::from([(
                "title".to_owned(),
                Change { old: json!("Spring Hack Day"), new: json!("Spring Hack Night") },
            )]),
        }
    }
}

/// An event's number of seats changed. A raised capacity promotes people from the waitlist a little
/// later, each with an event of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventCapacityChanged {
    /// The community that holds the event.
    pub community_id: CommunityId,
    /// The event.
    pub event_id: EventId,
    /// What changed.
    pub changed: CapacityChange,
}

/// A capacity before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CapacityChange {
    /// The number of seats; null if it is unlimited.
    pub capacity: Change<Option<u32>>,
}

impl EventPayload for EventCapacityChanged {
    type Subject = EventId;
    const TYPE: &'static str = "event.capacity_changed";
    const VERSION: u16 = 1;

    fn community_id(&self) -> Option<&CommunityId> {
        Some(&self.community_id)
    }

    fn example() -> Self {
        Self {
            community_id: CommunityId::example(),
            event_id: EventId::example(),
            changed: CapacityChange { capacity: Change { old: Some(40), new: Some(60) } },
        }
    }
}

/// An event was cancelled. Its RSVPs are cancelled a little later, each with an event of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventCancelled {
    /// The community that holds the event.
    pub community_id: CommunityId,
    /// The event.
    pub event_id: EventId,
    /// What the organiser told the attendees; null if nothing.
    pub reason: Option<String>,
}

impl EventPayload for EventCancelled {
    type Subject = EventId;
    const TYPE: &'static str = "event.cancelled";
    const VERSION: u16 = 1;

    fn community_id(&self) -> Option<&CommunityId> {
        Some(&self.community_id)
    }

    fn example() -> Self {
        Self {
            community_id: CommunityId::example(),
            event_id: EventId::example(),
            reason: Some("The venue is closed.".to_owned()),
        }
    }
}

/// A full hour of the example event's day, in UTC.
fn example_instant(hour: i64) -> UtcTimestamp {
    const MIDNIGHT: Timestamp = Timestamp::constant(1_809_129_600, 0); // 2027-05-01T00:00:00Z
    (MIDNIGHT + jiff::SignedDuration::from_hours(hour)).into()
}
