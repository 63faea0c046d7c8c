//! Requests that are made up: honest ones with a part that is changed, and nonsense.

use bytes::Bytes;
use convene_tests::openapi::Operation;
use convene_tests::scene::Actor;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    /// Its place in the document.
    pub(super) operation: usize,
    pub(super) place: Choice,
    pub(super) actor: Actor,
    /// What stands in each brace of the path, instead of an id that fits.
    pub(super) segment: Option<String>,
    query: Vec<(String, String)>,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Body,
    pub(super) sends_body_anyway: bool,
}

/// One of some things.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice(Index);

impl Choice {
    pub(super) fn get<T>(self, all: &[T]) -> &T {
        self.0.get(all)
    }
}

/// What becomes of the honest body.
#[derive(Clone, Debug)]
pub(super) enum Body {
    Honest,
    Without(Index),
    With(String, Value),
    Swapped(Index, Value),
    CutOff(Index),
    Flipped(Index, u8),
    Json(Value),
    Bytes(Vec<u8>),
}

impl Body {
    pub(super) fn bytes(&self, mut honest: Map<String, Value>) -> Bytes {
        let nth = |honest: &Map<String, Value>, index: &Index| {
            let names: Vec<String> = honest.keys().cloned().collect();
            (!names.is_empty()).then(|| index.get(&names).clone())
        };
        match self {
            Self::Honest => {}
            Self::Without(index) => {
                if let Some(name) = nth(&honest, index) {
                    honest.remove(&name);
                }
            }
            Self::With(name, value) => {
                honest.insert(name.clone(), value.clone());
            }
            Self::Swapped(index, value) => {
                if let Some(name) = nth(&honest, index) {
                    honest.insert(name, value.clone());
                }
            }
            Self::CutOff(index) => {
                let text = Value::Object(honest).to_string();
                return Bytes::copy_from_slice(&text.as_bytes()[..index.index(text.len())]);
            }
            Self::Flipped(index, bits) => {
                let mut bytes = Value::Object(honest).to_string().into_bytes();
                let at = index.index(bytes.len());
                bytes[at] ^= bits;
                return bytes.into();
            }
            Self::Json(value) => return value.to_string().into(),
            Self::Bytes(bytes) => return bytes.clone().into(),
        }
        Value::Object(honest).to_string().into()
    }
}

impl Attempt {
    /// The query, percent-encoded; `*` stands for one of the operation's parameters.
    pub(super) fn query_of(&self, operation: &Operation) -> String {
        let pairs = self.query.iter().map(|(name, value)| {
            let known = operation.query.get(name.len() % operation.query.len().max(1));
            let name = if name.starts_with('*') { known.unwrap_or(name) } else { name };
            format!("{}={}", encoded(name), encoded(value))
        });
        let pairs: Vec<String> = pairs.collect();
        if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
    }
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// All kinds of requests of one operation by one actor.
pub(super) fn attempts(operation: usize, actor: Actor) -> impl Strategy<Value = Attempt> {
    let place = any::<Index>().prop_map(Choice);
    // The parts that lead to a refusal early are rare, so that most requests get far.
    let segment = prop_oneof![6 => Just(None), 1 => segments().prop_map(Some)];
    let query = prop_oneof![4 => Just(Vec::new()), 2 => vec(parameters(), 1..4)];
    let headers = (
        option::weighted(0.9, select(vec!["*", "\"stale\"", "W/\"a\"", "no tag"])),
        content_types(),
        vec(headers(), 0..3),
    )
        .prop_map(|(if_match, content_type, mut headers)| {
            headers.extend(if_match.map(|tag| ("if-match", tag.to_owned())));
            headers.push(("content-type", content_type.to_owned()));
            headers
        });
    (place, segment, query, headers, bodies(), any::<bool>()).prop_map(
        move |(place, segment, query, headers, body, sends_body_anyway)| Attempt {
            operation,
            place,
            actor,
            segment,
            query,
            headers,
            body,
            sends_body_anyway,
        },
    )
}

fn content_types() -> impl Strategy<Value = &'static str> {
    prop_oneof![9 => Just("application/json"), 1 => select(vec!["text/plain", "", "application/json; charset=utf-8"])]
}

fn segments() -> impl Strategy<Value = String> {
    let shaped = "(comm|event|hook|hdlv|user|rsvp)_[0-9a-hjkmnp-tv-z]{26}";
    prop_oneof![
        shaped.prop_map(String::from),
        "[a-z0-9-]{1,50}".prop_map(String::from),
        any::<String>().prop_map(|text| encoded(&text)),
        vec(any::<u8>(), 1..20)
            .prop_map(|bytes| bytes.iter().map(|byte| format!("%{byte:02X}")).collect()),
    ]
    .prop_filter("an empty segment is another path", |segment| !segment.is_empty())
}

fn parameters() -> impl Strategy<Value = (String, String)> {
    let values = prop_oneof![
        3 => select(vec!["1", "100", "0", "confirmed", "rsvp.*", "*", ""]).prop_map(String::from),
        1 => any::<String>(),
        1 => "[A-Za-z0-9_-]{54}".prop_map(String::from),
    ];
    (prop_oneof![5 => "\\*{1,5}".prop_map(String::from), 1 => any::<String>()], values)
}

/// Header values of visible characters; of any others a client cannot make one.
fn headers() -> impl Strategy<Value = (&'static str, String)> {
    let names = select(vec![
        "idempotency-key",
        "if-none-match",
        "if-modified-since",
        "accept",
        "accept-encoding",
        "accept-language",
        "convene-version",
        "x-request-id",
        "traceparent",
        "tracestate",
        "range",
        "origin",
        "x-forwarded-for",
        "x-http-method-override",
        "content-encoding",
        "content-language",
        "cookie",
        "prefer",
        "x-made-up",
    ]);
    let values = prop_oneof![
        2 => select(vec!["*", "application/json", "gzip", "br", "identity", "2026-11-23", "\"a\", W/\"b\""]).prop_map(String::from),
        1 => "[ -~]{0,40}".prop_map(String::from),
        1 => "[!-~]{250,300}".prop_map(String::from),
        1 => "\\PC{0,20}".prop_map(String::from),
    ];
    (names, values)
}

fn bodies() -> impl Strategy<Value = Body> {
    let index = any::<Index>;
    prop_oneof![
        4 => Just(Body::Honest),
        2 => index().prop_map(Body::Without),
        2 => (any::<String>(), values()).prop_map(|(name, value)| Body::With(name, value)),
        6 => (index(), values()).prop_map(|(index, value)| Body::Swapped(index, value)),
        1 => index().prop_map(Body::CutOff),
        2 => (index(), 1_u8..).prop_map(|(index, bits)| Body::Flipped(index, bits)),
        1 => values().prop_map(Body::Json),
        1 => vec(any::<u8>(), 0..100).prop_map(Body::Bytes),
    ]
}

/// Any JSON, with the values among it that are known to hurt.
fn values() -> impl Strategy<Value = Value> {
    let hurtful = select(vec![
        json!(null),
        json!(""),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e308),
        json!("\u{0}"),
        json!("a".repeat(300)),
        json!("9999-12-31T23:59:59"),
        json!("0000-01-01T00:00"),
        json!("9999-12-31T23:59:59.999999Z"),
        json!("2035-03-25T02:30"),
        json!("2035-10-28T02:30"),
        json!("Europe/Berlin"),
        json!("Pacific/Apia"),
        json!("later"),
        json!("admin"),
        json!("private"),
        json!("disabled"),
        json!(["*"]),
        json!("http://127.0.0.1:9/"),
        json!("https://[::1]:443/"),
        json!(1_000_000),
        json!(10),
        json!({}),
        json!([]),
    ]);
    let leaf = prop_oneof![
        5 => hurtful,
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        3 => any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((any::<String>(), inner), 0..5)
                .prop_map(|fields| fields.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}
