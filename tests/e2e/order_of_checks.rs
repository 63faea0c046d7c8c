//! When several things are wrong, the contract says which is told: malformed 400, 401, 404, 403, the idempotency key, 428
//! and 412, 415, the body 400 or 422, the state 409.

use convene_tests::app::App;
use convene_tests::client::{Answer, Call};
use convene_tests::openapi::Operation;
use convene_tests::scene::{Actor, Cast, Place, Venue};
use reqwest::Method;
use serde_json::json;

/// What can be wrong with a change, from what is told first to what is told last.
const RUNGS: [(&str, u16, &str); 10] = [
    ("malformed", 400, "malformed_request"),
    ("anonymous", 401, "unauthenticated"),
    ("invisible", 404, "not_found"),
    ("not allowed", 403, "forbidden"),
    ("key used for another body", 422, "idempotency_mismatch"),
    ("no tag", 428, "precondition_required"),
    ("not JSON", 415, "unsupported_media_type"),
    ("broken JSON", 400, "malformed_request"),
    ("an unknown field", 422, "validation_failed"),
    ("archived", 409, "community_archived"),
];

struct World {
    app: App,
    cast: Cast,
    private: Place,
    public: Place,
    archived: Place,
}

impl World {
    async fn build() -> Self {
        let app = App::start().await;
        let cast = Cast::gather(&app).await;
        let (private, public) =
            tokio::join!(app.place(&cast, Venue::Private), app.place(&cast, Venue::Public));
        let archived = app.place(&cast, Venue::Archived).await;
        Self { app, cast, private, public, archived }
    }

    fn as_actor<'a>(&self, call: Call<'a>, actor: Actor) -> Call<'a> {
        self.app.acted(call, &self.cast, actor)
    }
}

/// A PATCH of a community with everything wrong from one rung on.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_of_many_mistakes_is_told() {
    let world = World::build().await;
    let used = "used-before";
    for place in [&world.public, &world.private] {
        let path = format!("/v1/communities/{}", place.community);
        let call = world.app.patch(path).header("if-match", "*").header("idempotency-key", used);
        world
            .as_actor(call, Actor::Owner)
            .json(json!({"description": "Before."}))
            .await
            .expect(200);
    }
    for (rung, (what, status, code)) in RUNGS.into_iter().enumerate() {
        let place = match rung {
            0..=2 => &world.private,
            3..=8 => &world.public,
            _ => &world.archived,
        };
        let actor = match rung {
            0..=1 => Actor::Anonymous,
            2..=3 => Actor::Stranger,
            _ => Actor::Owner,
        };
        let path = format!("/v1/communities/{}", place.community);
        let mut call = world.as_actor(world.app.patch(path), actor);
        if rung == 0 {
            call = call.header("if-match", "no tag");
        }
        if rung <= 4 {
            call = call.header("idempotency-key", used);
        }
        if rung > 5 {
            call = call.header("if-match", "*");
        }
        let content_type = if rung <= 6 { "text/plain" } else { "application/json" };
        let body = match rung {
            0..=7 => "{",
            8 => r#"{"colour": "red"}"#,
            _ => r#"{"name": "Renamed"}"#,
        };
        let answer = call.header("content-type", content_type).bytes(body).await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        answer.problem(status, code);
    }
}

/// A stale tag stands where a missing one does.
#[tokio::test(flavor = "multi_thread")]
async fn a_stale_tag_comes_before_the_body() {
    let world = World::build().await;
    for (place, actor, status, code) in [
        (&world.private, Actor::Stranger, 404, "not_found"),
        (&world.public, Actor::Member, 403, "forbidden"),
        (&world.public, Actor::Owner, 412, "precondition_failed"),
        (&world.archived, Actor::Owner, 412, "precondition_failed"),
    ] {
        for path in [
            format!("/v1/communities/{}", place.community),
            format!("/v1/communities/{}/webhooks/{}", place.community, place.webhook),
            format!("/v1/events/{}", place.event),
        ] {
            let call = world.as_actor(world.app.patch(path), actor).header("if-match", "\"stale\"");
            call.header("content-type", "text/plain").bytes("{").await.problem(status, code);
        }
    }
}

/// With a body that is none, and a key that is none.
async fn bad(call: Call<'_>, key: &str) -> Answer {
    let call = call.header("idempotency-key", key).header("content-type", "text/plain");
    call.bytes("{").await
}

/// Whoever may not do something learns that before what is wrong with their key, their query or their body.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_may_not_see_or_do_comes_before_what_one_sends() {
    let world = World::build().await;
    let changes = |place: &Place| {
        let (community, event) = (&place.community, &place.event);
        let at = format!("/v1/communities/{community}");
        [
            (Method::PATCH, at.clone()),
            (Method::DELETE, at.clone()),
            (Method::POST, format!("{at}/join")),
            (Method::POST, format!("{at}/leave")),
            (Method::POST, format!("{at}/events")),
            (Method::POST, format!("{at}/webhooks")),
            (Method::PATCH, format!("{at}/webhooks/{}", place.webhook)),
            (Method::DELETE, format!("{at}/webhooks/{}", place.webhook)),
            (
                Method::POST,
                format!("{at}/webhooks/{}/deliveries/{}/resend", place.webhook, place.delivery),
            ),
            (Method::PUT, format!("{at}/members/{}/role", world.cast.extra.id)),
            (Method::PATCH, format!("/v1/events/{event}")),
            (Method::POST, format!("/v1/events/{event}/publish")),
            (Method::POST, format!("/v1/events/{event}/cancel")),
            (Method::PUT, format!("/v1/events/{event}/rsvps/me")),
            (Method::DELETE, format!("/v1/events/{event}/rsvps/me")),
        ]
    };
    for key in ["", &"k".repeat(256)] {
        for (method, path) in changes(&world.private) {
            let call = || world.app.call(method.clone(), &path);
            let answer = bad(call(), key).await;
            assert_eq!(answer.status, 401, "{}", answer.request);
            let answer = bad(world.as_actor(call(), Actor::Stranger), key).await;
            assert_eq!(answer.status, 404, "{}", answer.request);
        }
        for (method, path) in changes(&world.public) {
            // What everybody may do in what is public.
            let open = ["/join", "/leave", "/rsvps/me"].iter().any(|end| path.ends_with(end));
            if !open {
                let call = world.app.call(method.clone(), &path);
                let answer = bad(world.as_actor(call, Actor::Stranger), key).await;
                assert_eq!(answer.status, 403, "{}", answer.request);
            }
        }
    }
    for path in ["members", "event-log", "webhooks", "events"] {
        let private = format!("/v1/communities/{}/{path}?limit=0", world.private.community);
        world.as_actor(world.app.get(private), Actor::Stranger).await.problem(404, "not_found");
        if path != "events" {
            let public = format!("/v1/communities/{}/{path}?after=", world.public.community);
            world.as_actor(world.app.get(public), Actor::Stranger).await.expect(403);
        }
    }
}

/// What comes with a call that takes nothing, a query or far too many bytes, is told to those who may make it.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_may_not_see_or_do_comes_before_what_nobody_reads() {
    let world = World::build().await;
    let document = world.app.openapi().await;
    let takes_nothing = |operation: &&Operation| {
        let is_somewhere = ["community", "event"]
            .iter()
            .any(|place| operation.segments.iter().any(|segment| segment == place));
        is_somewhere && operation.body.is_none() && operation.method != Method::GET
    };
    let large = bytes::Bytes::from(vec![b' '; 2 << 20]);
    let mut asked = 0;
    for operation in document.operations.iter().filter(takes_nothing) {
        // What everybody may do in what is public.
        let open = ["/join", "/leave", "/rsvps/me"].iter().any(|end| operation.path.ends_with(end));
        let surplus = [
            ("?made_up=1", bytes::Bytes::new(), 422, "validation_failed"),
            ("", large.clone(), 413, "payload_too_large"),
        ];
        for (query, body, status, code) in surplus {
            let answer = async |place: &Place, actor| {
                let path = operation.path_with(|name| place.segment(&world.cast, name)) + query;
                let call = world.app.call(operation.method.clone(), path).header("if-match", "*");
                world.as_actor(call, actor).bytes(body.clone()).await
            };
            let unseen = answer(&world.private, Actor::Stranger).await;
            assert_eq!(unseen.status, 404, "{}: {unseen:?}", operation.label());
            if !open {
                let refused = answer(&world.public, Actor::Stranger).await;
                assert_eq!(refused.status, 403, "{}: {refused:?}", operation.label());
            }
            let told = answer(&world.public, Actor::Owner).await;
            assert_eq!(told.status, status, "{}: {told:?}", operation.label());
            told.problem(status, code);
        }
        asked += 1;
    }
    assert!(asked >= 9, "{asked} calls take nothing");
}

/// A key of the wrong form is told where the key is judged: before a missing tag.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_comes_before_the_tag() {
    let world = World::build().await;
    for path in [
        format!("/v1/communities/{}", world.public.community),
        format!("/v1/events/{}", world.public.event),
        "/v1/users/me".to_owned(),
    ] {
        let call =
            world.as_actor(world.app.patch(path), Actor::Owner).header("idempotency-key", "");
        call.json(json!({})).await.problem(422, "validation_failed");
    }
}

/// A body that is refused comes before a state that refuses everything.
#[tokio::test(flavor = "multi_thread")]
async fn the_body_comes_before_the_state() {
    let world = World::build().await;
    let event = format!("/v1/events/{}", world.archived.event);
    for (method, path) in [
        (Method::PATCH, event.clone()),
        (Method::POST, format!("{event}/cancel")),
        (Method::PUT, format!("{event}/rsvps/me")),
    ] {
        let call = || {
            let call = world.app.call(method.clone(), &path).header("if-match", "*");
            world.as_actor(call, Actor::Host)
        };
        call().json(json!({"colour": "red"})).await.problem(422, "validation_failed");
        call()
            .header("content-type", "text/plain")
            .bytes("{}")
            .await
            .problem(415, "unsupported_media_type");
        call().json(json!({})).await.problem(409, "community_archived");
    }
}
