//! Holds the event contract against what is committed: `schemas/` (what was promised) and
//! `fixtures/` (what was published).
//!
//! `UPDATE_CONTRACTS=1 cargo test -p convene-contracts --test contract` writes what is new. It
//! never overwrites a schema by one that breaks its readers, and never a fixture at all: a breaking
//! change needs a new version of the payload, beside the old one.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use convene_contracts::{
    CloudEvent, EVENT_TYPES, EventType, SchemaBase, WebhookBody, asyncapi, schema,
};
use jsonschema::Validator;
use serde_json::{Value, json};

mod compat;

const HOW_TO_UPDATE: &str = "run `UPDATE_CONTRACTS=1 cargo test -p convene-contracts \
    --test contract` and commit the result";

/// Every schema document, by name.
fn documents() -> Vec<(String, Value)> {
    schema::documents(&SchemaBase::default())
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn updating() -> bool {
    env::var_os("UPDATE_CONTRACTS").is_some_and(|value| value == "1")
}

fn read(path: &Path) -> Option<Value> {
    let text = fs::read_to_string(path).ok()?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

fn write(path: &Path, value: &Value) {
    let folder = path.parent().expect("a file lies in a folder");
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, format!("{value:#}\n")))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Brings one committed schema up to date if that is asked for and allowed; the complaint if not.
fn reconcile(path: &Path, generated: &Value, update: bool) -> Result<(), String> {
    let committed = read(path);
    if let Some(committed) = &committed {
        let breaks = compat::breaking_changes(committed, generated);
        if !breaks.is_empty() {
            return Err(format!(
                "{}: this breaks its readers; publish a new version beside it\n    {}",
                path.display(),
                breaks.join("\n    ")
            ));
        }
    }
    match committed {
        Some(committed) if committed == *generated => Ok(()),
        _ if update => {
            write(path, generated);
            Ok(())
        }
        Some(_) => Err(format!("{} is out of date: {HOW_TO_UPDATE}", path.display())),
        None => Err(format!("{} is missing: {HOW_TO_UPDATE}", path.display())),
    }
}

fn validator(schema: &Value) -> Validator {
    jsonschema::options().should_validate_formats(true).build(schema).expect("a valid schema")
}

fn assert_valid(validator: &Validator, instance: &Value, what: &str) {
    let errors: Vec<_> = validator
        .iter_errors(instance)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{what}: {errors:#?}");
}

#[test]
fn committed_schemas_are_what_the_code_publishes() {
    let complaints: Vec<_> = documents()
        .iter()
        .filter_map(|(name, generated)| {
            let path = folder("schemas").join(format!("{name}.json"));
            reconcile(&path, generated, updating()).err()
        })
        .collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn an_update_writes_what_is_additive_and_refuses_what_breaks() {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("reconcile.v1.json");
    let promised = json!({ "properties": { "a": { "type": "string" } } });
    let additive = json!({ "properties": { "a": { "type": "string" }, "b": true } });
    let breaking = json!({ "properties": { "b": true } });

    write(&path, &promised);
    assert!(reconcile(&path, &additive, false).unwrap_err().contains("out of date"));
    assert!(reconcile(&path, &breaking, true).unwrap_err().contains("new version"));
    assert_eq!(read(&path).unwrap(), promised);

    reconcile(&path, &additive, true).unwrap();
    assert_eq!(read(&path).unwrap(), additive);
}

#[test]
fn nothing_that_was_promised_is_dropped() {
    let known: BTreeSet<_> = documents().into_iter().map(|(name, _)| name).collect();
    for folder in [folder("schemas"), folder("fixtures")] {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let file = entry.unwrap().file_name().into_string().unwrap();
            let name = file.strip_suffix(".json").unwrap_or(&file);
            assert!(
                known.contains(name),
                "{}: no such event is published",
                folder.join(&file).display()
            );
        }
    }
}

#[test]
fn every_recorded_event_can_still_be_read() {
    let base = SchemaBase::default();
    let envelope = validator(&schema::envelope(&base));
    let webhook_body = validator(&schema::webhook_body(&base));
    for known in EVENT_TYPES.iter() {
        let key = known.routing_key();
        let path = folder("fixtures").join(format!("{key}.json"));
        if updating() && !path.exists() {
            write(&path, &known.example(&base));
        }
        let recorded =
            read(&path).unwrap_or_else(|| panic!("{} is missing: {HOW_TO_UPDATE}", path.display()));

        let event: CloudEvent = serde_json::from_value(recorded.clone()).expect(&key);
        assert_eq!(event.routing_key(), key);
        assert_eq!(json!(event), recorded, "{key}: the envelope changed on the way");
        assert_eq!(known.round_trip(&event).expect(&key), recorded["data"], "{key}");

        assert_valid(&envelope, &recorded, &key);
        assert_valid(&validator(&known.schema(&base)), &recorded["data"], &key);
        assert_valid(&webhook_body, &json!(WebhookBody::from(&event)), &key);
    }
}

#[test]
fn every_schema_is_valid_json_schema() {
    for (name, document) in documents() {
        assert_eq!(document["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert_eq!(document["$id"], format!("https://convene.dev/schemas/{name}.json"));
        if let Err(error) = jsonschema::meta::validate(&document) {
            panic!("{name}: {error}");
        }
    }
}

#[test]
fn a_schema_refuses_data_of_another_shape_and_tolerates_additions() {
    let confirmed = EventType::latest("rsvp.confirmed").unwrap();
    let base = SchemaBase::default();
    let validator = validator(&confirmed.schema(&base));
    let data = confirmed.example(&base)["data"].take();

    let with = |member: &str, value: Value| {
        let mut changed = data.clone();
        changed[member] = value;
        changed
    };
    assert!(validator.is_valid(&data));
    assert!(validator.is_valid(&with("seats_left", json!(null))));
    assert!(validator.is_valid(&with("cause", json!("a later cause"))));
    assert!(validator.is_valid(&with("a_later_member", json!(1))));
    assert!(!validator.is_valid(&with("seats_left", json!("0"))));
    assert!(!validator.is_valid(&with("user_id", json!("comm_01mg05crrsfpkt7dx9d6rg53q3"))));
    assert!(!validator.is_valid(&with("party_size", json!(null))));
}

#[test]
fn asyncapi_examples_fit_their_messages() {
    let document = asyncapi::document(&SchemaBase::default());
    let messages = document["components"]["messages"].as_object().unwrap();
    assert_eq!(messages.len(), EVENT_TYPES.len());
    for (key, message) in messages {
        let schema = json!({
            "allOf": message["payload"]["allOf"],
            "components": document["components"],
        });
        let validator = validator(&schema);
        for example in message["examples"].as_array().unwrap() {
            assert_valid(&validator, &example["payload"], key);
        }
    }
}
