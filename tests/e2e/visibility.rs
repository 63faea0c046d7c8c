//! What one may not see does not exist: not by its status, not by its bytes, not by its headers.

use std::collections::BTreeMap;

use convene_tests::app::App;
use convene_tests::client::Answer;
use convene_tests::openapi::{Access, Operation};
use convene_tests::problem::without_request_id;
use convene_tests::scene::{Actor, Cast, Place, Venue};
use reqwest::Method;

/// Ids of the right form that name nothing.
fn absent() -> Place {
    let id = |prefix| format!("{prefix}_01k6sw8zayf9g8yasc3mf0yjhq");
    Place {
        community: id("comm"),
        event: id("event"),
        webhook: id("hook"),
        delivery: id("hdlv"),
        replay: id("hrpl"),
    }
}

/// Everything that a client can compare: the bytes, and the headers that do not differ between any two replies.
fn seen(answer: &Answer) -> (u16, String, BTreeMap<String, String>) {
    let headers = answer
        .headers
        .iter()
        .filter(|(name, _)| !["x-request-id", "date"].contains(&name.as_str()))
        .map(|(name, value)| {
            // The order of a list of names says nothing, and differs from thread to thread.
            let value = String::from_utf8_lossy(value.as_bytes());
            let mut items: Vec<&str> = value.split(", ").collect();
            items.sort_unstable();
            (name.to_string(), items.join(", "))
        })
        .collect();
    (answer.status, without_request_id(answer), headers)
}

/// Whoever may call an operation of a place, and sees nothing there.
fn outsiders(operation: &Operation) -> Vec<Actor> {
    let anonymous = (operation.access == Access::Optional).then_some(Actor::Anonymous);
    [Actor::Stranger, Actor::ForeignOwner].into_iter().chain(anonymous).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_invisible_is_like_the_absent() {
    let app = App::start().await;
    let cast = Cast::gather(&app).await;
    let private = app.place(&cast, Venue::Private).await;
    let (public, draft) =
        tokio::join!(app.place(&cast, Venue::Public), app.place(&cast, Venue::Draft));
    let nowhere = absent();

    let document = app.openapi().await;
    let mut compared = 0;
    let of_places = |operation: &&Operation| {
        operation.segments.iter().any(|name| name == "community" || name == "event")
    };
    for operation in document.operations.iter().filter(of_places) {
        for actor in outsiders(operation) {
            let send = async |place: &Place| {
                let call = app.call_of(operation, |name| place.segment(&cast, name));
                app.acted(call, &cast, actor).header("if-match", "*").header("if-none-match", "*")
            };
            let expected = seen(&send(&nowhere).await.await.expect(404));
            let invisible = send(&private).await.await;
            assert_eq!(seen(&invisible), expected, "{} by {}", invisible.request, actor.name());
            if operation.segments.iter().any(|name| name == "event") {
                let invisible = send(&draft).await.await;
                assert_eq!(seen(&invisible), expected, "{} by {}", invisible.request, actor.name());
            }
            compared += 1;
        }
    }
    assert!(compared > 50, "{compared} calls were compared");

    // What belongs to one community is not found under another, not even by somebody who owns both.
    for (webhook, delivery) in
        [(&private.webhook, &private.delivery), (&public.webhook, &private.delivery)]
    {
        let elsewhere =
            Place { webhook: webhook.clone(), delivery: delivery.clone(), ..public.clone() };
        let operation = document.operation("resend_delivery");
        let call = app.call_of(operation, |name| elsewhere.segment(&cast, name));
        call.by(&cast.owner).await.problem(404, "not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_another_kind_is_absent() {
    let app = App::start().await;
    let cast = Cast::gather(&app).await;
    let place = app.place(&cast, Venue::Public).await;
    let document = app.openapi().await;
    let owner = &cast.owner;
    let unknown = without_request_id(&app.get("/v1/no/such/route").await.expect(404));

    let with_ids = document.operations.iter().filter(|o| {
        o.segments.iter().any(|name| !["file", "code", "document"].contains(&name.as_str()))
    });
    for operation in with_ids {
        for wrong in &operation.segments {
            let others = ["user", "event", "webhook", "delivery", "replay"];
            for other in others.into_iter().filter(|other| other != wrong) {
                let call = app.call_of(operation, |name| {
                    place.segment(&cast, if name == wrong { other } else { name })
                });
                let answer = call.by(owner).header("if-match", "*").await;
                let body = without_request_id(&answer.expect(404));
                assert_eq!(body, unknown, "{} with a {other} for {wrong}", operation.label());
            }
            let bytes =
                ["%00", "%F0%9F%A6%80", "-", "..%2F..", "a'b", "comm_", "0".repeat(300).leak()];
            for hostile in bytes {
                let call = app.call_of(operation, |name| {
                    if name == wrong { hostile.to_owned() } else { place.segment(&cast, name) }
                });
                let answer = call.by(owner).header("if-match", "*").await;
                assert_eq!(without_request_id(&answer.expect(404)), unknown, "{hostile}");
            }
        }
    }
}

/// A tag that the client knows does not open what is closed: visibility is decided first.
#[tokio::test(flavor = "multi_thread")]
async fn a_known_tag_opens_nothing() {
    let app = App::start().await;
    let cast = Cast::gather(&app).await;
    let place = app.place(&cast, Venue::Private).await;
    let member = cast.person(Actor::Member).expect("a member is somebody");
    for path in
        [format!("/v1/communities/{}", place.community), format!("/v1/events/{}", place.event)]
    {
        let tag = app.get(&path).by(member).await.expect(200).etag();
        app.get(&path).by(member).header("if-none-match", &tag).await.expect(304);
        for actor in [Actor::Anonymous, Actor::Stranger, Actor::ForeignOwner] {
            let call = app.acted(app.call(Method::GET, &path), &cast, actor);
            call.header("if-none-match", &tag).await.problem(404, "not_found");
            let call = app.acted(app.call(Method::HEAD, &path), &cast, actor);
            call.header("if-none-match", &tag).await.expect(404);
        }
    }
}

/// What is private is in nobody's list but its members'.
#[tokio::test(flavor = "multi_thread")]
async fn lists_hold_what_one_may_see() {
    let app = App::start().await;
    let cast = Cast::gather(&app).await;
    let venues = [Venue::Public, Venue::Private, Venue::Archived];
    let places = futures::future::join_all(venues.map(|venue| app.place(&cast, venue))).await;
    let [public, private, archived] = places.try_into().expect("three places");
    let draft = {
        let host = cast.person(Actor::Host).expect("the host is somebody");
        app.draft(host, &public.community, None).await
    };

    for actor in Actor::ALL {
        let ids = async |path: &str| {
            let page = app.acted(app.get(path), &cast, actor).await.expect(200).json();
            let items = page["data"].as_array().expect("a page has data").clone();
            items.iter().map(|item| convene_tests::client::text(&item["id"])).collect::<Vec<_>>()
        };
        let outside =
            [Actor::Anonymous, Actor::Stranger, Actor::ForeignOwner, Actor::PlatformAdmin]
                .contains(&actor);
        let communities = ids("/v1/communities?limit=100").await;
        assert!(communities.contains(&public.community), "{}", actor.name());
        assert_eq!(communities.contains(&private.community), !outside, "{}", actor.name());
        assert!(!communities.contains(&archived.community), "{}", actor.name());
        if actor != Actor::Anonymous {
            let own = ids("/v1/users/me/communities").await;
            assert_eq!(own.contains(&public.community), !outside, "{}", actor.name());
            assert_eq!(own.contains(&private.community), !outside, "{}", actor.name());
            assert!(!own.contains(&archived.community), "{}", actor.name());
        }
        let events = ids(&format!("/v1/communities/{}/events", public.community)).await;
        let manages = [Actor::Host, Actor::Admin, Actor::Owner].contains(&actor);
        assert!(events.contains(&public.event), "{}", actor.name());
        assert_eq!(events.contains(&draft), manages, "{}", actor.name());
    }
}
