//! Calls every list with every filter, forwards and backwards, and everything that is called often.

use std::collections::BTreeSet;

use convene_testkit::poll::poll_until;
use convene_tests::app::App;
use convene_tests::client::{PATIENCE, Person, text};
use serde_json::json;

use super::scenery::Cast;

pub(super) async fn everything(app: &App, cast: &Cast) {
    lists(app, cast).await;
    reads(app, cast).await;
    writes(app, cast).await;
    webhooks(app, cast).await;
    sessions(app, cast).await;
    // What was written has gone through the engines: sequenced, published, fanned out, sent.
    cast.receiver.wait_for(3).await;
}

async fn lists(app: &App, cast: &Cast) {
    let Cast { admin, member, community, event, webhook, .. } = cast;
    let (admin, member) = (Some(admin), Some(member));
    let mut walked = BTreeSet::new();
    for (template, callers, filters) in [
        ("/v1/communities", &[None, admin][..], &["", "expand=membership"][..]),
        ("/v1/users/me/communities", &[admin], &["", "expand=membership"]),
        ("/v1/communities/{community}/members", &[member], &[""]),
        (
            "/v1/communities/{community}/events",
            &[None, member, admin],
            &["", "expand=availability,rsvp,community.membership"],
        ),
        (
            "/v1/events/{event}/rsvps",
            &[admin],
            &["", "status=confirmed", "status=waitlisted", "status=cancelled"],
        ),
        ("/v1/users/me/rsvps", &[admin], &["", "expand=event.availability,event.community"]),
        ("/v1/communities/{community}/webhooks", &[admin], &[""]),
        ("/v1/communities/{community}/webhooks/{webhook}/deliveries", &[admin], &[""]),
        (
            "/v1/communities/{community}/event-log",
            &[admin],
            &["", "type=rsvp.*", "type=event.created"],
        ),
        (
            "/v1/communities/{community}/audit-log",
            &[admin],
            &[
                "",
                "actor=system",
                "action=event.update",
                "since=2026-01-01T00:00:00Z",
                "until=2126-01-01T00:00:00Z",
            ],
        ),
    ] {
        let path = template
            .replace("{community}", community)
            .replace("{event}", event)
            .replace("{webhook}", webhook);
        for caller in callers {
            for filter in filters {
                list(app, *caller, &format!("{path}?limit=3&{filter}")).await;
            }
        }
        walked.insert(template.to_owned());
    }
    assert_eq!(walked, documented_lists(app).await, "every list that is served is walked");
}

/// The first page, the one behind it, and back again.
async fn list(app: &App, caller: Option<&Person>, path: &str) {
    let path = path.trim_end_matches('&');
    let first = page(app, caller, path).await;
    let next = page(app, caller, &format!("{path}&after={}", text(&first["next_cursor"]))).await;
    let back = page(app, caller, &format!("{path}&before={}", text(&next["prev_cursor"]))).await;
    assert_eq!(back["data"], first["data"], "{path}");
}

async fn page(app: &App, caller: Option<&Person>, path: &str) -> serde_json::Value {
    let call = app.get(path);
    let call = match caller {
        Some(person) => call.by(person),
        None => call,
    };
    call.await.expect(200).json()
}

/// The paths of GETs that take a cursor.
async fn documented_lists(app: &App) -> BTreeSet<String> {
    let document = app.get("/openapi.json").await.expect(200).json();
    let paths = document["paths"].as_object().expect("the document has paths");
    let takes_cursor = |operation: &serde_json::Value| {
        let parameters = operation["parameters"].as_array();
        parameters.is_some_and(|all| all.iter().any(|parameter| parameter["name"] == "after"))
    };
    paths
        .iter()
        .filter(|(_, operations)| takes_cursor(&operations["get"]))
        .map(|(path, _)| path.clone())
        .collect()
}

async fn reads(app: &App, cast: &Cast) {
    let Cast { admin, member, community, event, webhook, .. } = cast;
    for path in [
        "/v1/users/me".to_owned(),
        format!("/v1/communities/{community}"),
        format!("/v1/communities/{community}/members/me"),
        format!("/v1/communities/{community}/webhooks/{webhook}"),
        format!("/v1/communities/{community}/webhooks/{webhook}/stats"),
        format!("/v1/events/{event}"),
        format!("/v1/events/{event}/availability"),
    ] {
        app.get(path).by(admin).await.expect(200);
    }
    app.get(format!("/v1/events/{event}/rsvps/me")).by(member).await.expect(404);
}

async fn writes(app: &App, cast: &Cast) {
    let Cast { admin, member, guest, community, event, .. } = cast;
    let community = format!("/v1/communities/{community}");
    let key = || uuid::Uuid::new_v4().to_string();

    let mine = format!("/v1/events/{event}/rsvps/me");
    for party in [1, 2] {
        let rsvp = app.put(&mine).by(member).json(json!({"party_size": party}));
        let rsvp = rsvp.header("idempotency-key", key()).await;
        assert!(matches!(rsvp.status, 200 | 201), "{rsvp:?}");
    }
    app.delete(&mine).by(member).await.expect(200);

    app.post(format!("{community}/join"))
        .by(guest)
        .header("idempotency-key", key())
        .await
        .expect(200);
    let role = app.put(format!("{community}/members/{}/role", guest.id)).by(admin);
    role.json(json!({"role": "organizer"})).await.expect(200);

    let small = app.event(guest, community.trim_start_matches("/v1/communities/"), Some(2)).await;
    app.rsvp(member, &small).await.expect(201);
    app.rsvp(guest, &small).await.expect(201);
    app.rsvp(admin, &small).await.expect(201);
    let etag = app.get(format!("/v1/events/{small}")).by(guest).await.etag();
    let more = app.patch(format!("/v1/events/{small}")).by(guest).header("if-match", etag);
    more.json(json!({"title": "Another title", "capacity": 3})).await.expect(200);
    app.post(format!("/v1/events/{small}/cancel")).by(guest).json(json!({})).await.expect(200);
    app.post(format!("{community}/leave")).by(guest).await.expect(204);

    let own = app.community(guest).await;
    let etag = app.get(format!("/v1/communities/{own}")).by(guest).await.etag();
    let patch = app.patch(format!("/v1/communities/{own}")).by(guest).header("if-match", &etag);
    let etag = patch.json(json!({"name": "Renamed"})).await.expect(200).etag();
    app.delete(format!("/v1/communities/{own}"))
        .by(guest)
        .header("if-match", etag)
        .await
        .expect(204);

    let me = app.get("/v1/users/me").by(guest).await.etag();
    let patch = app.patch("/v1/users/me").by(guest).header("if-match", me);
    patch.json(json!({"display_name": "Somebody else"})).await.expect(200);
}

/// What is done to an endpoint with many deliveries, and to one that is new among many events.
async fn webhooks(app: &App, cast: &Cast) {
    let Cast { admin, community, webhook, .. } = cast;
    let community = format!("/v1/communities/{community}");
    let busy = format!("{community}/webhooks/{webhook}");
    let deliveries = format!("{busy}/deliveries");
    let listed = app.get(format!("{deliveries}?limit=1")).by(admin).await.expect(200).json();
    let delivery = text(&listed["data"][0]["id"]);
    app.post(format!("{deliveries}/{delivery}/resend")).by(admin).await.expect(202);
    let endpoint = json!({"url": "https://example.org/hook", "event_types": ["user.*"]});
    let made = app.post(format!("{community}/webhooks")).by(admin).json(endpoint).await.expect(201);
    let path = format!("{community}/webhooks/{}", text(&made.json()["id"]));

    app.post(format!("{busy}/test")).by(admin).json(json!({})).await.expect(202);
    let hour = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1);
    for scope in ["failed", "all"] {
        replay(app, admin, &busy, json!({"scope": scope, "since": hour.to_string()})).await;
    }
    replay(app, admin, &path, json!({"scope": "missing"})).await;
    app.post(format!("{path}/rotate-secret")).by(admin).json(json!({})).await.expect(200);

    let etag = app.get(&path).by(admin).await.etag();
    let patch = app.patch(&path).by(admin).header("if-match", etag);
    let etag = patch.json(json!({"description": "Changed"})).await.expect(200).etag();
    app.delete(&path).by(admin).header("if-match", etag).await.expect(204);
}

/// From its beginning to its end, and past that.
async fn replay(app: &App, admin: &Person, endpoint: &str, body: serde_json::Value) {
    let begun = app.post(format!("{endpoint}/replay")).by(admin).json(body).await.expect(202);
    let path = format!("{endpoint}/replays/{}", text(&begun.json()["id"]));
    poll_until(PATIENCE, "the replay is completed", async || {
        let replay = app.get(&path).by(admin).await.expect(200).json();
        (replay["status"] == "completed").then_some(())
    })
    .await;
    app.post(format!("{path}/cancel")).by(admin).json(json!({})).await.expect(200);
}

async fn sessions(app: &App, cast: &Cast) {
    app.person("newcomer").await;
    let mut person = cast.guest.clone();
    app.login(&mut person).await;
    let refresh = json!({"refresh_token": person.refresh_token});
    app.post("/v1/auth/refresh").json(refresh).await.expect(200);
    app.post("/v1/auth/logout").by(&person).await.expect(204);
    let spent = app.mailed_token(&person.email).await;
    let address = json!({"email": person.email});
    app.post("/v1/auth/forgot-password").json(address.clone()).await.expect(202);
    let token = poll_until(PATIENCE, "a mail with another token arrives", async || {
        Some(app.mailed_token(&person.email).await).filter(|token| *token != spent)
    })
    .await;
    let reset = json!({"token": token, "password": "quite another passphrase than before"});
    app.post("/v1/auth/reset-password").json(reset).await.expect(204);
    app.post("/v1/auth/resend-verification").json(address).await.expect(202);
}
