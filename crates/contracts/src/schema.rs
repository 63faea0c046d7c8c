//! JSON Schema documents (draft 2020-12) of payloads and envelopes, generated from the types.
//!
//! They describe what producers write. `additionalProperties` stays open: consumers tolerate
//! additions.

use std::borrow::Cow;

use schemars::{
    JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema,
    transform::RecursiveTransform,
};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::{
    CloudEvent, EVENT_TYPES, EventPayload, WebhookBody, envelope::routing_key, rsvp::RsvpConfirmed,
};

/// The name of the document that describes the envelope, [`envelope`].
pub const ENVELOPE: &str = "envelope.v1";

/// The name of the document that describes a webhook's body, [`webhook_body`].
pub const WEBHOOK_BODY: &str = "webhook_body.v1";

/// The URL below which this installation publishes its schemas; `https://convene.dev` unless
/// configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaBase(String);

impl SchemaBase {
    /// Takes an absolute URL; slashes at its end are dropped.
    pub fn new(url: impl AsRef<str>) -> Self {
        Self(url.as_ref().trim_end_matches('/').to_owned())
    }

    /// The URL of a document, such as `rsvp.confirmed.v1` or [`ENVELOPE`]:
    /// `{base}/schemas/{document}.json`.
    #[must_use]
    pub fn url(&self, document: &str) -> String {
        format!("{}/schemas/{document}.json", self.0)
    }
}

impl Default for SchemaBase {
    fn default() -> Self {
        Self::new("https://convene.dev")
    }
}

/// The URL of a payload's schema. It ends in the payload's version, which makes it the one place
/// that states it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DataSchema {
    url: String,
    version: u16,
}

impl DataSchema {
    /// The URL of one version of one event type's payload.
    #[must_use]
    pub fn new(base: &SchemaBase, event_type: &str, version: u16) -> Self {
        Self { url: base.url(&routing_key(event_type, version)), version }
    }

    /// The URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// The version of the payload.
    #[must_use]
    pub fn version(&self) -> u16 {
        self.version
    }
}

/// A `dataschema` that does not end in `.v{version}.json`.
#[derive(Debug, Error)]
#[error("`{0}` is no schema URL: it must end in `/schemas/{{type}}.v{{version}}.json`")]
pub struct InvalidDataSchema(String);

impl TryFrom<String> for DataSchema {
    type Error = InvalidDataSchema;

    fn try_from(url: String) -> Result<Self, InvalidDataSchema> {
        let version = url
            .strip_suffix(".json")
            .and_then(|stem| stem.rsplit_once("/schemas/"))
            .and_then(|(_, document)| document.rsplit_once(".v"))
            .and_then(|(_, version)| version.parse().ok());
        match version {
            Some(version) => Ok(Self { url, version }),
            None => Err(InvalidDataSchema(url)),
        }
    }
}

impl Serialize for DataSchema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.url)
    }
}

impl JsonSchema for DataSchema {
    fn schema_name() -> Cow<'static, str> {
        "DataSchema".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "uri",
            "pattern": r"/schemas/[a-z]+\.[a-z_]+\.v[0-9]+\.json$",
        })
    }
}

/// The schema of the envelope around any payload.
#[must_use]
pub fn envelope(base: &SchemaBase) -> Value {
    let example = CloudEvent::<RsvpConfirmed>::example(base);
    document::<CloudEvent>(base.url(ENVELOPE), &json!(example))
}

/// The schema of a webhook's body around any payload.
#[must_use]
pub fn webhook_body(base: &SchemaBase) -> Value {
    let event = CloudEvent::<RsvpConfirmed>::example(base);
    document::<WebhookBody>(base.url(WEBHOOK_BODY), &json!(WebhookBody::from(&event)))
}

/// Every schema document, by its name: the envelope, the webhook's body, and each version of each
/// payload.
#[must_use]
pub fn documents(base: &SchemaBase) -> Vec<(String, Value)> {
    let mut documents =
        vec![(ENVELOPE.to_owned(), envelope(base)), (WEBHOOK_BODY.to_owned(), webhook_body(base))];
    documents.extend(EVENT_TYPES.iter().map(|known| (known.routing_key(), known.schema(base))));
    documents
}

/// The schema of the payload `P`, under the URL that its events name as their `dataschema`.
pub(crate) fn payload<P: EventPayload>(base: &SchemaBase) -> Value {
    document::<P>(base.url(&routing_key(P::TYPE, P::VERSION)), &json!(P::example()))
}

/// A schema document that stands alone: nothing in it refers to another.
fn document<T: JsonSchema>(id: String, example: &Value) -> Value {
    let mut schema = SchemaSettings::draft2020_12()
        .for_serialize()
        .with(|settings| settings.inline_subschemas = true)
        .with_transform(RecursiveTransform(unwrap_description))
        .into_generator()
        .into_root_schema_for::<T>();
    schema.insert("$id".to_owned(), Value::String(id));
    add_examples(schema.ensure_object(), example);
    schema.insert("examples".to_owned(), json!([example]));

    let members = std::mem::take(schema.ensure_object());
    let mut document = Map::new();
    for first in ["$schema", "$id", "title", "description"] {
        document.extend(members.get(first).map(|member| (first.to_owned(), member.clone())));
    }
    document.extend(members);
    Value::Object(document)
}

/// Joins the lines of a doc comment, whose breaks mean nothing to a schema's reader.
fn unwrap_description(schema: &mut Schema) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        let paragraphs: Vec<_> =
            description.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect();
        *description = paragraphs.join("\n\n");
    }
}

/// Gives each property the value that it has in the example, so that an example is written once
/// per payload.
fn add_examples(schema: &mut Map<String, Value>, example: &Value) {
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (name, property) in properties.into_iter().flatten() {
        let (Some(property), Some(value)) = (property.as_object_mut(), example.get(name)) else {
            continue;
        };
        if property.contains_key("properties") {
            add_examples(property, value);
        } else {
            property.insert("examples".to_owned(), json!([value]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_url_states_the_version() {
        let url = DataSchema::new(&SchemaBase::default(), "rsvp.confirmed", 3);
        assert_eq!(url.as_str(), "https://convene.dev/schemas/rsvp.confirmed.v3.json");
        let read = DataSchema::try_from(url.as_str().to_owned()).unwrap();
        assert_eq!((read.version(), &read), (3, &url));
    }

    #[test]
    fn what_states_no_version_is_no_schema_url() {
        for text in [
            "",
            "https://convene.dev/schemas/rsvp.confirmed.json",
            "https://convene.dev/schemas/rsvp.confirmed.v.json",
            "https://convene.dev/schemas/rsvp.confirmed.v70000.json",
            "https://convene.dev/rsvp.confirmed.v1.json",
            "https://convene.dev/schemas/rsvp.confirmed.v1",
        ] {
            assert!(DataSchema::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn every_property_is_described_and_has_an_example() {
        fn check(path: &str, schema: &Value) {
            let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
                return assert!(schema.get("examples").is_some(), "{path} has no example");
            };
            for (name, property) in properties {
                let path = format!("{path}/{name}");
                assert!(property.get("description").is_some(), "{path} has no description");
                check(&path, property);
            }
        }

        let base = SchemaBase::default();
        check("envelope", &envelope(&base));
        check("webhook body", &webhook_body(&base));
        for event_type in crate::EVENT_TYPES.iter() {
            check(&event_type.routing_key(), &event_type.schema(&base));
        }
    }

    #[test]
    fn no_payload_has_a_member_for_personal_data() {
        const PERSONAL: [&str; 6] =
            ["email", "display_name", "handle", "password", "ip", "user_agent"];
        let base = SchemaBase::default();
        for event_type in crate::EVENT_TYPES.iter() {
            let schema = event_type.schema(&base);
            for name in schema["properties"].as_object().unwrap().keys() {
                assert!(!PERSONAL.contains(&name.as_str()), "{}: {name}", event_type.name);
            }
        }
    }
}
