//! What this module records.

use convene_contracts::EventPayload as _;
use convene_contracts::webhook::{WebhookDeliveryExhausted, WebhookEndpointDisabled};
use convene_domain::ids::DeliveryId;
use convene_domain::webhook::Endpoint;
use uuid::Uuid;

use crate::kernel::events::{NewEvent, Recorder, public};

/// A delivery that failed at every attempt.
pub(super) struct Exhausted {
    pub(super) delivery: DeliveryId,
    pub(super) event_id: Uuid,
    pub(super) event_type: String,
    pub(super) last_status: Option<u16>,
}

impl Exhausted {
    /// Whether the endpoint is told of it by an event. Of the failure to tell of a failure it is not: each would cause the
    /// next, for ever.
    pub(super) fn is_recorded(&self) -> bool {
        self.event_type != WebhookDeliveryExhausted::TYPE
    }
}

/// Somebody must look after the endpoint: nothing is sent to it any more.
pub(super) fn disabled(
    recorder: &Recorder<'_>,
    endpoint: &mut Endpoint,
    last_status: Option<u16>,
) -> NewEvent {
    endpoint.version += 1;
    let payload = WebhookEndpointDisabled {
        community_id: public(endpoint.community),
        webhook_id: public(endpoint.id),
        last_status,
    };
    recorder.event(endpoint.id, endpoint.version, payload)
}

/// A delivery has failed for good.
pub(super) fn exhausted(
    recorder: &Recorder<'_>,
    endpoint: &mut Endpoint,
    exhausted: &Exhausted,
) -> NewEvent {
    endpoint.version += 1;
    let payload = WebhookDeliveryExhausted {
        community_id: public(endpoint.community),
        webhook_id: public(endpoint.id),
        delivery_id: public(exhausted.delivery),
        event_id: exhausted.event_id,
        last_status: exhausted.last_status,
    };
    recorder.event(endpoint.id, endpoint.version, payload)
}
