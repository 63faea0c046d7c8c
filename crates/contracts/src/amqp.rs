//! The names under which events are found on an AMQP broker.

use crate::envelope;

/// The durable topic exchange that carries every event. The routing key is
/// [`CloudEvent::routing_key`].
///
/// [`CloudEvent::routing_key`]: crate::CloudEvent::routing_key
pub const EXCHANGE: &str = "convene.events";

/// The alternate exchange of [`EXCHANGE`]: it receives the events for which nobody has bound a
/// queue.
pub const UNROUTED_EXCHANGE: &str = "convene.unrouted";

/// The AMQP `content_type` of an event: a CloudEvent in structured JSON mode.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// The AMQP header that carries the W3C trace context of the request that caused the event.
pub const TRACEPARENT_HEADER: &str = "traceparent";

/// The key under which the broker routes the events of one version of a type:
/// `{type}.v{version}`.
#[must_use]
pub fn routing_key(event_type: &str, version: u16) -> String {
    envelope::routing_key(event_type, version)
}
