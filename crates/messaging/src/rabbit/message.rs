//! Between events of the log and AMQP messages.

use bytes::Bytes;
use convene_application::kernel::events::LoggedEvent;
use convene_contracts::time::UtcTimestamp;
use convene_contracts::{CloudEvent, amqp};
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Acker, BasicProperties};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::parking::parked_at;

/// AMQP's delivery mode of messages that survive a restart of the broker.
const PERSISTENT: u8 = 2;
/// Whose messages these are, where several applications share a broker.
const APP_ID: &str = "convene";
/// The header with the event's place in the log. Ours alone: by it a failed consumption finds the event again.
pub(super) const POSITION_HEADER: &str = "x-convene-position";
/// The header of a parked message that tells why it is parked.
pub(super) const REASON_HEADER: &str = "x-convene-reason";
/// The header of a parked message that tells whose queue it came from.
pub(super) const CONSUMER_HEADER: &str = "x-convene-consumer";
/// The header of a parked message that tells when it was parked.
pub(super) const PARKED_AT_HEADER: &str = "x-convene-parked-at";

/// The members of an envelope that the message's properties repeat.
#[derive(Default, Deserialize)]
struct Outside {
    time: Option<UtcTimestamp>,
    traceparent: Option<String>,
}

/// The properties of an event's message; its body is the envelope, byte for byte.
pub(super) fn properties(event: &LoggedEvent) -> BasicProperties {
    // Properties only repeat what the envelope says: one that cannot be read is published all the same.
    let outside: Outside = serde_json::from_slice(&event.envelope).unwrap_or_default();
    let mut headers = FieldTable::default();
    headers.insert(POSITION_HEADER.into(), AMQPValue::LongLongInt(event.position));
    if let Some(traceparent) = outside.traceparent {
        headers.insert(amqp::TRACEPARENT_HEADER.into(), text(traceparent));
    }
    let properties = BasicProperties::default()
        .with_content_type(amqp::CONTENT_TYPE.into())
        .with_delivery_mode(PERSISTENT)
        .with_message_id(event.id.to_string().into())
        .with_type(event.event_type.as_str().into())
        .with_app_id(APP_ID.into())
        .with_headers(headers);
    match outside.time.map(|time| u64::try_from(time.get().as_second())) {
        Some(Ok(seconds)) => properties.with_timestamp(seconds),
        _ => properties,
    }
}

/// A message from a consumer's queue.
pub(super) enum Arrival {
    /// An event.
    Event {
        event: LoggedEvent,
        /// The trace of the request that caused it.
        traceparent: Option<String>,
        acker: Acker,
    },
    /// Something else.
    Undecodable(Undecodable, Box<Delivery>),
}

/// Why a message is no event of ours.
#[derive(Debug, thiserror::Error)]
pub(super) enum Undecodable {
    #[error("the body is no CloudEvent: {0}")]
    Body(#[from] serde_json::Error),
    #[error("`{0}` is no community's id")]
    Community(String),
    #[error("the header {POSITION_HEADER} does not tell the event's position")]
    Position,
}

/// Reads a delivery.
pub(super) fn read(delivery: Delivery) -> Arrival {
    match decode(&delivery) {
        Ok((event, traceparent)) => {
            let event = LoggedEvent { envelope: Bytes::from(delivery.data), ..event };
            Arrival::Event { event, traceparent, acker: delivery.acker }
        }
        Err(reason) => Arrival::Undecodable(reason, Box::new(delivery)),
    }
}

/// Reads the event, all but the envelope itself, and its trace.
fn decode(delivery: &Delivery) -> Result<(LoggedEvent, Option<String>), Undecodable> {
    // What is in `data` concerns the consumer alone.
    let event: CloudEvent<IgnoredAny> = serde_json::from_slice(&delivery.data)?;
    let community = match &event.communityid {
        None => None,
        Some(id) => {
            let foreign = |_| Undecodable::Community(id.as_str().to_owned());
            Some(id.as_str().parse().map_err(foreign)?)
        }
    };
    let logged = LoggedEvent {
        position: position(&delivery.properties).ok_or(Undecodable::Position)?,
        id: event.id,
        version: event.version(),
        event_type: event.r#type,
        community,
        envelope: Bytes::new(),
        replay: 0,
    };
    Ok((logged, event.traceparent))
}

/// Whoever puts a parked message back with other tools may write the number in fewer bytes.
fn position(properties: &BasicProperties) -> Option<i64> {
    let position = match properties.headers().as_ref()?.inner().get(POSITION_HEADER)? {
        AMQPValue::LongLongInt(position) => *position,
        AMQPValue::LongInt(position) => i64::from(*position),
        AMQPValue::ShortInt(position) => i64::from(*position),
        AMQPValue::ShortShortInt(position) => i64::from(*position),
        _ => return None,
    };
    (position > 0).then_some(position)
}

/// The properties under which a message is parked: its own, and why.
pub(super) fn parked(delivery: &Delivery, consumer: &str, reason: &Undecodable) -> BasicProperties {
    let mut headers = delivery.properties.headers().clone().unwrap_or_default();
    headers.insert(REASON_HEADER.into(), text(reason.to_string()));
    headers.insert(CONSUMER_HEADER.into(), text(consumer));
    headers.insert(PARKED_AT_HEADER.into(), parked_at());
    delivery.properties.clone().with_headers(headers).with_delivery_mode(PERSISTENT)
}

fn text(value: impl Into<Vec<u8>>) -> AMQPValue {
    AMQPValue::LongString(value.into().into())
}

#[cfg(test)]
mod tests {
    use convene_contracts::SchemaBase;
    use convene_contracts::rsvp::RsvpConfirmed;

    use super::*;

    fn event() -> LoggedEvent {
        let example = CloudEvent::<RsvpConfirmed>::example(&SchemaBase::default());
        LoggedEvent {
            position: 7,
            id: example.id,
            event_type: example.r#type.clone(),
            version: example.version(),
            community: example.communityid.as_ref().map(|id| id.as_str().parse().unwrap()),
            envelope: serde_json::to_vec(&example).unwrap().into(),
            replay: 0,
        }
    }

    fn delivered(properties: BasicProperties, data: Vec<u8>) -> Delivery {
        let mut delivery =
            Delivery::mock(1, amqp::EXCHANGE.into(), "rsvp.confirmed.v1".into(), false, data);
        delivery.properties = properties;
        delivery
    }

    fn with_position(position: AMQPValue) -> BasicProperties {
        let mut headers = FieldTable::default();
        headers.insert(POSITION_HEADER.into(), position);
        BasicProperties::default().with_headers(headers)
    }

    fn refused(properties: BasicProperties, data: Vec<u8>) -> Undecodable {
        match read(delivered(properties, data)) {
            Arrival::Undecodable(reason, _) => reason,
            Arrival::Event { event, .. } => panic!("{event:?}"),
        }
    }

    #[test]
    fn an_event_arrives_as_it_was_sent() {
        let sent = event();
        match read(delivered(properties(&sent), sent.envelope.to_vec())) {
            Arrival::Event { event, traceparent, .. } => {
                assert_eq!(event, sent);
                assert!(traceparent.unwrap().starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
            }
            Arrival::Undecodable(reason, _) => panic!("{reason}"),
        }
    }

    #[test]
    fn properties_repeat_the_envelope() {
        let properties = properties(&event());
        assert_eq!(properties.content_type().as_ref().unwrap().as_str(), amqp::CONTENT_TYPE);
        assert_eq!(*properties.delivery_mode(), Some(2));
        assert_eq!(*properties.timestamp(), Some(1_806_573_600));
        assert_eq!(properties.message_id().as_ref().unwrap().as_str(), event().id.to_string());
        let headers = properties.headers().as_ref().unwrap().inner();
        let Some(AMQPValue::LongString(trace)) = headers.get(amqp::TRACEPARENT_HEADER) else {
            panic!("{headers:?}");
        };
        assert!(trace.to_string().starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
    }

    #[test]
    fn a_position_is_read_in_any_width() {
        for value in [AMQPValue::LongLongInt(7), AMQPValue::LongInt(7), AMQPValue::ShortShortInt(7)]
        {
            assert_eq!(position(&with_position(value)), Some(7));
        }
        for value in [AMQPValue::LongLongInt(0), AMQPValue::Boolean(true)] {
            assert_eq!(position(&with_position(value)), None);
        }
        assert_eq!(position(&BasicProperties::default()), None);
    }

    #[test]
    fn what_is_no_event_of_ours_says_why() {
        let body = event().envelope.to_vec();
        let good = || with_position(AMQPValue::LongLongInt(7));
        assert!(matches!(refused(good(), b"{}".to_vec()), Undecodable::Body(_)));
        assert!(matches!(refused(good(), b"\xff".to_vec()), Undecodable::Body(_)));
        assert!(matches!(refused(BasicProperties::default(), body.clone()), Undecodable::Position));
        let mut envelope: serde_json::Value = serde_json::from_slice(&body).unwrap();
        envelope["communityid"] = "nowhere".into();
        let foreign = refused(good(), serde_json::to_vec(&envelope).unwrap());
        assert_eq!(foreign.to_string(), "`nowhere` is no community's id");
    }

    #[test]
    fn a_parked_message_keeps_its_properties() {
        let delivery = delivered(properties(&event()), Vec::new());
        let parked = parked(&delivery, "webhook.fanout", &Undecodable::Position);
        assert_eq!(parked.message_id(), delivery.properties.message_id());
        let headers = parked.headers().as_ref().unwrap().inner();
        assert_eq!(headers[CONSUMER_HEADER], text("webhook.fanout"));
        assert_eq!(headers[REASON_HEADER], text(Undecodable::Position.to_string()));
        assert_eq!(headers[POSITION_HEADER], AMQPValue::LongLongInt(7));
    }
}
