//! Events about webhook endpoints.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::{Uuid, uuid};

use crate::{
    EventPayload, EventType,
    ids::{CommunityId, DeliveryId, TypeId, WebhookId},
};

/// Every event type of this module.
pub(crate) const EVENT_TYPES: &[EventType] =
    &[EventType::of::<WebhookEndpointDisabled>(), EventType::of::<WebhookDeliveryExhausted>()];

/// An endpoint failed for so long that nothing is sent to it until somebody enables it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookEndpointDisabled {
    /// The community that registered the endpoint.
    pub community_id: CommunityId,
    /// The endpoint.
    pub webhook_id: WebhookId,
    /// The HTTP status of the last attempt; null if there was no answer.
    #[schemars(range(min = 100, max = 999))]
    pub last_status: Option<u16>,
}

impl EventPayload for WebhookEndpointDisabled {
    type Subject = WebhookId;
    const TYPE: &'static str = "webhook.endpoint_disabled";
    const VERSION: u16 = 1;

    fn community_id(&self) -> Option<&CommunityId> {
        Some(&self.community_id)
    }

    fn example() -> Self {
        Self {
            community_id: CommunityId::example(),
            webhook_id: WebhookId::example(),
            last_status: Some(410),
        }
    }
}

/// A webhook that an endpoint's owner had sent to see whether it arrives: no event, so it is in no log and not on the
/// broker. Its [`WebhookBody`](crate::WebhookBody) has the type [`WebhookTest::TYPE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookTest {
    /// The community that registered the endpoint.
    pub community_id: CommunityId,
    /// The endpoint.
    pub webhook_id: WebhookId,
}

impl WebhookTest {
    /// What stands in the place of an event's type.
    pub const TYPE: &'static str = "webhook.test";
    /// The version of the payload.
    pub const VERSION: u16 = 1;
}

/// The last attempt of a delivery failed; it is tried again only when somebody asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookDeliveryExhausted {
    /// The community that registered the endpoint.
    pub community_id: CommunityId,
    /// The endpoint.
    pub webhook_id: WebhookId,
    /// The delivery, constant over its attempts.
    pub delivery_id: DeliveryId,
    /// The `id` of the event that could not be delivered: a UUID, unlike the `event_id` of a
    /// community's event.
    pub event_id: Uuid,
    /// The HTTP status of the last attempt; null if there was no answer.
    #[schemars(range(min = 100, max = 999))]
    pub last_status: Option<u16>,
}

impl EventPayload for WebhookDeliveryExhausted {
    type Subject = WebhookId;
    const TYPE: &'static str = "webhook.delivery_exhausted";
    const VERSION: u16 = 1;

    fn community_id(&self) -> Option<&CommunityId> {
        Some(&self.community_id)
    }

    fn example() -> Self {
        Self {
            community_id: CommunityId::example(),
            webhook_id: WebhookId::example(),
            delivery_id: DeliveryId::example(),
            event_id: uuid!("01a4a02d-7d7b-74c1-b606-38d6d72a0edc"),
            last_status: Some(503),
        }
    }
}
