//! ETags, preconditions and idempotency keys.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix_web::test::TestRequest;

use super::notes::{NoteService, note_id};
use super::{Answer, as_user, http, send, with_json};
use crate::Http;

struct World {
    http: Arc<Http>,
    notes: Arc<NoteService>,
}

impl World {
    fn new() -> Self {
        Self { http: http(), notes: Arc::new(NoteService::default()) }
    }

    async fn get(&self, headers: &[(&'static str, &str)]) -> Answer {
        let mut request = TestRequest::get().uri(&format!("/v1/notes/{}", note_id()));
        for (name, value) in headers {
            request = request.insert_header((*name, *value));
        }
        send(&self.http, &self.notes, as_user(request, 1)).await
    }

    async fn patch(&self, body: &'static str, headers: &[(&'static str, &str)]) -> Answer {
        let mut request = TestRequest::patch().uri(&format!("/v1/notes/{}", note_id()));
        for (name, value) in headers {
            request = request.insert_header((*name, *value));
        }
        send(&self.http, &self.notes, as_user(with_json(request, body), 1)).await
    }

    fn effects(&self) -> usize {
        self.notes.effects.load(Ordering::SeqCst)
    }
}

#[actix_web::test]
async fn a_read_that_is_known_is_304() {
    let world = World::new();
    let first = world.get(&[]).await;
    let tag = first.header("etag").unwrap().to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"'));
    assert_eq!(first.header("cache-control"), Some("private, no-cache"));
    for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
        let again = world.get(&[("if-none-match", &known)]).await;
        assert_eq!((again.status.as_u16(), again.bytes.len()), (304, 0), "{known}");
        assert_eq!(again.header("etag"), Some(tag.as_str()));
        assert_eq!(again.header("cache-control"), Some("private, no-cache"));
    }
    assert_eq!(world.get(&[("if-none-match", "\"x\"")]).await.status.as_u16(), 200);
}

#[actix_web::test]
async fn a_compressed_reply_has_its_own_tag() {
    let world = World::new();
    let plain = world.get(&[]).await;
    let tag = plain.header("etag").unwrap().trim_matches('"').to_owned();
    for (coding, suffix) in [("gzip", "gz"), ("br", "br")] {
        let compressed = world.get(&[("accept-encoding", coding)]).await;
        assert_eq!(compressed.header("content-encoding"), Some(coding));
        assert!(compressed.header("vary").is_some());
        let marked = format!("\"{tag}-{suffix}\"");
        assert_eq!(compressed.header("etag"), Some(marked.as_str()));
        let again = world.get(&[("accept-encoding", coding), ("if-none-match", &marked)]).await;
        assert_eq!((again.status.as_u16(), again.header("etag")), (304, Some(marked.as_str())));
        let changed = world.patch("{}", &[("if-match", &marked)]).await;
        assert_eq!(changed.status.as_u16(), 200, "{changed:?}");
    }
}

#[actix_web::test]
async fn a_change_needs_the_tag_of_what_it_changes() {
    let world = World::new();
    let tag = world.get(&[]).await.header("etag").unwrap().to_owned();
    let weak = world.patch("{}", &[("if-match", &format!("W/{tag}"))]).await;
    assert_eq!(weak.code(), "precondition_failed");
    let changed =
        world.patch(r#"{"title": "new"}"#, &[("if-match", &format!("\"x\", {tag}"))]).await;
    assert_eq!(changed.status.as_u16(), 200);
    assert_eq!(changed.header("cache-control"), Some("no-store"));
    let now = changed.header("etag").unwrap().to_owned();
    assert_ne!(now, tag);
    assert_eq!(world.get(&[]).await.header("etag"), Some(now.as_str()));
    assert_eq!(world.patch("{}", &[("if-match", &tag)]).await.code(), "precondition_failed");
    let unchanged = world.patch("{}", &[("if-match", &now)]).await;
    assert_eq!(unchanged.header("etag"), Some(now.as_str()));
}

#[actix_web::test]
async fn null_clears_and_absence_keeps() {
    let world = World::new();
    let set = world.patch(r#"{"text": "hello"}"#, &[("if-match", "*")]).await;
    assert_eq!(set.json()["text"], "hello");
    let kept = world.patch(r#"{"title": "t"}"#, &[("if-match", "*")]).await;
    assert_eq!(kept.json()["text"], "hello");
    let cleared = world.patch(r#"{"text": null}"#, &[("if-match", "*")]).await;
    assert!(cleared.json()["text"].is_null());
    assert_eq!(cleared.json()["title"], "t");
}

#[actix_web::test]
async fn the_same_key_has_one_effect() {
    let world = World::new();
    let key = ("idempotency-key", "k-1");
    let first = world.patch(r#"{"title": "once"}"#, &[key, ("if-match", "*")]).await;
    assert_eq!((first.status.as_u16(), first.header("idempotent-replayed")), (200, None));
    // A replay wins over a stale precondition.
    let again = world.patch(r#"{"title": "once"}"#, &[key, ("if-match", "\"stale\"")]).await;
    assert_eq!((again.status.as_u16(), again.header("idempotent-replayed")), (200, Some("true")));
    assert_eq!(again.bytes, first.bytes);
    assert_eq!(again.header("etag"), first.header("etag"));
    assert_eq!(world.effects(), 1);
    let other = world.patch(r#"{"title": "twice"}"#, &[key, ("if-match", "*")]).await;
    assert_eq!((other.status.as_u16(), other.code().as_str()), (422, "idempotency_mismatch"));
}

#[actix_web::test]
async fn keys_count_for_caller_method_and_path() {
    let world = World::new();
    let publish = |number| {
        let request = TestRequest::post().uri(&format!("/v1/notes/{}/publish", note_id()));
        as_user(request.insert_header(("idempotency-key", "k-2")), number)
    };
    assert_eq!(
        world.patch("{}", &[("idempotency-key", "k-2"), ("if-match", "*")]).await.status.as_u16(),
        200
    );
    let fresh = send(&world.http, &world.notes, publish(1)).await;
    assert_eq!((fresh.status.as_u16(), fresh.header("idempotent-replayed")), (200, None));
    let replayed = send(&world.http, &world.notes, publish(1)).await;
    assert_eq!(replayed.header("idempotent-replayed"), Some("true"));
    assert_eq!(send(&world.http, &world.notes, publish(2)).await.status.as_u16(), 403);
    assert_eq!(world.effects(), 2);
}

#[actix_web::test]
async fn keys_have_a_form() {
    let world = World::new();
    for bad in [String::new(), "k".repeat(256), "a b".to_owned()] {
        let refused = world.patch("{}", &[("idempotency-key", &bad), ("if-match", "*")]).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (422, "validation_failed"),
            "{bad}"
        );
        let publish = TestRequest::post()
            .uri(&format!("/v1/notes/{}/publish", note_id()))
            .insert_header(("idempotency-key", bad));
        assert_eq!(send(&world.http, &world.notes, as_user(publish, 1)).await.status.as_u16(), 422);
    }
    assert_eq!(world.effects(), 0);
    let longest = "k".repeat(255);
    let taken = world.patch("{}", &[("idempotency-key", &longest), ("if-match", "*")]).await;
    assert_eq!(taken.status.as_u16(), 200);
}
