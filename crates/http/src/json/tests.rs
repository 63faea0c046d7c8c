//! The reader against serde_json as an oracle, and by example.

use std::collections::BTreeMap;

use garde::Validate;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize, Validate, ToSchema)]
struct Everything {
    #[garde(skip)]
    text: String,
    #[garde(skip)]
    small: u8,
    #[garde(skip)]
    signed: i64,
    #[garde(skip)]
    ratio: f64,
    #[garde(skip)]
    flag: bool,
    #[garde(skip)]
    colour: Colour,
    #[garde(skip)]
    maybe: Option<u32>,
    #[serde(default)]
    #[garde(skip)]
    list: Vec<u16>,
    #[serde(default)]
    #[garde(skip)]
    #[schema(value_type = Object)]
    by_name: BTreeMap<String, u32>,
    #[garde(dive)]
    inner: Option<Inner>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Validate, ToSchema)]
struct Inner {
    #[garde(range(min = 1))]
    number: u32,
    #[garde(skip)]
    other: u32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Colour {
    Red,
    DarkBlue,
}

fn good() -> Value {
    json!({
        "text": "a", "small": 255, "signed": -5, "ratio": 1.5, "flag": true, "colour": "dark_blue",
        "maybe": null, "list": [1, 2], "by_name": {"x": 1}, "inner": {"number": 1, "other": 2},
    })
}

fn read_value(value: &Value) -> Checked<Everything> {
    from_slice(value.to_string().as_bytes())
}

/// Places, codes and details, sorted.
fn mistakes(outcome: Checked<Everything>) -> Vec<(String, &'static str, String)> {
    let failure = outcome.unwrap_err();
    assert_eq!(failure.code, Code::ValidationFailed, "{failure}");
    let mut told: Vec<_> = failure
        .errors
        .into_iter()
        .map(|error| match error.place {
            Place::Pointer(pointer) => (pointer, error.code, error.detail.into_owned()),
            Place::Parameter(_) => unreachable!(),
        })
        .collect();
    told.sort();
    told
}

fn codes(outcome: Checked<Everything>) -> Vec<(String, &'static str)> {
    mistakes(outcome).into_iter().map(|(place, code, _)| (place, code)).collect()
}

fn at_place(place: &str, code: &'static str) -> (String, &'static str) {
    (place.to_owned(), code)
}

#[test]
fn reads_every_kind_of_field() {
    let expected: Everything = serde_json::from_value(good()).unwrap();
    assert_eq!(read_value(&good()).unwrap(), expected);
}

#[test]
fn tells_every_mistake_at_once() {
    let body = json!({
        "text": 1, "small": 256, "signed": 1.5, "ratio": "x", "flag": null, "colour": "green",
        "maybe": -1, "list": [1, "2", 3], "by_name": {"a/b": []}, "inner": {"number": 1, "extra": 1},
        "unknown": {"deep": [1]},
    });
    assert_eq!(
        codes(read_value(&body)),
        [
            at_place("/by_name/a~1b", "invalid_type"),
            at_place("/colour", "unknown_value"),
            at_place("/flag", "invalid_type"),
            at_place("/inner/other", "required"),
            at_place("/list/1", "invalid_type"),
            at_place("/maybe", "out_of_range"),
            at_place("/ratio", "invalid_type"),
            at_place("/signed", "invalid_type"),
            at_place("/small", "out_of_range"),
            at_place("/text", "invalid_type"),
            at_place("/unknown", "unknown_field"),
        ]
    );
}

#[test]
fn tells_every_missing_field_at_once() {
    assert_eq!(
        codes(read_value(&json!({"text": "a", "small": 1, "x": 1}))),
        [
            at_place("/colour", "required"),
            at_place("/flag", "required"),
            at_place("/ratio", "required"),
            at_place("/signed", "required"),
            at_place("/x", "unknown_field"),
        ]
    );
    // What was there and wrong is not missing too.
    let mut body = good();
    body["flag"] = json!("yes");
    body.as_object_mut().unwrap().remove("text");
    assert_eq!(
        codes(read_value(&body)),
        [at_place("/flag", "invalid_type"), at_place("/text", "required")]
    );
}

#[test]
fn checks_the_rules_of_nested_bodies() {
    let mut body = good();
    body["inner"]["number"] = json!(0);
    assert_eq!(
        mistakes(read_value(&body)),
        [("/inner/number".to_owned(), "out_of_range", "must be at least 1".to_owned())]
    );
}

#[test]
fn speaks_plainly() {
    let mut body = good();
    body["small"] = json!(-1);
    body["colour"] = json!(7);
    body["inner"] = json!("x");
    let details: Vec<_> =
        mistakes(read_value(&body)).into_iter().map(|(.., detail)| detail).collect();
    assert_eq!(
        details,
        ["must be one of: red, dark_blue", "must be an object", "must be an integer from 0 to 255"]
    );
}

#[test]
fn what_does_not_parse_is_malformed() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for text in [
        "",
        "  \n",
        "{",
        "{\"a\":}",
        "nul",
        "01",
        "{\"a\":1,}",
        "{'a':1}",
        "\"\u{1}\"",
        "{} x",
        "[1 2]",
        "1e",
        "\"\\x\"",
        "\u{feff}{}",
        &deep(65),
        &deep(100_000),
        &"{\"a\":".repeat(70),
        r#"{"text":"a","text":"b"}"#,
        r#"{"inner":{"number":1,"number":1}}"#,
        r#"[{"a":1,"\u0061":2}]"#,
    ] {
        let failure = from_slice::<Everything>(text.as_bytes()).unwrap_err();
        assert_eq!(failure.code, Code::MalformedRequest, "{}", &text[..text.len().min(40)]);
    }
    assert_eq!(from_slice::<Everything>(b"\"\xc3\"").unwrap_err().code, Code::MalformedRequest);
    assert_eq!(codes(from_slice(deep(64).as_bytes())), [at_place("", "invalid_type")]);
}

#[test]
fn what_parses_without_meaning_is_invalid() {
    for (text, place, code) in [
        (r#"{"ratio": 1e400}"#, "/ratio", "out_of_range"),
        (r#"{"list": [1, -1e999]}"#, "/list/1", "out_of_range"),
        (r#"{"text": "\ud800"}"#, "/text", "invalid_unicode"),
        (r#"{"text": "\udc00\ud800"}"#, "/text", "invalid_unicode"),
        (r#"{"inner": {"\ud800x": 1}}"#, "/inner", "invalid_unicode"),
        (r#"{"text": "a\u0000b"}"#, "/text", "control_character"),
        ("[]", "", "invalid_type"),
        ("7", "", "invalid_type"),
    ] {
        assert_eq!(codes(from_slice(text.as_bytes())), [at_place(place, code)], "{text}");
    }
}

#[test]
fn a_patch_tells_absence_from_null() {
    #[derive(Debug, PartialEq, Deserialize, Validate, ToSchema)]
    struct Body {
        #[serde(default)]
        #[garde(skip)]
        #[schema(value_type = Option<u32>)]
        clearable: Patch<u32>,
        #[serde(default, deserialize_with = "present")]
        #[garde(skip)]
        kept: Option<u32>,
    }
    let read = |text: &str| from_slice::<Body>(text.as_bytes());
    assert_eq!(read("{}").unwrap(), Body { clearable: Patch::Keep, kept: None });
    assert_eq!(
        read(r#"{"clearable": null, "kept": 1}"#).unwrap(),
        Body { clearable: Patch::Clear, kept: Some(1) }
    );
    assert_eq!(read(r#"{"clearable": 2}"#).unwrap().clearable, Patch::Set(2));
    assert_eq!(read(r#"{"kept": null}"#).unwrap_err().errors.len(), 1);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[^\0]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[^\0]{0,4}", inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Bodies that are almost right: the good one with some fields replaced or taken away.
fn almost_good() -> impl Strategy<Value = Value> {
    let names: Vec<String> = good().as_object().unwrap().keys().cloned().collect();
    prop::collection::vec((prop::sample::select(names), prop::option::of(any_json())), 0..4)
        .prop_map(|edits| {
            let mut body = good();
            for (name, value) in edits {
                match value {
                    Some(value) => body[&name] = value,
                    None => {
                        body.as_object_mut().unwrap().remove(&name);
                    }
                }
            }
            body
        })
}

proptest! {
    #[test]
    fn reads_what_serde_json_reads(value in any_json()) {
        let text = value.to_string();
        let expected: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(strict::parse(text.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn never_panics_and_accepts_only_json(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if strict::parse(&bytes).is_ok() {
            prop_assert!(serde_json::from_slice::<Value>(&bytes).is_ok());
        }
    }

    #[test]
    fn refuses_whatever_is_not_json(text in r#"[\[\]{}:,"\\a0e.u \n-]{0,24}"#) {
        let strict = strict::parse(text.as_bytes());
        match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
            Err(_) => prop_assert_eq!(strict.unwrap_err().code, Code::MalformedRequest),
            Ok(_) => {
                if let Ok(value) = strict {
                    prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
                }
            }
        }
    }

    #[test]
    fn fills_a_dto_exactly_when_serde_json_does(body in almost_good()) {
        let expected = serde_json::from_value::<Everything>(body.clone());
        match read::<Everything>(body, &required_fields::<Everything>) {
            Ok(dto) => prop_assert_eq!(dto, expected.unwrap()),
            // Unknown fields are refused here and ignored there.
            Err(mistakes) => prop_assert!(
                expected.is_err() || mistakes.iter().all(|mistake| mistake.code == "unknown_field"),
                "{:?}", mistakes
            ),
        }
    }
}
