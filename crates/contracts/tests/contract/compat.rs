//! Decides whether a schema may replace another one within a version.
//!
//! Both directions count: what was recorded under the old schema is replayed to readers of the new
//! one, and what is published under the new schema meets readers of the old one. So only two things
//! may happen: an optional property joins, or a vocabulary (`x-extensible-enum`) gains a value.
//! Whatever this module does not know to be harmless is breaking.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Keywords that tell readers something and constrain nothing.
const ANNOTATIONS: [&str; 6] =
    ["$comment", "default", "deprecated", "description", "examples", "title"];

/// What breaks readers if `new` replaces `old`: one sentence each, none if they are compatible.
pub(crate) fn breaking_changes(old: &Value, new: &Value) -> Vec<String> {
    let mut breaks = Vec::new();
    compare("", old, new, &mut breaks);
    breaks
}

fn compare(path: &str, old: &Value, new: &Value, breaks: &mut Vec<String>) {
    let (Some(old), Some(new)) = (members(old), members(new)) else {
        if old != new {
            breaks.push(format!("{}: {old} became {new}", at(path)));
        }
        return;
    };
    let keywords: BTreeSet<_> = old.keys().chain(new.keys()).map(String::as_str).collect();
    for keyword in keywords {
        let (was, is) = (old.get(keyword), new.get(keyword));
        match keyword {
            _ if ANNOTATIONS.contains(&keyword) => {}
            "properties" => compare_properties(path, was, is, breaks),
            "required" => {
                // A property that is gone altogether is reported as that.
                let kept = property_names(&new);
                for name in (&texts(was) - &texts(is)).intersection(&kept) {
                    breaks
                        .push(format!("{path}/{name}: readers rely on it, it must stay required"));
                }
                for name in &texts(is) - &texts(was) {
                    breaks.push(format!(
                        "{path}/{name}: recorded events lack it, it must not be required"
                    ));
                }
            }
            "x-extensible-enum" => {
                for value in &texts(was) - &texts(is) {
                    breaks.push(format!("{}: the value `{value}` was removed", at(path)));
                }
            }
            "type" => {
                if texts(was) != texts(is) {
                    breaks.push(format!("{}: the type changed{}", at(path), from_to(was, is)));
                }
            }
            "items" | "additionalProperties" => {
                let anything = Value::Bool(true);
                compare(
                    &format!("{path}/*"),
                    was.unwrap_or(&anything),
                    is.unwrap_or(&anything),
                    breaks,
                );
            }
            _ => {
                if was != is {
                    breaks.push(format!("{}: `{keyword}` changed{}", at(path), from_to(was, is)));
                }
            }
        }
    }
}

fn compare_properties(
    path: &str,
    was: Option<&Value>,
    is: Option<&Value>,
    breaks: &mut Vec<String>,
) {
    for (name, old) in was.and_then(Value::as_object).into_iter().flatten() {
        match is.and_then(|properties| properties.get(name)) {
            Some(new) => compare(&format!("{path}/{name}"), old, new, breaks),
            None => breaks.push(format!("{path}/{name}: the property was removed")),
        }
    }
}

/// The keywords of a schema; `true` is the schema without any.
fn members(schema: &Value) -> Option<Map<String, Value>> {
    match schema {
        Value::Bool(true) => Some(Map::new()),
        Value::Object(members) => Some(members.clone()),
        _ => None,
    }
}

fn property_names(schema: &Map<String, Value>) -> BTreeSet<String> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.into_iter().flat_map(Map::keys).cloned().collect()
}

/// A string, or a list of strings, as a set: `"string"` and `["string"]` are the same type.
fn texts(value: Option<&Value>) -> BTreeSet<String> {
    match value {
        Some(Value::Array(items)) => {
            items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        Some(Value::String(text)) => BTreeSet::from([text.clone()]),
        _ => BTreeSet::new(),
    }
}

fn at(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

fn from_to(was: Option<&Value>, is: Option<&Value>) -> String {
    let text = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
    format!(" from {} to {}", text(was), text(is))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::breaking_changes;

    fn schema() -> Value {
        json!({
            "$id": "https://convene.dev/schemas/rsvp.confirmed.v1.json",
            "title": "RsvpConfirmed",
            "type": "object",
            "properties": {
                "party_size": { "type": "integer", "minimum": 0 },
                "reason": { "type": ["string", "null"] },
                "cause": { "type": "string", "x-extensible-enum": ["direct", "waitlist"] },
                "level": { "enum": ["low", "high"] },
                "tags": { "type": "array", "items": { "type": "string" } },
                "changed": {
                    "type": "object",
                    "additionalProperties": {
                        "type": "object",
                        "properties": { "old": true, "new": true },
                        "required": ["old", "new"],
                    },
                },
            },
            "required": ["party_size", "reason"],
        })
    }

    /// The complaints about one change to [`schema`]: the member at `pointer` becomes `value`, or
    /// goes if that is null.
    fn complaints(pointer: &str, value: Value) -> Vec<String> {
        let mut changed = schema();
        let (parent, name) = pointer.rsplit_once('/').expect("a JSON pointer");
        let parent = changed.pointer_mut(parent).and_then(Value::as_object_mut).expect(pointer);
        if value.is_null() {
            parent.remove(name).expect(pointer);
        } else {
            parent.insert(name.to_owned(), value);
        }
        breaking_changes(&schema(), &changed)
    }

    #[test]
    fn additions_and_annotations_are_compatible() {
        for (pointer, value) in [
            ("/title", json!("Confirmed")),
            ("/title", json!(null)),
            ("/properties/party_size/description", json!("Seats.")),
            ("/properties/party_size/deprecated", json!(true)),
            ("/properties/note", json!({ "type": "string" })),
            ("/properties/cause/x-extensible-enum", json!(["direct", "waitlist", "offer"])),
            ("/properties/reason/type", json!(["null", "string"])),
            ("/properties/tags/items/description", json!("A tag.")),
            ("/properties/changed/additionalProperties/properties/old", json!({ "title": "Old" })),
            ("/required", json!(["reason", "party_size"])),
        ] {
            assert_eq!(complaints(pointer, value), Vec::<String>::new(), "{pointer}");
        }
    }

    #[test]
    fn what_a_reader_would_notice_is_breaking() {
        for (pointer, value, complaint) in [
            (
                "/$id",
                json!("https://convene.dev/schemas/rsvp.confirmed.v2.json"),
                "/: `$id` changed",
            ),
            ("/properties/cause", json!(null), "/cause: the property was removed"),
            ("/properties/party_size", json!(null), "/party_size: the property was removed"),
            ("/properties", json!(null), "/party_size: the property was removed"),
            ("/properties/cause", json!(false), "/cause: {"),
            ("/required", json!(["party_size"]), "/reason: readers rely on it"),
            ("/required", json!(null), "/party_size: readers rely on it"),
            (
                "/required",
                json!(["party_size", "reason", "cause"]),
                "/cause: recorded events lack it",
            ),
            ("/properties/party_size/type", json!("string"), "/party_size: the type changed"),
            ("/properties/party_size/type", json!(null), "/party_size: the type changed"),
            ("/properties/reason/type", json!("string"), "/reason: the type changed"),
            (
                "/properties/party_size/type",
                json!(["integer", "null"]),
                "/party_size: the type changed",
            ),
            ("/properties/party_size/minimum", json!(1), "/party_size: `minimum` changed"),
            ("/properties/party_size/minimum", json!(null), "/party_size: `minimum` changed"),
            ("/properties/party_size/maximum", json!(10), "/party_size: `maximum` changed"),
            (
                "/properties/cause/x-extensible-enum",
                json!(["direct"]),
                "/cause: the value `waitlist` was removed",
            ),
            ("/properties/level/enum", json!(["low"]), "/level: `enum` changed"),
            ("/properties/level/enum", json!(["low", "high", "top"]), "/level: `enum` changed"),
            ("/properties/tags/items/type", json!("integer"), "/tags/*: the type changed"),
            ("/additionalProperties", json!(false), "/*: true became false"),
            (
                "/properties/changed/additionalProperties/properties/new",
                json!(null),
                "/changed/*/new: the property was removed",
            ),
        ] {
            let complaints = complaints(pointer, value.clone());
            assert!(
                complaints.first().is_some_and(|first| first.starts_with(complaint)),
                "{pointer} = {value}: {complaints:?}"
            );
        }
    }

    #[test]
    fn a_required_property_may_not_join() {
        let mut changed = schema();
        changed["properties"]["note"] = json!({ "type": "string" });
        changed["required"] = json!(["party_size", "reason", "note"]);
        assert_eq!(
            breaking_changes(&schema(), &changed),
            ["/note: recorded events lack it, it must not be required"]
        );
    }
}
