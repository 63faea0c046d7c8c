//! Clients of older versions, in a registry where a note's title was its `name` at first and its `headline` later.

use std::sync::Arc;

use actix_web::test::TestRequest;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::notes::{NoteService, note_id};
use super::{Answer, as_user, ask, ports, send, settings, with_json};
use crate::Http;
use crate::openapi::{Notice, operations_mut};
use crate::settings::Settings;
use crate::versions::Versions;

const FIRST: &str = "2026-11-23";
const SECOND: &str = "2027-01-10";
const NEWEST: &str = "2027-03-01";

struct World {
    http: Arc<Http>,
    notes: Arc<NoteService>,
}

impl World {
    fn new() -> Self {
        let versions = Versions::of_notes(NEWEST);
        let http = Http::new(Settings { versions, ..settings() }, ports(), Handle::current());
        Self { http, notes: Arc::new(NoteService::default()) }
    }

    async fn call(
        &self,
        mut request: TestRequest,
        version: &str,
        headers: &[(&'static str, &str)],
    ) -> Answer {
        request = request.uri(&format!("/v1/notes/{}", note_id()));
        request = request.insert_header(("convene-version", version));
        for (name, value) in headers {
            request = request.insert_header((*name, *value));
        }
        send(&self.http, &self.notes, as_user(request, 1)).await
    }

    async fn get(&self, version: &str, headers: &[(&'static str, &str)]) -> Answer {
        self.call(TestRequest::get(), version, headers).await
    }

    async fn patch(&self, version: &str, body: &Value, headers: &[(&'static str, &str)]) -> Answer {
        let request = with_json(TestRequest::patch(), body.to_string());
        self.call(request, version, headers).await
    }
}

/// The one of the three names that a note has.
fn naming(answer: &Answer) -> (String, String) {
    let note = answer.json();
    let named: Vec<_> = ["name", "headline", "title"]
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), note.get(*name)?.as_str()?.to_owned())))
        .collect();
    assert_eq!(named.len(), 1, "{note}");
    named[0].clone()
}

fn named(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn tag(answer: &Answer) -> &str {
    answer.header("etag").unwrap()
}

#[actix_web::test]
async fn versions_are_echoed_with_every_reply() {
    let list = || TestRequest::get().uri("/v1/notes");
    assert_eq!(ask(list()).await.header("convene-version"), Some(FIRST));
    let pinned = ask(list().insert_header(("convene-version", FIRST))).await;
    assert_eq!((pinned.status.as_u16(), pinned.header("convene-version")), (200, Some(FIRST)));
    for refused in [
        TestRequest::get().uri("/nothing"),
        list().insert_header(("accept", "text/html")),
        list().insert_header(("convene-version", "2026-12-01")),
    ] {
        let refused = ask(refused).await;
        assert!(refused.status.is_client_error());
        assert_eq!(refused.header("convene-version"), Some(FIRST));
    }
}

#[actix_web::test]
async fn what_is_no_version_is_refused_by_name() {
    let world = World::new();
    for (version, words) in [
        ("2027-01-11", "must be one of the versions: 2026-11-23, 2027-01-10, 2027-03-01"),
        ("2026-01-01", "is retired; the versions are 2026-11-23, 2027-01-10, 2027-03-01"),
        ("newest", "must be one of"),
    ] {
        let refused = world.get(version, &[]).await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (400, "malformed_request"));
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(
            detail.starts_with("The header Convene-Version ") && detail.contains(words),
            "{detail}"
        );
    }
}

#[actix_web::test]
async fn each_version_has_its_own_names() {
    let world = World::new();
    for (version, name) in [(FIRST, "name"), (SECOND, "headline"), (NEWEST, "title")] {
        let title = format!("As {name}");
        let body = json!({ name: title });
        let changed = world.patch(version, &body, &[("if-match", "*")]).await;
        assert_eq!((changed.status.as_u16(), naming(&changed)), (200, named(name, &title)));
        assert_eq!(changed.header("convene-version"), Some(version));
        let read = world.get(version, &[]).await;
        assert_eq!((naming(&read), tag(&read)), (named(name, &title), tag(&changed)));
    }
    // A name of another version is an unknown field.
    let mixed = world.patch(SECOND, &json!({ "name": "a" }), &[("if-match", "*")]).await;
    assert_eq!(mixed.mistakes(), [("/name".to_owned(), "unknown_field".to_owned())]);
    let broken = with_json(TestRequest::patch(), "{\"name\": ");
    let broken = world.call(broken, FIRST, &[("if-match", "*")]).await;
    assert_eq!((broken.status.as_u16(), broken.code().as_str()), (400, "malformed_request"));
}

#[actix_web::test]
async fn a_tag_belongs_to_the_bytes_of_its_version() {
    let world = World::new();
    let [first, newest] = [world.get(FIRST, &[]).await, world.get(NEWEST, &[]).await];
    assert_ne!(first.bytes, newest.bytes);
    assert_ne!(tag(&first), tag(&newest));

    let known = world.get(FIRST, &[("if-none-match", tag(&first))]).await;
    assert_eq!((known.status.as_u16(), known.bytes.len(), tag(&known)), (304, 0, tag(&first)));
    for (version, foreign) in [(FIRST, tag(&newest)), (SECOND, tag(&first)), (NEWEST, tag(&first))]
    {
        let read = world.get(version, &[("if-none-match", foreign)]).await;
        assert_eq!(read.status.as_u16(), 200, "{version} took {foreign}");
    }

    let compressed = world.get(FIRST, &[("accept-encoding", "br")]).await;
    let marked = tag(&compressed).to_owned();
    assert_eq!(marked, format!("{}-br\"", tag(&first).trim_end_matches('"')));
    let known = world.get(FIRST, &[("accept-encoding", "br"), ("if-none-match", &marked)]).await;
    assert_eq!((known.status.as_u16(), tag(&known)), (304, marked.as_str()));
}

#[actix_web::test]
async fn a_precondition_is_that_of_the_version() {
    let world = World::new();
    let first = world.get(FIRST, &[]).await;
    let newest = world.get(NEWEST, &[]).await;
    let body = json!({ "name": "Changed" });
    let foreign = world.patch(FIRST, &body, &[("if-match", tag(&newest))]).await;
    assert_eq!(foreign.status.as_u16(), 412);
    let changed = world.patch(FIRST, &body, &[("if-match", tag(&first))]).await;
    assert_eq!(changed.status.as_u16(), 200);
    let stale = world.patch(FIRST, &body, &[("if-match", tag(&first))]).await;
    assert_eq!(stale.status.as_u16(), 412);
    let again = world.patch(FIRST, &body, &[("if-match", tag(&changed))]).await;
    assert_eq!((again.status.as_u16(), tag(&again)), (200, tag(&changed)));
}

#[actix_web::test]
async fn a_replay_has_the_bytes_of_its_version() {
    let world = World::new();
    let body = json!({ "name": "Once" });
    let headers = [("if-match", "*"), ("idempotency-key", "k")];
    let first = world.patch(FIRST, &body, &headers).await;
    let replay = world.patch(FIRST, &body, &headers).await;
    assert_eq!(replay.header("idempotent-replayed"), Some("true"));
    assert_eq!((&replay.bytes, tag(&replay)), (&first.bytes, tag(&first)));
    assert_eq!(world.notes.effects.load(std::sync::atomic::Ordering::SeqCst), 1);
    // The key goes with the bytes that were sent, not with what they were turned into.
    let other = world.patch(NEWEST, &json!({ "title": "Once" }), &headers).await;
    assert_eq!((other.status.as_u16(), other.code().as_str()), (422, "idempotency_mismatch"));
}

#[actix_web::test]
async fn what_goes_away_says_so() {
    let old = ask(TestRequest::get().uri("/v1/old-notes?limit=1")).await;
    assert_eq!(old.status.as_u16(), 200);
    assert_eq!(old.header("deprecation"), Some("@1688083200"));
    assert_eq!(old.header("sunset"), Some("Mon, 30 Jun 2025 00:00:00 GMT"));
    let explained = "</docs/changes>; rel=\"deprecation\"; type=\"text/html\"";
    assert!(old.headers.get_all("link").any(|link| link == explained), "{:?}", old.headers);

    let document = ask(TestRequest::get().uri("/openapi.json")).await.json();
    let operation = &document["paths"]["/v1/old-notes"]["get"];
    assert_eq!(operation["deprecated"], true);
    let headers = &operation["responses"]["200"]["headers"];
    assert!(headers["Deprecation"].is_object() && headers["Sunset"].is_object());

    let stays = ask(TestRequest::get().uri("/v1/notes")).await;
    assert_eq!((stays.header("deprecation"), stays.header("sunset")), (None, None));
}

/// Whoever builds on an operation has two years to leave it.
#[test]
fn what_is_deprecated_stays_for_two_years() {
    let mut document = crate::openapi();
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations_mut(item) {
            let notice = Notice::of(operation);
            assert_eq!(operation.deprecated.is_some(), notice.is_some(), "{method} {path}");
            let Some(Notice { since, sunset: Some(sunset), .. }) = notice else { continue };
            let earliest = since.checked_add(jiff::Span::new().years(2)).unwrap();
            assert!(sunset >= earliest, "{method} {path} ends on {sunset}");
        }
    }
}
