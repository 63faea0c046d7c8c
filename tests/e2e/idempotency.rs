//! `Idempotency-Key`: one effect however often a request is sent.

use convene_tests::app::App;
use convene_tests::client::{Answer, Call, Person, text};
use futures::future::join_all;
use serde_json::{Value, json};

const TIMES: usize = 50;

fn key() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Sends the same request many times at once and insists on one reply; the others were told to wait, or got the same.
async fn at_once<'a>(call: impl Fn() -> Call<'a>, status: u16) -> Answer {
    let answers = join_all((0..TIMES).map(|_| call().send())).await;
    let (done, waiting): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == status);
    let first = done.first().unwrap_or_else(|| panic!("nobody succeeded: {waiting:?}")).clone();
    for answer in &done {
        assert_eq!(answer.body, first.body);
        assert_eq!(answer.header("location"), first.header("location"));
        assert_eq!(answer.header("etag"), first.header("etag"));
    }
    let fresh = done.iter().filter(|answer| answer.header("idempotent-replayed").is_none());
    assert_eq!(fresh.count(), 1, "one request did it, the others were replayed");
    for answer in waiting {
        let wait = answer.header("retry-after").map(str::to_owned);
        answer.problem(409, "idempotency_in_flight");
        assert_eq!(wait.as_deref(), Some("1"));
    }
    // Any number of them, later: replays too may meet in one batch.
    for replay in join_all((0..TIMES).map(|_| call().send())).await {
        if replay.status == 409 {
            replay.problem(409, "idempotency_in_flight");
        } else {
            assert_replayed(&replay, &first);
        }
    }
    assert_replayed(&call().await, &first);
    first
}

#[track_caller]
fn assert_replayed(answer: &Answer, first: &Answer) {
    assert_eq!(answer.header("idempotent-replayed"), Some("true"), "{answer:?}");
    assert_eq!((answer.status, &answer.body), (first.status, &first.body));
    for header in ["etag", "location", "content-type"] {
        assert_eq!(answer.header(header), first.header(header), "{header}");
    }
}

/// An installation in which nobody gives up waiting: of fifty requests with one key all wait for the same row, one after the
/// other, which on a busy machine takes longer than requests usually may, and some would be answered with 503.
async fn patient() -> App {
    App::start_with(&[
        ("CONVENE__DATABASE__WAIT_TIMEOUT", "30s"),
        ("CONVENE__DATABASE__LOCK_TIMEOUT", "30s"),
        ("CONVENE__DATABASE__STATEMENT_TIMEOUT", "40s"),
    ])
    .await
}

async fn log_of(app: &App, owner: &Person, community: &str, pattern: &str) -> Vec<Value> {
    let path = format!("/v1/communities/{community}/event-log?limit=100&type={pattern}");
    convene_testkit::poll::poll_until(
        convene_tests::client::PATIENCE,
        "events appear",
        async || {
            let page = app.get(&path).by(owner).await.expect(200).json();
            page["data"].as_array().filter(|events| !events.is_empty()).cloned()
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_at_once_make_one_community() {
    let app = patient().await;
    let olga = app.person("olga").await;
    let (key, slug) = (key(), format!("c{}", uuid::Uuid::new_v4().simple()));
    let body = json!({"slug": slug, "name": "Once", "visibility": "public"});
    let create = || {
        let call = app.post("/v1/communities").by(&olga).header("idempotency-key", key.clone());
        call.json(body.clone())
    };
    let made = at_once(create, 201).await;
    let id = text(&made.json()["id"]);
    assert_eq!(made.header("location"), Some(format!("/v1/communities/{id}").as_str()));
    let own = app.get("/v1/users/me/communities").by(&olga).await.expect(200).json();
    assert_eq!(own["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(log_of(&app, &olga, &id, "community.created").await.len(), 1);

    // Whitespace is another body: the fingerprint is that of the bytes.
    let call = app.post("/v1/communities").by(&olga).header("idempotency-key", key.clone());
    let other = call.header("content-type", "application/json").bytes(format!("{body} "));
    other.await.problem(422, "idempotency_mismatch");
    // The same key of somebody else, or without one, is another request.
    let ada = app.person("ada").await;
    let call = app.post("/v1/communities").by(&ada).header("idempotency-key", key.clone());
    call.json(body.clone()).await.problem(409, "slug_taken");
    app.post("/v1/communities").by(&olga).json(body).await.problem(409, "slug_taken");
}

/// What has no body: joining, publishing, cancelling, leaving.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_at_once_without_a_body() {
    let app = patient().await;
    let (olga, ada) = tokio::join!(app.person("olga"), app.person("ada"));
    let community = app.community(&olga).await;
    let event = app.draft(&olga, &community, Some(5)).await;
    let keyed = |person, path: String| {
        let (app, key) = (&app, key());
        move || app.post(path.clone()).by(person).header("idempotency-key", key.clone())
    };
    let joined = at_once(keyed(&ada, format!("/v1/communities/{community}/join")), 200).await;
    assert_eq!(joined.json()["user_id"], ada.id);
    let published = at_once(keyed(&olga, format!("/v1/events/{event}/publish")), 200).await;
    assert_eq!(published.json()["status"], "published");
    let cancelled = at_once(keyed(&olga, format!("/v1/events/{event}/cancel")), 200).await;
    assert_eq!(cancelled.json()["status"], "cancelled");
    let left = at_once(keyed(&ada, format!("/v1/communities/{community}/leave")), 204).await;
    assert!(left.body.is_empty());

    for (pattern, count) in [
        ("community.member_joined", 2),
        ("community.member_left", 1),
        ("event.published", 1),
        ("event.cancelled", 1),
    ] {
        assert_eq!(log_of(&app, &olga, &community, pattern).await.len(), count, "{pattern}");
    }
}

/// RSVPs of one event are decided in batches; a batch may hold the same request many times.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_at_once_take_one_seat() {
    let app = patient().await;
    let olga = app.person("olga").await;
    let community = app.community(&olga).await;
    let event = app.event(&olga, &community, Some(5)).await;
    let path = format!("/v1/events/{event}/rsvps/me");
    let (put_key, delete_key) = (key(), key());
    let put = || {
        let call = app.put(&path).by(&olga).header("idempotency-key", put_key.clone());
        call.json(json!({"party_size": 2}))
    };
    let made = at_once(put, 201).await;
    let seats = app.get(format!("/v1/events/{event}/availability")).await.expect(200).json();
    assert_eq!((&seats["seats_taken"], &seats["seats_left"]), (&json!(2), &json!(3)));

    let delete = || app.delete(&path).by(&olga).header("idempotency-key", delete_key.clone());
    let cancelled = at_once(delete, 200).await;
    assert_eq!(cancelled.json()["status"], "cancelled");
    // A replay shows what was answered, not what is.
    assert_replayed(&put().await, &made);
    assert_eq!(log_of(&app, &olga, &community, "rsvp.*").await.len(), 2);
    let call = app.put(&path).by(&olga).header("idempotency-key", put_key.clone());
    call.json(json!({"party_size": 3})).await.problem(422, "idempotency_mismatch");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_wins_over_a_stale_tag() {
    let app = App::start().await;
    let olga = app.person("olga").await;
    let community = app.community(&olga).await;
    let path = format!("/v1/communities/{community}");
    let tag = app.get(&path).by(&olga).await.expect(200).etag();
    let (patch_key, delete_key) = (key(), key());
    let patch = |tag: &str| {
        let call = app.patch(&path).by(&olga).header("if-match", tag);
        call.header("idempotency-key", patch_key.clone()).json(json!({"name": "Renamed"}))
    };
    let changed = patch(&tag).await.expect(200);
    assert_ne!(changed.etag(), tag);
    assert_replayed(&patch(&tag).await, &changed);
    assert_replayed(&patch("\"stale\"").await, &changed);
    let without = app.patch(&path).by(&olga).header("idempotency-key", patch_key.clone());
    assert_replayed(&without.json(json!({"name": "Renamed"})).await, &changed);
    // Another body under the key is told before a missing or stale tag.
    let other = app.patch(&path).by(&olga).header("idempotency-key", patch_key.clone());
    other.json(json!({"name": "Other"})).await.problem(422, "idempotency_mismatch");

    let delete = |tag: &str| {
        let call = app.delete(&path).by(&olga).header("if-match", tag);
        call.header("idempotency-key", delete_key.clone())
    };
    delete(&tag).await.problem(412, "precondition_failed");
    let archived = delete(&changed.etag()).await.expect(204);
    assert_replayed(&delete(&changed.etag()).await, &archived);
    assert_replayed(&delete("\"stale\"").await, &archived);
    let again = app.delete(&path).by(&olga).header("if-match", "*");
    again.await.problem(409, "community_archived");
}

/// A secret is shown once, and once again to the very same request.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_shows_the_secret_and_a_deletion_is_replayed() {
    let app = patient().await;
    let olga = app.person("olga").await;
    let community = app.community(&olga).await;
    let path = format!("/v1/communities/{community}/webhooks");
    let (create_key, delete_key) = (key(), key());
    let create = || {
        let body = json!({"url": "http://127.0.0.1:9/hook", "event_types": ["webhook.*"]});
        app.post(&path).by(&olga).header("idempotency-key", create_key.clone()).json(body)
    };
    let made = at_once(create, 201).await;
    assert!(text(&made.json()["secret"]).starts_with("whsec_"));
    let sql = app.sql().await;
    let leaked = sql
        .query_one(
            "SELECT count(*) FROM idempotency_keys WHERE position('whsec_'::bytea IN body) > 0",
            &[],
        )
        .await
        .expect("the keys can be read");
    assert_eq!(leaked.get::<_, i64>(0), 0, "stored replies hold no secret in clear");

    let one = format!("{path}/{}", text(&made.json()["id"]));
    let delete = || {
        let call = app.delete(&one).by(&olga).header("if-match", made.etag());
        call.header("idempotency-key", delete_key.clone())
    };
    at_once(delete, 204).await;
    app.get(&one).by(&olga).await.problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_a_form() {
    let app = App::start().await;
    let olga = app.person("olga").await;
    let community = app.community(&olga).await;
    let event = app.draft(&olga, &community, None).await;
    let (one, of_event) = (format!("/v1/communities/{community}"), format!("/v1/events/{event}"));
    let calls = || {
        [
            app.post("/v1/communities")
                .json(json!({"slug": "a-slug", "name": "A", "visibility": "public"})),
            app.patch(&one).header("if-match", "*").json(json!({"name": "Renamed"})),
            app.delete(&one).header("if-match", "*"),
            app.post(format!("{one}/join")),
            app.post(format!("{one}/leave")),
            app.post(format!("{of_event}/publish")),
            app.post(format!("{of_event}/cancel")),
            app.put(format!("{of_event}/rsvps/me")).json(json!({})),
            app.delete(format!("{of_event}/rsvps/me")),
        ]
    };
    for bad in [String::new(), "k".repeat(256)] {
        for call in calls() {
            let answer = call.by(&olga).header("idempotency-key", bad.clone()).await;
            answer.problem(422, "validation_failed");
        }
    }
    // Nothing of it happened.
    app.get(&one).by(&olga).await.expect(200);
    let event = app.get(&of_event).by(&olga).await.expect(200).json();
    assert_eq!(event["status"], "draft");
    let longest = app.post(format!("{of_event}/publish")).by(&olga);
    longest.header("idempotency-key", "k".repeat(255)).await.expect(200);
}

/// Only what succeeded is kept: a refused request may be sent again under its key.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_not_kept() {
    let app = App::start().await;
    let (olga, ada) = tokio::join!(app.person("olga"), app.person("ada"));
    let community = app.community(&olga).await;
    let event = app.event(&olga, &community, Some(1)).await;
    let key = key();
    let put = || {
        let call = app.put(format!("/v1/events/{event}/rsvps/me")).by(&ada);
        call.header("idempotency-key", key.clone()).json(json!({}))
    };
    put().await.problem(403, "membership_required");
    app.join(&ada, &community).await;
    let made = put().await.expect(201);
    assert_eq!(made.header("idempotent-replayed"), None);
    // Whoever may not do it any more is not shown what they did.
    app.post(format!("/v1/communities/{community}/leave")).by(&ada).await.expect(204);
    put().await.problem(403, "membership_required");
}
