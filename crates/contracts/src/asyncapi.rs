//! The AsyncAPI 3.0 document: which events are on the broker, under which keys, and what they look
//! like.

use serde_json::{Map, Value, json};

use crate::{EVENT_TYPES, EventType, SchemaBase, amqp, schema};

const DESCRIPTION: &str = "\
Convene publishes each event once it is committed, as a CloudEvent 1.0 in structured JSON mode, \
to the topic exchange `convene.events` under the routing key `{type}.v{version}`.

Bind a durable queue of your own to it, for instance with `rsvp.#`. What no queue is bound for \
goes to `convene.unrouted`.

Delivery is at least once: deduplicate by the event's `id`, which is also the AMQP `message_id`. \
Events of one subject are published in the order of `aggregateversion`; redelivery may reorder \
them.

Within a version, members and values of `x-extensible-enum` may be added, and both must be \
tolerated; a breaking change gets a new version, published beside the old one.";

/// The AsyncAPI document of every event type, with schema URLs below `base`.
#[must_use]
pub fn document(base: &SchemaBase) -> Value {
    let mut channels = Map::new();
    let mut operations = Map::new();
    let mut messages = Map::new();
    let mut schemas = Map::from_iter([("envelope".to_owned(), embed(schema::envelope(base)))]);
    for event_type in EVENT_TYPES.iter() {
        let key = event_type.routing_key();
        let payload = event_type.schema(base);
        channels.insert(key.clone(), channel(&key, &payload));
        operations.insert(format!("publish.{key}"), operation(&key));
        messages.insert(key.clone(), message(event_type, &key, &payload, base));
        schemas.insert(key, embed(payload));
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Convene events",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": {
                "name": "Apache-2.0",
                "url": "https://www.apache.org/licenses/LICENSE-2.0",
            },
        },
        "defaultContentType": amqp::CONTENT_TYPE,
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages, "schemas": schemas },
    })
}

fn channel(key: &str, payload: &Value) -> Value {
    json!({
        "address": key,
        "title": payload["title"],
        "description": payload["description"],
        "messages": { key: { "$ref": format!("#/components/messages/{key}") } },
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {
                    "name": amqp::EXCHANGE,
                    "type": "topic",
                    "durable": true,
                    "autoDelete": false,
                },
                "bindingVersion": "0.3.0",
                "x-alternate-exchange": amqp::UNROUTED_EXCHANGE,
            },
        },
    })
}

fn operation(key: &str) -> Value {
    json!({
        "action": "send",
        "channel": { "$ref": format!("#/channels/{key}") },
        "messages": [{ "$ref": format!("#/channels/{key}/messages/{key}") }],
        "bindings": {
            "amqp": { "deliveryMode": 2, "mandatory": true, "bindingVersion": "0.3.0" },
        },
    })
}

fn message(event_type: &EventType, key: &str, payload: &Value, base: &SchemaBase) -> Value {
    let example = event_type.example(base);
    json!({
        "name": event_type.name,
        "title": payload["title"],
        "summary": payload["description"],
        "contentType": amqp::CONTENT_TYPE,
        "correlationId": { "location": "$message.payload#/correlationid" },
        "headers": {
            "type": "object",
            "properties": {
                amqp::TRACEPARENT_HEADER: {
                    "type": "string",
                    "description": "The W3C trace context, as in the envelope.",
                },
            },
        },
        "payload": {
            "allOf": [
                { "$ref": "#/components/schemas/envelope" },
                {
                    "type": "object",
                    "properties": {
                        "source": { "const": example["source"] },
                        "type": { "const": event_type.name },
                        "subject": { "pattern": format!("^{}_", event_type.subject_prefix) },
                        "dataschema": { "const": base.url(key) },
                        "data": { "$ref": format!("#/components/schemas/{key}") },
                    },
                },
            ],
        },
        "examples": [{
            "name": key,
            "headers": { amqp::TRACEPARENT_HEADER: example["traceparent"] },
            "payload": example,
        }],
    })
}

/// A schema as part of this document: its own address and dialect would make references relative to
/// it.
fn embed(mut schema: Value) -> Value {
    if let Some(members) = schema.as_object_mut() {
        members.retain(|name, _| name != "$id" && name != "$schema");
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_event_type_has_a_channel_an_operation_and_a_message() {
        let document = document(&SchemaBase::default());
        for event_type in EVENT_TYPES.iter() {
            let key = event_type.routing_key();
            assert_eq!(document["channels"][&key]["address"], *key);
            assert_eq!(document["operations"][format!("publish.{key}")]["action"], "send");
            assert_eq!(document["components"]["messages"][&key]["name"], event_type.name);
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document(&SchemaBase::default());
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > EVENT_TYPES.len());
        for reference in found {
            let pointer = reference.strip_prefix('#').expect("a reference within the document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}
