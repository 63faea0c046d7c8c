//! What no honest client sends: it is refused, and nothing breaks.

use std::collections::BTreeMap;
use std::time::Duration;

use convene_tests::app::App;
use convene_tests::client::text;
use convene_tests::problem::mistakes;
use convene_tests::scene::{Actor, Cast, Venue};
use reqwest::Method;
use serde_json::json;

const JSON: &str = "application/json";

#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_a_size() {
    let app = App::start_with(&[("CONVENE__HTTP__BODY_LIMIT", "2000")]).await;
    let ada = app.person("ada").await;
    let patch = |length: usize| {
        let body = json!({"display_name": "Ada"}).to_string();
        let padded = format!("{body}{}", " ".repeat(length - body.len()));
        let call = app.patch("/v1/users/me").by(&ada).header("if-match", "*");
        call.header("content-type", JSON).bytes(padded)
    };
    patch(2_000).await.expect(200);
    for length in [2_001, 100_000, 2 << 20] {
        let answer = patch(length).await;
        assert_eq!(answer.header("connection"), Some("close"), "the rest is not going to be read");
        answer.problem(413, "payload_too_large");
    }
    // In chunks, so that nothing announces the size.
    let body = "a".repeat(3_000);
    let request = format!(
        "POST /v1/auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: {JSON}\r\ntransfer-encoding: chunked\r\n\
         connection: close\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let reply = app.raw(request.as_bytes()).await;
    assert!(reply.starts_with("HTTP/1.1 413"), "{reply}");
    assert!(reply.contains("payload_too_large"), "{reply}");
}

/// Two megabytes to every operation, with the limit that is the default.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_goes_nowhere() {
    let app = App::start().await;
    let ada = app.person("ada").await;
    let large = bytes::Bytes::from(vec![b' '; 2 << 20]);
    for operation in &app.openapi().await.operations {
        let path = operation.path_with(|name| match name {
            "code" | "file" | "document" => "nothing".to_owned(),
            "community" => "comm_01k6sw8zayf9g8yasc3mf0yjhq".to_owned(),
            "webhook" => "hook_01k6sw8zayf9g8yasc3mf0yjhq".to_owned(),
            "delivery" => "hdlv_01k6sw8zayf9g8yasc3mf0yjhq".to_owned(),
            "replay" => "hrpl_01k6sw8zayf9g8yasc3mf0yjhq".to_owned(),
            other => format!("{other}_01k6sw8zayf9g8yasc3mf0yjhq"),
        });
        if operation.id == "logout" || operation.method == Method::GET {
            continue;
        }
        let call = app.call(operation.method.clone(), path).by(&ada).header("if-match", "*");
        let answer = call.header("content-type", JSON).bytes(large.clone()).await;
        // What is absent is that first, whatever was sent to it.
        let (status, code) = match operation.segments.is_empty() {
            true => (413, "payload_too_large"),
            false => (404, "not_found"),
        };
        assert_eq!(answer.status, status, "{}", operation.label());
        answer.problem(status, code);
    }
    app.get("/livez").await.expect(200);
}

/// Whatever a call takes, it takes no parameter that it does not know.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_nobody_reads_is_refused() {
    let app = App::start().await;
    let cast = Cast::gather(&app).await;
    let place = app.attended_place(&cast, Venue::Public).await;
    let document = app.openapi().await;
    let bodies: BTreeMap<_, _> =
        document.with_body().map(|(operation, body)| (&operation.id, body)).collect();
    for operation in
        document.operations.iter().filter(|operation| operation.path.starts_with("/v1"))
    {
        let path = operation.path_with(|name| place.segment(&cast, name));
        let call = app.call(operation.method.clone(), format!("{path}?made_up=1"));
        let call = app.acted(call, &cast, Actor::Owner).header("if-match", "*");
        let call = match bodies.get(&operation.id) {
            Some(body) => call.json(body.clone().into()),
            None => call,
        };
        let problem = call.await.problem(422, "validation_failed");
        let mistake = ("made_up".to_owned(), "unknown_parameter".to_owned());
        assert_eq!(mistakes(&problem), [mistake], "{}", operation.label());
    }
}

/// A body must arrive in time, and a head too.
#[tokio::test(flavor = "multi_thread")]
async fn slow_senders_are_cut_off() {
    let app = App::start_with(&[("CONVENE__HTTP__BODY_TIMEOUT", "1s")]).await;
    let login = format!(
        "POST /v1/auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: {JSON}\r\ncontent-length: 5000\r\n\r\n{{"
    );
    let (body, head, silent) = tokio::join!(
        app.drip(login.as_bytes(), Duration::from_millis(50)),
        app.drip(b"GET /livez HTTP/1.1\r\nhost: a\r\nx-slow: ", Duration::from_millis(200)),
        app.drip(login.as_bytes(), Duration::from_secs(60)),
    );
    for (reply, took) in [body, silent] {
        assert!(reply.starts_with("HTTP/1.1 408"), "{reply}");
        assert!(reply.contains("\"code\":\"request_timeout\""), "{reply}");
        assert!((Duration::from_secs(1)..Duration::from_secs(10)).contains(&took), "{took:?}");
    }
    let (reply, took) = head;
    assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 408"), "{reply}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    app.get("/livez").await.expect(200);
}

/// Heads that are no HTTP, or say two things at once, never reach a handler.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_refused() {
    let app = App::start().await;
    let many = format!("GET /livez HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(200));
    let long = format!("GET /livez HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    let path = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(200_000));
    for bad in [
        "\r\n\r\n\0\0\0",
        "hello\r\n\r\n",
        "GET\r\n\r\n",
        "GET /livez\r\n\r\n",
        "GET /livez HTTP/9.9\r\nhost: a\r\n\r\n",
        "GET /livez HTTP/1.1\r\nhost a\r\n\r\n",
        "GET /livez HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n",
        "GET /livez HTTP/1.1\r\nhost: a\r\n x: folded\r\n\r\n",
        "GET /li vez HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST /v1/auth/login HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        "POST /v1/auth/login HTTP/1.1\r\nhost: a\r\ncontent-length: 1e3\r\n\r\n{}",
        "POST /v1/auth/login HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        "POST /v1/auth/login HTTP/1.1\r\nhost: a\r\ntransfer-encoding: nothing\r\n\r\n{}",
        "POST /v1/auth/login HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        many.as_str(),
        long.as_str(),
        path.as_str(),
    ] {
        let reply = app.raw(bad.as_bytes()).await;
        let status = reply.split(' ').nth(1).unwrap_or_default();
        let refused = reply.is_empty() || status.starts_with('4');
        assert!(refused, "{:?} was answered {reply:.200}", &bad[..bad.len().min(80)]);
    }
    app.get("/livez").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_means_two_things_means_nothing() {
    let app = App::start().await;
    let ada = app.person("ada").await;
    let get = |path: &str| app.get(path).by(&ada);
    for (name, values) in [
        ("authorization", ["Bearer a", "Bearer b"]),
        ("content-type", [JSON, "text/plain"]),
        ("idempotency-key", ["a", "b"]),
        ("convene-version", ["2026-11-23", "2026-11-24"]),
    ] {
        let call = app.post("/v1/communities").header(name, values[0]).header(name, values[1]);
        call.bytes("{}").await.problem(400, "malformed_request");
    }
    for path in [
        "/v1/communities?limit=%",
        "/v1/communities?limit=%zz",
        "/v1/communities/%FF",
        "/v1/%C3%28",
        "/v1/communities?%FF=1",
    ] {
        get(path).await.problem(400, "malformed_request");
    }
    for version in ["today", "2026-13-01", "2026-1-1", "", "2026-11-23T00:00"] {
        get("/v1/users/me")
            .header("convene-version", version)
            .await
            .problem(400, "malformed_request");
    }
    let pinned = get("/v1/users/me").header("convene-version", "2026-11-23").await.expect(200);
    assert_eq!(pinned.header("convene-version"), Some("2026-11-23"));
    for accept in ["text/html", "application/json;q=0", "image/*", "application/xml"] {
        get("/v1/users/me").header("accept", accept).await.problem(406, "not_acceptable");
    }
    for accept in
        ["*/*", "application/*", "text/html, application/json;q=0.1", "application/problem+json"]
    {
        get("/v1/users/me").header("accept", accept).await.expect(200);
    }
    for (name, value) in [
        ("x-forwarded-for", "' OR 1=1 --"),
        ("x-http-method-override", "DELETE"),
        ("x-original-url", "/metrics"),
        ("host", "evil.example"),
        ("range", "bytes=0-0"),
        ("origin", "https://evil.example"),
        ("traceparent", "00-00000000000000000000000000000000-0000000000000000-ff"),
        ("cookie", "a=b; c=\u{1f980}"),
        ("if-modified-since", "yesterday"),
        ("expect", "nothing"),
    ] {
        let answer = get("/v1/users/me").header(name, value).await;
        assert!([200, 400, 417].contains(&answer.status), "{name}: {}", answer.status);
        assert_ne!(answer.header("access-control-allow-origin"), Some("https://evil.example"));
    }
}

/// What a person writes comes back as it was, and means nothing on the way.
#[tokio::test(flavor = "multi_thread")]
async fn text_is_only_text() {
    let app = App::start().await;
    let olga = app.person("olga").await;
    let community = app.community(&olga).await;
    for title in [
        "'; DROP TABLE events; --",
        "<script>alert(1)</script>",
        "{{7*7}} ${7*7} %s %n",
        "\u{202e}txet \u{200d}\u{fe0f}",
        "\\u0000 \\ud800",
        "👩‍👩‍👧‍👦 é e\u{301}",
        "\u{10ffff}\u{fffe}",
        "../../etc/passwd",
    ] {
        let body = json!({"title": title, "description": title, "time_zone": "UTC",
            "starts_at_local": "2035-01-01T10:00", "ends_at_local": "2035-01-01T11:00"});
        let path = format!("/v1/communities/{community}/events");
        let made = app.post(path).by(&olga).json(body).await.expect(201).json();
        assert_eq!((&made["title"], &made["description"]), (&json!(title), &json!(title)));
        let read = app.get(format!("/v1/events/{}", text(&made["id"]))).by(&olga).await;
        assert_eq!(read.expect(200).json(), made);
    }
}
