//! The envelope around every event, and what a webhook makes of it.

use std::{borrow::Cow, fmt};

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use thiserror::Error;
use uuid::{Uuid, uuid};

use crate::{
    EventPayload,
    ids::{CommunityId, TypeId, UserId},
    schema::{DataSchema, SchemaBase},
    time::UtcTimestamp,
};

/// A recorded event: a CloudEvent 1.0 in structured JSON mode.
///
/// Optional members are left out where there is nothing to say. Consumers must ignore members they
/// do not know.
// `D` is a payload where the event is produced and a JSON value where it is consumed, so that a
// consumer decodes only the types it handles. Fields bear the names of the CloudEvents attributes,
// which have no word separators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "CloudEvent")]
pub struct CloudEvent<D = Value> {
    /// The version of the CloudEvents specification.
    #[schemars(with = "String", extend("const" = "1.0"))]
    pub specversion: SpecVersion,
    /// The event's id, a UUIDv7. A redelivered event keeps it: deduplicate by it.
    pub id: Uuid,
    /// Which module published the event.
    #[schemars(regex(pattern = r"^/convene/[a-z]+$"))]
    pub source: String,
    /// What happened: `module.past_tense`.
    #[schemars(regex(pattern = r"^[a-z]+\.[a-z_]+$"))]
    pub r#type: String,
    /// The TypeID of what it happened to. Events of one subject are published in order.
    #[schemars(regex(pattern = r"^[a-z]+_[0-7][0-9a-hjkmnp-tv-z]{25}$"))]
    pub subject: String,
    /// When it happened.
    pub time: UtcTimestamp,
    /// The media type of `data`.
    #[schemars(with = "String", extend("const" = "application/json"))]
    pub datacontenttype: DataContentType,
    /// The URL of the JSON Schema of `data`; it ends in `/schemas/{type}.v{version}.json`.
    pub dataschema: DataSchema,
    /// The community in which it happened; absent for what happens to an account.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "CommunityId")]
    pub communityid: Option<CommunityId>,
    /// The version of the subject after the event: 1 for its first event, then one more with each,
    /// without gaps.
    #[schemars(range(min = 1))]
    pub aggregateversion: i32,
    /// Who caused the event: a TypeID, or `system`.
    pub actor: Actor,
    /// The id of the request that caused the event, directly or through others.
    pub correlationid: String,
    /// The id of the event that caused this one; absent if a request did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Uuid")]
    pub causationid: Option<Uuid>,
    /// The W3C trace context of the request; absent if it had none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub traceparent: Option<String>,
    /// What happened in detail, as `dataschema` describes it.
    #[schemars(extend("type" = "object"))]
    pub data: D,
}

/// What a producer knows about an event beside its payload. `S` is the kind of id of the payload's
/// subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventContext<S> {
    /// The event's id, a UUIDv7.
    pub id: Uuid,
    /// What it happened to.
    pub subject: S,
    /// When it happened.
    pub time: Timestamp,
    /// The version of the subject after the event, from 1.
    pub aggregateversion: i32,
    /// Who caused it.
    pub actor: Actor,
    /// The id of the request that caused it.
    pub correlationid: String,
    /// The id of the event that caused it, if one did.
    pub causationid: Option<Uuid>,
    /// The W3C trace context of the request, if it had one.
    pub traceparent: Option<String>,
}

impl<D> CloudEvent<D> {
    /// The version of the payload.
    #[must_use]
    pub fn version(&self) -> u16 {
        self.dataschema.version()
    }

    /// The key under which the broker routes the event: `{type}.v{version}`.
    #[must_use]
    pub fn routing_key(&self) -> String {
        routing_key(&self.r#type, self.version())
    }
}

impl<P: EventPayload> CloudEvent<P> {
    /// Puts a payload into its envelope. Source, type, schema and community are the payload's own.
    pub fn new(base: &SchemaBase, context: EventContext<P::Subject>, data: P) -> Self {
        Self {
            specversion: SpecVersion::V1_0,
            id: context.id,
            source: format!("/convene/{}", P::MODULE),
            r#type: P::TYPE.to_owned(),
            subject: context.subject.to_string(),
            time: context.time.into(),
            datacontenttype: DataContentType::Json,
            dataschema: DataSchema::new(base, P::TYPE, P::VERSION),
            communityid: data.community_id().cloned(),
            aggregateversion: context.aggregateversion,
            actor: context.actor,
            correlationid: context.correlationid,
            causationid: context.causationid,
            traceparent: context.traceparent,
            data,
        }
    }

    /// The event that documentation shows.
    #[must_use]
    pub fn example(base: &SchemaBase) -> Self {
        let context = EventContext {
            id: uuid!("01a4a02d-7d7b-74c1-b606-38d6d72a0edc"),
            subject: P::Subject::example(),
            time: Timestamp::constant(1_806_573_600, 123_456_000), // 2027-04-01T10:00:00.123456Z
            aggregateversion: 1,
            actor: Actor::from(UserId::example().to_string()),
            correlationid: "b1c8f0a2-6d8e-4f0e-9d57-3a1f6f0c2e44".to_owned(),
            causationid: Some(uuid!("01a4a02d-7d7b-7d9f-95c2-f59ab7bfaf50")),
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        };
        Self::new(base, context, P::example())
    }

    /// The same event with its data as a JSON value, for code that handles events of every type.
    ///
    /// # Errors
    ///
    /// The payload's `Serialize` failed, which plain data with string keys never does.
    pub fn into_untyped(self) -> Result<CloudEvent, serde_json::Error> {
        Ok(CloudEvent {
            data: serde_json::to_value(&self.data)?,
            specversion: self.specversion,
            id: self.id,
            source: self.source,
            r#type: self.r#type,
            subject: self.subject,
            time: self.time,
            datacontenttype: self.datacontenttype,
            dataschema: self.dataschema,
            communityid: self.communityid,
            aggregateversion: self.aggregateversion,
            actor: self.actor,
            correlationid: self.correlationid,
            causationid: self.causationid,
            traceparent: self.traceparent,
        })
    }
}

impl CloudEvent {
    /// Reads the data as the payload `P`.
    ///
    /// # Errors
    ///
    /// The event is of another type or version, or its data does not fit the payload.
    pub fn decode<P: EventPayload>(&self) -> Result<P, DecodeError> {
        decode(&self.r#type, self.version(), &self.data)
    }
}

/// The body of a webhook.
///
/// The header `webhook-id` names the delivery; `id` names the event, so that a receiver with two
/// endpoints, or one that also listens to the broker, can tell that it is the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "WebhookBody")]
pub struct WebhookBody<D = Value> {
    /// The event's id, a UUIDv7.
    pub id: Uuid,
    /// What happened: `module.past_tense`.
    #[schemars(regex(pattern = r"^[a-z]+\.[a-z_]+$"))]
    pub r#type: String,
    /// The version of the payload in `data`.
    #[schemars(range(min = 1))]
    pub version: u16,
    /// When it happened.
    pub timestamp: UtcTimestamp,
    /// What happened in detail: the event's payload.
    #[schemars(extend("type" = "object"))]
    pub data: D,
}

impl<D: Clone> From<&CloudEvent<D>> for WebhookBody<D> {
    fn from(event: &CloudEvent<D>) -> Self {
        Self {
            id: event.id,
            r#type: event.r#type.clone(),
            version: event.version(),
            timestamp: event.time,
            data: event.data.clone(),
        }
    }
}

impl WebhookBody {
    /// Reads the data as the payload `P`.
    ///
    /// # Errors
    ///
    /// The event is of another type or version, or its data does not fit the payload.
    pub fn decode<P: EventPayload>(&self) -> Result<P, DecodeError> {
        decode(&self.r#type, self.version, &self.data)
    }
}

/// Why an event could not be read as a given payload.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// The event is of another type or version.
    #[error("the event is a {found}, not a {expected}")]
    Mismatch {
        /// The routing key of the payload that was asked for.
        expected: String,
        /// The routing key of the event.
        found: String,
    },
    /// The data does not have the shape that its type promises.
    #[error("the data does not fit {routing_key}")]
    Data {
        /// The routing key of the event.
        routing_key: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

fn decode<P: EventPayload>(event_type: &str, version: u16, data: &Value) -> Result<P, DecodeError> {
    if (event_type, version) != (P::TYPE, P::VERSION) {
        return Err(DecodeError::Mismatch {
            expected: routing_key(P::TYPE, P::VERSION),
            found: routing_key(event_type, version),
        });
    }
    P::deserialize(data).map_err(|source| DecodeError::Data {
        routing_key: routing_key(event_type, version),
        source,
    })
}

/// `{type}.v{version}`: what names one version of one event type, in routing keys and schema URLs.
pub(crate) fn routing_key(event_type: &str, version: u16) -> String {
    format!("{event_type}.v{version}")
}

/// The version of the CloudEvents specification; an envelope of any other is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpecVersion {
    /// CloudEvents 1.0.
    #[serde(rename = "1.0")]
    V1_0,
}

/// The media type of an event's data; an envelope of any other is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DataContentType {
    /// JSON.
    #[serde(rename = "application/json")]
    Json,
}

/// Who caused an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// Convene itself, in a job of its own; written `system`.
    System,
    /// A person or a machine with credentials, by TypeID.
    Principal(String),
}

impl From<String> for Actor {
    fn from(text: String) -> Self {
        if text == "system" { Self::System } else { Self::Principal(text) }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::Principal(id) => f.write_str(id),
        }
    }
}

impl Serialize for Actor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Actor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl JsonSchema for Actor {
    fn schema_name() -> Cow<'static, str> {
        "Actor".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(system|[a-z]+_[0-7][0-9a-hjkmnp-tv-z]{25})$",
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{rsvp::RsvpConfirmed, user::UserRegistered};

    fn member_names(value: &impl Serialize) -> Vec<String> {
        let value = serde_json::to_value(value).unwrap();
        value.as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn members_stand_in_the_order_of_the_specification_and_absent_ones_are_left_out() {
        let mut event = CloudEvent::<RsvpConfirmed>::example(&SchemaBase::default());
        let all = [
            "specversion",
            "id",
            "source",
            "type",
            "subject",
            "time",
            "datacontenttype",
            "dataschema",
            "communityid",
            "aggregateversion",
            "actor",
            "correlationid",
            "causationid",
            "traceparent",
            "data",
        ];
        assert_eq!(member_names(&event), all);

        (event.communityid, event.causationid, event.traceparent) = (None, None, None);
        let optional = ["communityid", "causationid", "traceparent"];
        let left: Vec<_> = all.into_iter().filter(|name| !optional.contains(name)).collect();
        assert_eq!(member_names(&event), left);
    }

    #[test]
    fn the_envelope_follows_from_the_payload() {
        let base = SchemaBase::new("https://events.example/");
        let joined = CloudEvent::<RsvpConfirmed>::example(&base);
        assert_eq!(joined.source, "/convene/rsvp");
        assert_eq!(joined.routing_key(), "rsvp.confirmed.v1");
        assert_eq!(
            joined.dataschema.as_str(),
            "https://events.example/schemas/rsvp.confirmed.v1.json"
        );
        assert_eq!(joined.communityid.as_ref(), Some(&joined.data.rsvp.community_id));
        assert_eq!(CloudEvent::<UserRegistered>::example(&base).communityid, None);
    }

    #[test]
    fn an_event_is_the_same_after_a_round_trip_typed_or_not() {
        let typed = CloudEvent::<RsvpConfirmed>::example(&SchemaBase::default());
        let json = serde_json::to_string(&typed).unwrap();
        assert_eq!(serde_json::from_str::<CloudEvent<RsvpConfirmed>>(&json).unwrap(), typed);

        let untyped: CloudEvent = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&untyped).unwrap(), json);
        assert_eq!(untyped.decode::<RsvpConfirmed>().unwrap(), typed.data);
        assert_eq!(typed.into_untyped().unwrap(), untyped);
    }

    #[test]
    fn decoding_refuses_another_type_and_data_of_another_shape() {
        let mut event: CloudEvent =
            CloudEvent::<RsvpConfirmed>::example(&SchemaBase::default()).into_untyped().unwrap();
        assert_eq!(
            event.decode::<UserRegistered>().unwrap_err().to_string(),
            "the event is a rsvp.confirmed.v1, not a user.registered.v1"
        );

        event.data["party_size"] = json!("two");
        let error = event.decode::<RsvpConfirmed>().unwrap_err();
        assert_eq!(error.to_string(), "the data does not fit rsvp.confirmed.v1");
    }

    #[test]
    fn an_envelope_of_another_specification_is_refused_and_an_unknown_member_is_not() {
        let event = CloudEvent::<UserRegistered>::example(&SchemaBase::default());
        let mut json = serde_json::to_value(event).unwrap();
        json["partitionkey"] = json!("later");
        assert!(serde_json::from_value::<CloudEvent>(json.clone()).is_ok());

        for (member, value) in
            [("specversion", "0.3"), ("datacontenttype", "text/xml"), ("dataschema", "v1")]
        {
            let mut broken = json.clone();
            broken[member] = json!(value);
            assert!(serde_json::from_value::<CloudEvent>(broken).is_err(), "{member}");
        }
    }

    #[test]
    fn a_webhook_body_is_the_event_in_five_members() {
        let event = CloudEvent::<RsvpConfirmed>::example(&SchemaBase::default());
        let body = WebhookBody::from(&event);
        assert_eq!(member_names(&body), ["id", "type", "version", "timestamp", "data"]);
        assert_eq!(body.data, event.data);

        let json = serde_json::to_value(&body).unwrap();
        assert_eq!(json["version"], 1);
        assert_eq!(json["timestamp"], "2027-04-01T10:00:00.123456Z");
        let received: WebhookBody = serde_json::from_value(json).unwrap();
        assert_eq!(received.decode::<RsvpConfirmed>().unwrap(), event.data);
    }
}
