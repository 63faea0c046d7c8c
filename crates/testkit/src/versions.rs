//! An event type in a version that Convene does not publish, for consumers at the time of a breaking change.

use convene_contracts::EventPayload;
use convene_contracts::ids::{CommunityId, RsvpId};
use convene_contracts::rsvp::RsvpConfirmed;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `rsvp.confirmed` as a breaking change would have it: published beside version 1 for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RsvpConfirmedV2 {
    /// The numbers of the seats.
    pub seats: Vec<u32>,
}

impl EventPayload for RsvpConfirmedV2 {
    type Subject = RsvpId;
    const TYPE: &'static str = RsvpConfirmed::TYPE;
    const VERSION: u16 = 2;

    fn community_id(&self) -> Option<&CommunityId> {
        None
    }

    fn example() -> Self {
        Self { seats: vec![7, 8] }
    }
}
