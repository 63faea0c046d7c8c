//! Events about accounts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    EventPayload, EventType,
    ids::{CommunityId, TypeId, UserId},
};

/// Every event type of this module.
pub(crate) const EVENT_TYPES: &[EventType] = &[EventType::of::<UserRegistered>()];

/// A person has verified the address they registered with, and the account exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserRegistered {
    /// The new account.
    pub user_id: UserId,
}

impl EventPayload for UserRegistered {
    type Subject = UserId;
    const TYPE: &'static str = "user.registered";
    const VERSION: u16 = 1;

    fn community_id(&self) -> Option<&CommunityId> {
        None
    }

    fn example() -> Self {
        Self { user_id: UserId::example() }
    }
}
