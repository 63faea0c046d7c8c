//! Every failure is a problem, in the order that the API promises.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::test::TestRequest;

use super::notes::{NoteService, note_id};
use super::{Answer, as_user, ask, http, send, with_json};

fn assert_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let body = answer.json();
    assert_eq!(body["code"], code);
    assert_eq!(body["status"], status);
    assert_eq!(body["type"], format!("https://convene.example/docs/problems/{code}"));
    assert_eq!(body["request_id"].as_str(), answer.header("x-request-id"));
    assert!(body["title"].is_string() && body["detail"].is_string());
    assert!(!String::from_utf8_lossy(&answer.bytes).contains("secret"), "{body}");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert!(
        answer
            .header("content-security-policy")
            .is_some_and(|csp| csp.contains("default-src 'none'"))
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[actix_web::test]
async fn paths_and_methods_that_do_not_exist() {
    assert_problem(&ask(TestRequest::get().uri("/nowhere")).await, 404, "not_found");
    let wrong = ask(TestRequest::delete().uri("/v1/notes")).await;
    assert_problem(&wrong, 405, "method_not_allowed");
    assert_eq!(wrong.header("allow"), Some("GET, HEAD, OPTIONS"));
    let path = format!("/v1/notes/{}", note_id());
    let wrong = ask(TestRequest::put().uri(&path)).await;
    assert_problem(&wrong, 405, "method_not_allowed");
    assert_eq!(wrong.header("allow"), Some("GET, HEAD, OPTIONS, PATCH"));
    let options = ask(TestRequest::default().method(Method::OPTIONS).uri("/v1/notes")).await;
    assert_eq!(
        (options.status.as_u16(), options.header("allow")),
        (204, Some("GET, HEAD, OPTIONS"))
    );
}

#[actix_web::test]
async fn panics_and_broken_dependencies() {
    assert_problem(&ask(TestRequest::get().uri("/v1/panic")).await, 500, "internal");
    assert_problem(&ask(TestRequest::get().uri("/v1/panic-inside")).await, 500, "internal");
    let broken = ask(TestRequest::get().uri("/v1/broken")).await;
    assert_problem(&broken, 503, "unavailable");
    assert_eq!(broken.header("retry-after"), Some("2"));
}

#[actix_web::test]
async fn malformed_requests() {
    let long = "x".repeat(40_000);
    for (request, status) in [
        (TestRequest::get().uri("/v1/notes/%zz"), 400),
        (TestRequest::get().uri("/v1/notes/%FF"), 400),
        (TestRequest::get().uri("/v1/notes?limit=%FF"), 400),
        (TestRequest::get().uri("/v1/notes").insert_header(("if-none-match", "unquoted")), 400),
        (TestRequest::get().uri("/v1/notes").insert_header(("convene-version", "yesterday")), 400),
        (
            TestRequest::get()
                .uri("/v1/notes")
                .append_header(("authorization", "Bearer user-1"))
                .append_header(("authorization", "Bearer user-2")),
            400,
        ),
        (TestRequest::get().uri("/v1/notes").insert_header(("x-long", long)), 431),
    ] {
        assert_problem(&ask(request).await, status, "malformed_request");
    }
    let html = TestRequest::get().uri("/v1/notes").insert_header(("accept", "text/html"));
    assert_problem(&ask(html).await, 406, "not_acceptable");
    let coding =
        TestRequest::get().uri("/v1/notes").insert_header(("accept-encoding", "identity;q=0"));
    let refused = ask(coding).await;
    assert!([200, 406].contains(&refused.status.as_u16()), "{refused:?}");
}

#[actix_web::test]
async fn credentials() {
    let path = format!("/v1/notes/{}", note_id());
    let get = || TestRequest::get().uri(&path);
    for request in [
        get(),
        get().insert_header(("authorization", "Bearer nonsense")),
        get().insert_header(("authorization", "Basic dXNlcjpwYXNz")),
        get().insert_header(("authorization", "Bearer ")),
    ] {
        let refused = ask(request).await;
        assert_problem(&refused, 401, "unauthenticated");
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    }
    let old = ask(get().insert_header(("authorization", "Bearer old"))).await;
    assert_problem(&old, 401, "token_expired");
    assert_eq!(ask(as_user(get(), 1)).await.status.as_u16(), 200);

    // Where nobody has to be known, nobody is, unless the credentials are bad.
    assert_eq!(ask(TestRequest::get().uri("/v1/notes")).await.status.as_u16(), 200);
    let bad =
        TestRequest::get().uri("/v1/notes").insert_header(("authorization", "Bearer nonsense"));
    assert_problem(&ask(bad).await, 401, "unauthenticated");
}

#[actix_web::test]
async fn invisible_absent_and_impossible_look_the_same() {
    let mut bodies = Vec::new();
    for path in [
        format!("/v1/notes/{}", note_id()),
        "/v1/notes/event_01h455vb4pex5vsknk084sn02q".to_owned(),
        "/v1/notes/user_01h455vb4pex5vsknk084sn02q".to_owned(),
        "/v1/notes/17".to_owned(),
        "/v1/notes/%00".to_owned(),
    ] {
        let request = TestRequest::get().uri(&path).insert_header(("x-request-id", "same"));
        let answer = ask(as_user(request, 3)).await;
        assert_problem(&answer, 404, "not_found");
        bodies.push(answer.bytes);
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1);
}

/// Breaks every rule at once, then mends one after the other.
#[actix_web::test]
async fn the_order_of_checks() {
    let (http, notes) = (http(), Arc::new(NoteService::default()));
    let own = format!("/v1/notes/{}", note_id());
    let bad_body = |request: TestRequest| {
        request.insert_header(("content-type", "text/plain")).set_payload("{")
    };
    let patch = |path: &str| TestRequest::patch().uri(path);

    let twice = patch("/v1/notes/17")
        .append_header(("content-type", "a/b"))
        .append_header(("content-type", "c/d"));
    assert_problem(&send(&http, &notes, twice).await, 400, "malformed_request");
    let anonymous = bad_body(patch("/v1/notes/17")).insert_header(("idempotency-key", ""));
    assert_problem(&send(&http, &notes, anonymous).await, 401, "unauthenticated");
    let absent = as_user(bad_body(patch("/v1/notes/17")), 2).insert_header(("idempotency-key", ""));
    assert_problem(&send(&http, &notes, absent).await, 404, "not_found");
    let forbidden = as_user(bad_body(patch(&own)), 2).insert_header(("idempotency-key", ""));
    assert_problem(&send(&http, &notes, forbidden).await, 403, "forbidden");
    // Without a body to hold it back, the key has the same place.
    let publish = |path: &str, user| {
        let request = TestRequest::post().uri(&format!("{path}/publish"));
        as_user(request.insert_header(("idempotency-key", "")), user)
    };
    let absent = publish("/v1/notes/17", 1);
    assert_problem(&send(&http, &notes, absent).await, 404, "not_found");
    assert_problem(&send(&http, &notes, publish(&own, 2)).await, 403, "forbidden");
    assert_problem(&send(&http, &notes, publish(&own, 1)).await, 422, "validation_failed");
    let unnamed = as_user(bad_body(patch(&own)), 1).insert_header(("idempotency-key", ""));
    assert_problem(&send(&http, &notes, unnamed).await, 422, "validation_failed");
    let unconditional = as_user(bad_body(patch(&own)), 1);
    assert_problem(&send(&http, &notes, unconditional).await, 428, "precondition_required");
    let stale = as_user(bad_body(patch(&own)), 1).insert_header(("if-match", "\"stale\""));
    assert_problem(&send(&http, &notes, stale).await, 412, "precondition_failed");
    let bad = as_user(bad_body(patch(&own)), 1).insert_header(("if-match", "*"));
    assert_problem(&send(&http, &notes, bad).await, 415, "unsupported_media_type");

    let publish = as_user(TestRequest::post().uri(&format!("{own}/publish")), 1);
    assert_eq!(send(&http, &notes, publish).await.status.as_u16(), 200);
    let invalid =
        as_user(with_json(patch(&own), r#"{"title": ""}"#), 1).insert_header(("if-match", "*"));
    assert_problem(&send(&http, &notes, invalid).await, 422, "validation_failed");
    let valid =
        as_user(with_json(patch(&own), r#"{"title": "b"}"#), 1).insert_header(("if-match", "*"));
    assert_problem(&send(&http, &notes, valid).await, 409, "invalid_transition");
}
