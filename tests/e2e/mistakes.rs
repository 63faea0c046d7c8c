//! 400 for what cannot be read, 422 for what can and is wrong: for every operation that takes a body.

use std::collections::BTreeSet;

use convene_tests::app::App;
use convene_tests::client::{Answer, Call, text};
use convene_tests::openapi::{Document, Operation};
use convene_tests::problem::{CODES, mistakes};
use convene_tests::scene::{Actor, Cast, Place, Venue};
use serde_json::{Map, Value, json};

/// Every operation with a body, and somebody who may call it.
struct World {
    app: App,
    cast: Cast,
    place: Place,
    document: Document,
}

impl World {
    async fn build() -> Self {
        let app = App::start().await;
        let cast = Cast::gather(&app).await;
        let place = app.place(&cast, Venue::Public).await;
        let document = app.openapi().await;
        Self { app, cast, place, document }
    }

    fn call(&self, operation: &Operation) -> Call<'_> {
        let call = self.app.call_of(operation, |name| self.place.segment(&self.cast, name));
        self.app.acted(call, &self.cast, Actor::Owner).header("if-match", "*")
    }

    async fn send(&self, operation: &Operation, body: impl Into<bytes::Bytes>) -> Answer {
        self.call(operation).header("content-type", "application/json").bytes(body).await
    }

    /// Refused with 422; the places and codes of the mistakes.
    async fn invalid(&self, operation: &Operation, body: &Value) -> Vec<(String, String)> {
        let answer = self.send(operation, body.to_string()).await;
        mistakes(&answer.problem(422, "validation_failed"))
    }

    fn bodies(&self) -> Vec<(Operation, Map<String, Value>)> {
        let all: Vec<_> = self.document.with_body().map(|(o, body)| (o.clone(), body)).collect();
        assert!(all.len() > 15, "{} operations take a body", all.len());
        all
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_400() {
    let world = World::build().await;
    for (operation, body) in world.bodies() {
        let good = Value::Object(body.clone()).to_string();
        let (name, value) = body.iter().next().expect("a body has a field");
        let inner = &good[1..good.len() - 1];
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let mut bad: Vec<(&str, Vec<u8>)> = vec![
            ("cut off", good[..good.len() - 1].into()),
            ("only opened", b"{".to_vec()),
            ("a comma too many", format!("{{{inner},}}").into()),
            ("something behind", format!("{good} {good}").into()),
            ("single quotes", good.replace('"', "'").into()),
            ("a comment", format!("{good} // good").into()),
            ("no JSON", b"title=An+event".to_vec()),
            ("NaN", format!("{{\"{name}\": NaN}}").into()),
            ("a field twice", format!("{{\"{name}\": {value}, {inner}}}").into()),
            ("an unknown field twice", b"{\"x\": 1, \"x\": 1}".to_vec()),
            ("a field twice further in", b"{\"x\": [{\"y\": 1, \"y\": 2}]}".to_vec()),
            ("a name twice, escaped", b"{\"x\": 1, \"\\u0078\": 1}".to_vec()),
            ("too deep", format!("{{\"{name}\": {}}}", nested(64)).into()),
            ("far too deep", nested(100_000).into()),
            ("not UTF-8", [b"{\"".as_slice(), name.as_bytes(), b"\": \"\xff\"}"].concat()),
            ("a surrogate in UTF-8", [b"{\"x\": \"".as_slice(), b"\xed\xa0\x80\"}"].concat()),
            ("UTF-16", good.encode_utf16().flat_map(u16::to_le_bytes).collect()),
            ("a raw control character", b"{\"x\": \"a\nb\"}".to_vec()),
            ("an unknown escape", b"{\"x\": \"\\x41\"}".to_vec()),
            ("only NUL", vec![0]),
        ];
        // A cancellation needs no reason, and so no body.
        if operation.id != "cancel_event" {
            bad.push(("nothing", Vec::new()));
        }
        for (what, body) in bad {
            let answer = world.send(&operation, body).await;
            assert_eq!(answer.status, 400, "{} with {what}: {:?}", operation.label(), answer.body);
            answer.problem(400, "malformed_request");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_object_of_known_fields_is_422() {
    let world = World::build().await;
    for (operation, body) in world.bodies() {
        for top in [json!(null), json!(true), json!(1), json!("text"), json!([]), json!([body])] {
            world.invalid(&operation, &top).await;
        }
        let mut unknown = body.clone();
        unknown.insert("a/b~c".to_owned(), json!({"x": [1]}));
        unknown.insert("more".to_owned(), json!(null));
        let found = world.invalid(&operation, &unknown.into()).await;
        let expected = [("/a~1b~0c", "unknown_field"), ("/more", "unknown_field")];
        let expected = expected.map(|(place, code)| (place.to_owned(), code.to_owned()));
        assert_eq!(found, expected, "{}", operation.label());
        // The deepest that is read is judged.
        let nested = format!("{{\"more\": {}{}}}", "[".repeat(63), "]".repeat(63));
        world.send(&operation, nested).await.problem(422, "validation_failed");
    }
}

/// A value of each type in each field: the types that the document names are read, all others are told by their place.
#[tokio::test(flavor = "multi_thread")]
async fn each_field_has_a_type() {
    let world = World::build().await;
    for (operation, body) in world.bodies() {
        for (field, schema) in world.document.properties(&operation) {
            let place = format!("/{field}");
            let wrong = [
                json!(true),
                json!(1.5),
                json!(-1),
                json!({"a": 1}),
                json!([[1]]),
                json!("nul \u{0} inside"),
            ];
            for value in wrong {
                let mut body = body.clone();
                body.insert(field.clone(), value.clone());
                // Secrets are taken as they are: a token with NUL is a token that nobody has.
                let answer = world.send(&operation, Value::Object(body).to_string()).await;
                if field.contains("token") && value.is_string() {
                    assert!([401, 422].contains(&answer.status));
                    continue;
                }
                assert_eq!(answer.status, 422, "{} {place} = {value}", operation.label());
                let problem = answer.json();
                let places = mistakes(&problem);
                assert!(
                    places
                        .iter()
                        .any(|(at, _)| at == &place || at.starts_with(&format!("{place}/"))),
                    "{} {place} = {value}: {problem}",
                    operation.label()
                );
            }
            let nullable =
                schema["type"].as_array().is_some_and(|types| types.contains(&json!("null")))
                    || schema["oneOf"]
                        .as_array()
                        .is_some_and(|ways| ways.iter().any(|way| way["type"] == "null"));
            if !nullable {
                let mut body = body.clone();
                body.insert(field.clone(), Value::Null);
                let found = world.invalid(&operation, &body.into()).await;
                assert!(found.iter().any(|(at, _)| at == &place), "{} {place}", operation.label());
            }
        }
    }
}

/// Numbers and characters that JSON can write and nothing can hold.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_value_can_hold_is_422() {
    let world = World::build().await;
    for (operation, body) in world.bodies() {
        let with = |field: &str, text: &str| {
            let mut body = body.clone();
            body.insert(field.to_owned(), json!("PLACE"));
            Value::Object(body).to_string().replace("\"PLACE\"", text)
        };
        for field in body.keys() {
            for huge in [
                "1e400",
                "-1e400",
                "123456789012345678901234567890",
                "\"\\ud800\"",
                "\"\\udc00\\ud800\"",
                "\"\\ud800x\"",
            ] {
                let answer = world.send(&operation, with(field, huge)).await;
                // A token of any form is one that nobody has.
                if !(field.contains("token") && huge.starts_with('"') && answer.status == 401) {
                    assert_eq!(answer.status, 422, "{} {field} = {huge}", operation.label());
                }
            }
        }
        for unknown in ["1e400", "\"\\ud800\""] {
            let answer = world.send(&operation, with("unknown", unknown)).await;
            answer.problem(422, "validation_failed");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_mistakes_are_told_at_once() {
    let world = World::build().await;
    let operation = world.document.operation("create_event").clone();
    let body = json!({"title": "", "starts_at_local": "tomorrow", "capacity": 0, "fold": "both", "seats": 5});
    let found = world.invalid(&operation, &body).await;
    let places: BTreeSet<&str> = found.iter().map(|(place, _)| place.as_str()).collect();
    for place in ["/ends_at_local", "/time_zone", "/fold", "/seats"] {
        assert!(places.contains(place), "{place} is missing in {found:?}");
    }
    let body = json!({"title": "", "starts_at_local": "tomorrow", "ends_at_local": "2035-13-01T00:00",
        "time_zone": "Mars/Olympus", "capacity": 0});
    let found = world.invalid(&operation, &body).await;
    let places: Vec<&str> = found.iter().map(|(place, _)| place.as_str()).collect();
    assert_eq!(places, ["/capacity", "/ends_at_local", "/starts_at_local", "/time_zone", "/title"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_json_is_taken() {
    let world = World::build().await;
    for (operation, body) in world.bodies() {
        let body = Value::Object(body).to_string();
        for other in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/json; charset=latin1",
            "application/jsonx",
            "application/vnd.api+json",
            "multipart/form-data; boundary=x",
            "json",
            "",
        ] {
            let answer =
                world.call(&operation).header("content-type", other).bytes(body.clone()).await;
            answer.problem(415, "unsupported_media_type");
        }
        world.call(&operation).bytes(body.clone()).await.problem(415, "unsupported_media_type");
        let packed = world.call(&operation).header("content-type", "application/json");
        let packed = packed.header("content-encoding", "gzip").bytes(body.clone());
        packed.await.problem(415, "unsupported_media_type");
        if operation.method != reqwest::Method::PATCH {
            let merge =
                world.call(&operation).header("content-type", "application/merge-patch+json");
            merge.bytes(body).await.problem(415, "unsupported_media_type");
        }
    }
}

/// `type` leads to a page that explains the code, and there is one for each.
#[tokio::test(flavor = "multi_thread")]
async fn each_code_has_a_page() {
    let app = App::start_with(&[("CONVENE__HTTP__PUBLIC_URL", "https://convene.example/")]).await;
    let problem = app.get("/v1/users/me").await.problem(401, "unauthenticated");
    let about = text(&problem["type"]);
    let path = about.strip_prefix("https://convene.example").expect("a URL of the public address");
    let page = app.get(path).await.expect(200);
    assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")));
    let index = String::from_utf8(app.get("/docs/problems").await.expect(200).body.into());
    let index = index.expect("pages are UTF-8");
    for code in CODES {
        let page = app.get(format!("/docs/problems/{code}")).await.expect(200);
        assert!(String::from_utf8_lossy(&page.body).contains(code), "{code}");
        assert!(index.contains(&format!("/docs/problems/{code}")), "{code}");
    }
    assert_eq!(index.matches("<tr><td>").count(), CODES.len(), "there are no others");
    let members: Vec<&String> = problem.as_object().expect("an object").keys().collect();
    assert_eq!(members, ["type", "title", "status", "detail", "code", "request_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_keeps_its_id() {
    let app = App::start().await;
    let longest = "i".repeat(128);
    for kept in ["r-1", "A_b-9", longest.as_str()] {
        let problem = app.get("/v1/users/me").header("x-request-id", kept).await.expect(401);
        assert_eq!(problem.header("x-request-id"), Some(kept));
        assert_eq!(problem.json()["request_id"], kept);
    }
    for replaced in ["", "a b", "a;b", "<a>", "\u{e9}", &"i".repeat(129)] {
        let answer = app.get("/livez").header("x-request-id", replaced).await.expect(200);
        let id = answer.header("x-request-id").expect("every reply has one").to_owned();
        assert_ne!(id, replaced);
        assert!(uuid::Uuid::parse_str(&id).is_ok(), "{id}");
    }
}
