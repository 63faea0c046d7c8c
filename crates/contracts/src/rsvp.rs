//! Events about RSVPs: one person's seats at one event.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Change, EventPayload, EventType,
    ids::{CommunityId, EventId, RsvpId, TypeId, UserId},
    payload::vocabulary,
};

/// Every event type of this module.
pub(crate) const EVENT_TYPES: &[EventType] = &[
    EventType::of::<RsvpConfirmed>(),
    EventType::of::<RsvpWaitlisted>(),
    EventType::of::<RsvpCancelled>(),
    EventType::of::<RsvpPartyChanged>(),
];

vocabulary! {
    /// Why an RSVP changed.
    RsvpCause {
        /// The person asked for it.
        Direct = "direct",
        /// Seats became free and the person was at the head of the waitlist.
        Waitlist = "waitlist",
        /// An organiser approved the request.
        Approval = "approval",
        /// The person accepted seats that were offered for a limited time.
        Offer = "offer",
        /// The person gave up their seats or their place in the waitlist.
        Withdrawn = "withdrawn",
        /// The event was cancelled.
        EventCancelled = "event_cancelled",
        /// The person left the community.
        MemberLeft = "member_left",
    }
}

/// What every `rsvp.*` event says about the RSVP, as it is after the change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RsvpFacts {
    /// The community that holds the event.
    pub community_id: CommunityId,
    /// The event.
    pub event_id: EventId,
    /// The person.
    pub user_id: UserId,
    /// The RSVP. Whoever joins again after cancelling gets a new one.
    pub rsvp_id: RsvpId,
    /// How many seats the person asks for, their own included.
    #[schemars(range(min = 1))]
    pub party_size: u32,
    /// How many seats are free after the change; null if their number is unlimited.
    pub seats_left: Option<u32>,
    /// Why: `direct`, `waitlist`, `approval`, `offer`, `withdrawn`, `event_cancelled` or
    /// `member_left`.
    pub cause: RsvpCause,
}

impl RsvpFacts {
    fn example() -> Self {
        Self {
            community_id: CommunityId::example(),
            event_id: EventId::example(),
            user_id: UserId::example(),
            rsvp_id: RsvpId::example(),
            party_size: 2,
            seats_left: Some(0),
            cause: RsvpCause::Direct,
        }
    }
}

/// The person has seats: at once, or promoted from the waitlist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RsvpConfirmed {
    /// The RSVP after the change.
    #[serde(flatten)]
    pub rsvp: RsvpFacts,
}

impl EventPayload for RsvpConfirmed {
    type Subject = RsvpId;
    const TYPE: &'static str = "rsvp.confirmed";
    const VERSION: u16 = 1;

    fn community_id(&self) -> Option<&CommunityId> {
        Some(&self.rsvp.community_id)
    }

    fn example() -> Self {
        Self { rsvp: RsvpFacts::example() }
    }
}

/// The seats did not suffice, or others were waiting already: the whole party waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RsvpWaitlisted {
    /// The RSVP after the change.
    #[serde(flatten)]
    pub rsvp: RsvpFacts,
    /// The party's number in the event's waitlist: lower numbers are promoted first. Numbers are
    /// not consecutive.
    pub waitlist_seq: i64,
}

impl EventPayload for RsvpWaitlisted {
    type Subject = RsvpId;
    const TYPE: &'static str = "rsvp.waitlisted";
    const VERSION: u16 = 1;

    fn community_id(&self) -> Option<&CommunityId> {
        Some(&self.rsvp.community_id)
    }

    fn example() -> Self {
        Self { rsvp: RsvpFacts::example(), waitlist_seq: 7 }
    }
}

/// The person has neither seats nor a place in the waitlist any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RsvpCancelled {
    /// The RSVP after the change.
    #[serde(flatten)]
    pub rsvp: RsvpFacts,
}

impl EventPayload for RsvpCancelled {
    type Subject = RsvpId;
    const TYPE: &'static str = "rsvp.cancelled";
    const VERSION: u16 = 1;

    fn community_id(&self) -> Option<&CommunityId> {
        Some(&self.rsvp.community_id)
    }

    fn example() -> Self {
        Self {
            rsvp: RsvpFacts {
                seats_left: Some(2),
                cause: RsvpCause::Withdrawn,
                ..RsvpFacts::example()
            },
        }
    }
}

/// The person's party grew or shrank; whether it is confirmed or waiting did not change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RsvpPartyChanged {
    /// The RSVP after the change.
    #[serde(flatten)]
    pub rsvp: RsvpFacts,
    /// What changed.
    pub changed: PartySizeChange,
}

/// A party size before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartySizeChange {
    /// How many seats the person asks for, their own included.
    pub party_size: Change<u32>,
}

impl EventPayload for RsvpPartyChanged {
    type Subject = RsvpId;
    const TYPE: &'static str = "rsvp.party_changed";
    const VERSION: u16 = 1;

    fn community_id(&self) -> Option<&CommunityId> {
        Some(&self.rsvp.community_id)
    }

    fn example() -> Self {
        Self {
            rsvp: RsvpFacts { seats_left: Some(1), ..RsvpFacts::example() },
            changed: PartySizeChange { party_size: Change { old: 3, new: 2 } },
        }
    }
}
