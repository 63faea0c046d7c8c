//! What bodies may be, over HTTP; the JSON reader itself is tested beside its code.

use std::sync::Arc;

use actix_web::test::TestRequest;

use super::notes::{NoteService, note_id};
use super::{Answer, as_user, http, send, with_json};

async fn patch(content_type: &str, body: impl Into<bytes::Bytes>) -> Answer {
    let request = TestRequest::patch()
        .uri(&format!("/v1/notes/{}", note_id()))
        .insert_header(("if-match", "*"))
        .insert_header(("content-type", content_type))
        .set_payload(body);
    send(&http(), &Arc::new(NoteService::default()), as_user(request, 1)).await
}

#[actix_web::test]
async fn content_types() {
    for good in [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=\"UTF-8\"",
        "application/merge-patch+json",
    ] {
        assert_eq!(patch(good, "{}").await.status.as_u16(), 200, "{good}");
    }
    for bad in [
        "text/json",
        "text/plain",
        "application/json; charset=latin1",
        "application/jsonx",
        "json",
        "",
    ] {
        let refused = patch(bad, "{}").await;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (415, "unsupported_media_type"),
            "{bad}"
        );
    }
    let path = format!("/v1/notes/{}", note_id());
    let untyped = || TestRequest::patch().uri(&path).insert_header(("if-match", "*"));
    let ask =
        async |request| send(&http(), &Arc::new(NoteService::default()), as_user(request, 1)).await;
    assert_eq!(ask(untyped().set_payload("{}")).await.status.as_u16(), 415);
    assert_eq!(ask(untyped()).await.code(), "malformed_request");
    let zipped = with_json(untyped(), "{}").insert_header(("content-encoding", "gzip"));
    assert_eq!(ask(zipped).await.status.as_u16(), 415);
}

#[actix_web::test]
async fn malformed_or_invalid() {
    for malformed in
        [&b""[..], b" ", b"{", b"{\"title\":\"\xff\"}", br#"{"title":"a","title":"a"}"#, b"{} {}"]
    {
        let refused = patch("application/json", malformed.to_vec()).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (400, "malformed_request"),
            "{malformed:?}"
        );
    }
    for (invalid, mistakes) in [
        ("[]", vec![("", "invalid_type")]),
        ("null", vec![("", "invalid_type")]),
        (r#"{"title": null}"#, vec![("/title", "invalid_type")]),
        (r#"{"title": "a\u0000"}"#, vec![("/title", "control_character")]),
        (
            r#"{"title": 1, "text": [], "other": {}, "another~/": 1}"#,
            vec![
                ("/another~0~1", "unknown_field"),
                ("/other", "unknown_field"),
                ("/text", "invalid_type"),
                ("/title", "invalid_type"),
            ],
        ),
        (
            r#"{"title": "", "text": "longer than ten"}"#,
            vec![("/text", "too_long"), ("/title", "too_short")],
        ),
    ] {
        let refused = patch("application/json", invalid).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (422, "validation_failed"),
            "{invalid}"
        );
        let expected: Vec<_> =
            mistakes.iter().map(|(place, code)| (place.to_string(), code.to_string())).collect();
        assert_eq!(refused.mistakes(), expected, "{invalid}");
    }
}

#[actix_web::test]
async fn size() {
    let body = |length: usize| format!("{{{}}}", " ".repeat(length - 2));
    assert_eq!(patch("application/json", body(1024 * 1024)).await.status.as_u16(), 200);
    let refused = patch("application/json", body(1024 * 1024 + 1)).await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (413, "payload_too_large"));
}
