//! Roles, archiving, webhook endpoints, and what is recorded of it.

use convene_testkit::poll::poll_until;
use convene_tests::app::App;
use convene_tests::client::{PATIENCE, Person, text};
use convene_tests::problem::mistakes;
use convene_tests::receiver::Receiver;
use convene_tests::scene::{Actor, Cast, Venue};
use serde_json::{Value, json};

async fn log_until(app: &App, owner: &Person, community: &str, last: &str) -> Vec<Value> {
    let path = format!("/v1/communities/{community}/event-log?limit=100");
    poll_until(PATIENCE, &format!("{last} is recorded"), async || {
        let page = app.get(&path).by(owner).await.expect(200).json();
        let log = page["data"].as_array()?.clone();
        log.iter().any(|event| event["type"] == last).then_some(log)
    })
    .await
}

/// Admins appoint organizers and members, only the owner admins; nobody acts on an equal, a higher rank or themselves.
#[tokio::test(flavor = "multi_thread")]
async fn who_gives_which_role_to_whom() {
    let app = App::start().await;
    let cast = Cast::gather(&app).await;
    let community = app.staffed_community(&cast).await;
    let other_admin = app.person("another").await;
    app.join(&other_admin, &community).await;
    let put = async |actor: Actor, whom: &str, role: &str| {
        let call = app.put(format!("/v1/communities/{community}/members/{whom}/role"));
        app.acted(call, &cast, actor).json(json!({ "role": role })).await
    };
    let id = |actor: Actor| cast.person(actor).expect("somebody").id.clone();
    put(Actor::Owner, &other_admin.id, "admin").await.expect(200);

    for role in ["organizer", "member"] {
        let given = put(Actor::Admin, &cast.extra.id, role).await.expect(200).json();
        assert_eq!(given["role"], role);
    }
    put(Actor::Admin, &cast.extra.id, "admin").await.problem(403, "forbidden");
    for role in ["member", "organizer", "admin"] {
        put(Actor::Admin, &other_admin.id, role).await.problem(403, "forbidden");
        put(Actor::Admin, &id(Actor::Owner), role).await.problem(403, "forbidden");
        for actor in [Actor::Owner, Actor::Admin, Actor::Host, Actor::Member] {
            put(actor, &id(actor), role).await.problem(403, "forbidden");
        }
        put(Actor::Organizer, &cast.extra.id, role).await.problem(403, "forbidden");
        put(Actor::Owner, &id(Actor::Stranger), role).await.problem(404, "not_found");
    }
    for none in ["owner", "Owner", "guest", ""] {
        let problem =
            put(Actor::Owner, &cast.extra.id, none).await.problem(422, "validation_failed");
        assert_eq!(mistakes(&problem)[0].0, "/role");
    }
    // Roles are felt at once, up and down.
    let log = format!("/v1/communities/{community}/event-log");
    app.get(&log).by(&other_admin).await.expect(200);
    put(Actor::Owner, &other_admin.id, "member").await.expect(200);
    app.get(&log).by(&other_admin).await.problem(403, "forbidden");
    let me = app.get(format!("/v1/communities/{community}/members/me")).by(&other_admin).await;
    assert_eq!(me.expect(200).json()["role"], "member");

    put(Actor::Owner, &other_admin.id, "member").await.expect(200);
    app.post(format!("/v1/communities/{community}/leave")).by(&other_admin).await.expect(204);
    let log = log_until(&app, &cast.owner, &community, "community.member_left").await;
    let changes: Vec<&Value> = log
        .iter()
        .filter(|event| event["type"] == "community.member_role_changed")
        .filter(|event| event["data"]["user_id"] == other_admin.id)
        .map(|event| &event["data"]["changed"])
        .collect();
    let change = |old, new| json!({"role": {"old": old, "new": new}});
    assert_eq!(changes, [&change("member", "admin"), &change("admin", "member")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archived_community_is_read_only() {
    let app = App::start().await;
    let cast = Cast::gather(&app).await;
    let place = app.attended_place(&cast, Venue::Archived).await;
    let at = format!("/v1/communities/{}", place.community);
    for actor in [Actor::Owner, Actor::Admin] {
        let community = app.acted(app.get(&at), &cast, actor).await.expect(200).json();
        assert!(community["archived_at"].is_string(), "{community}");
    }
    let public = app.community(&cast.owner).await;
    let before = app.get(format!("/v1/communities/{public}")).await.expect(200).json();
    assert_eq!(before["archived_at"], Value::Null, "part of the body, null before");
    let again = app.delete(&at).by(&cast.owner).header("if-match", "*");
    again.await.problem(409, "community_archived");
    // RSVPs stay as they were.
    let mine = format!("/v1/events/{}/rsvps/me", place.event);
    let member = cast.person(Actor::Member).expect("somebody");
    assert_eq!(app.get(&mine).by(member).await.expect(200).json()["status"], "confirmed");
    app.put(&mine)
        .by(member)
        .json(json!({"party_size": 2}))
        .await
        .problem(409, "community_archived");
    app.delete(&mine).by(member).await.problem(409, "community_archived");
    let log = log_until(&app, &cast.owner, &place.community, "community.archived").await;
    assert_eq!(log.iter().filter(|event| event["type"] == "community.archived").count(), 1);
}

/// A draft may be cancelled, and nobody but those who manage it ever sees it.
#[tokio::test(flavor = "multi_thread")]
async fn a_draft_may_be_cancelled() {
    let app = App::start().await;
    let olga = app.person("olga").await;
    let community = app.community(&olga).await;
    let event = app.draft(&olga, &community, None).await;
    let path = format!("/v1/events/{event}");
    let cancelled = app.post(format!("{path}/cancel")).by(&olga).await.expect(200).json();
    assert_eq!(cancelled["status"], "cancelled");
    app.get(&path).by(&olga).await.expect(200);
    app.get(&path).await.problem(404, "not_found");
    let too_long = json!({"reason": "r".repeat(1_001)});
    app.post(format!("{path}/cancel"))
        .by(&olga)
        .json(too_long)
        .await
        .problem(422, "validation_failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_of_a_community() {
    let app = App::start().await;
    let (olga, ada) = tokio::join!(app.person("olga"), app.person("ada"));
    let slug = format!("c{}", uuid::Uuid::new_v4().simple());
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let body = json!({"slug": slug, "name": "Recorded", "visibility": "public"});
    let call = app.post("/v1/communities").by(&olga).json(body).header("traceparent", traceparent);
    let made = call.header("x-request-id", "request-1").await.expect(201).json();
    let community = text(&made["id"]);
    app.join(&ada, &community).await;
    let event = app.event(&olga, &community, Some(5)).await;
    app.rsvp(&ada, &event).await.expect(201);
    let patch = app.patch(format!("/v1/communities/{community}")).by(&olga).header("if-match", "*");
    patch.json(json!({"name": "Renamed", "description": "New."})).await.expect(200);
    app.post(format!("/v1/communities/{community}/leave")).by(&ada).await.expect(204);
    let log = log_until(&app, &olga, &community, "rsvp.cancelled").await;

    let types: Vec<&str> = log.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!(
        types,
        [
            "community.created",
            "community.member_joined",
            "community.member_joined",
            "event.created",
            "event.published",
            "rsvp.confirmed",
            "community.updated",
            "community.member_left",
            "rsvp.cancelled",
        ]
    );
    for event in &log {
        let kind = text(&event["type"]);
        let (module, _) = kind.split_once('.').expect("two segments");
        let id = uuid::Uuid::parse_str(&text(&event["id"])).expect("a bare UUID");
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["source"], format!("/convene/{module}"));
        assert_eq!(event["datacontenttype"], "application/json");
        assert_eq!(event["communityid"], community);
        assert_eq!(event["data"]["community_id"], community);
        assert!(event["aggregateversion"].is_i64());
        assert!(text(&event["dataschema"]).ends_with(&format!("/schemas/{kind}.v1.json")));
        let time = text(&event["time"]);
        assert!(time.ends_with('Z') && time.len() <= "2027-04-01T08:30:00.123456Z".len(), "{time}");
        let prefix = match (module, kind.contains("member_")) {
            ("community", true) => "member_",
            ("community", false) => "comm_",
            (module, _) => &format!("{module}_"),
        };
        assert!(text(&event["subject"]).starts_with(prefix), "{event}");
    }
    assert_eq!(log[0]["subject"], community);
    assert_eq!(
        (&log[0]["correlationid"], &log[1]["correlationid"]),
        (&json!("request-1"), &json!("request-1"))
    );
    assert_eq!((&log[0]["actor"], &log[5]["actor"]), (&json!(olga.id), &json!(ada.id)));
    for event in &log[..2] {
        let continued = text(&event["traceparent"]);
        assert!(continued.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{continued}");
    }
    assert_eq!(
        (&log[1]["data"]["role"], &log[2]["data"]["role"]),
        (&json!("owner"), &json!("member"))
    );
    assert_eq!(log[5]["data"]["event_id"], event);
    assert_eq!(log[5]["data"]["rsvp_id"], log[5]["subject"]);
    assert_eq!(
        (&log[5]["data"]["cause"], &log[5]["data"]["seats_left"], &log[5]["data"]["party_size"]),
        (&json!("direct"), &json!(4), &json!(1))
    );
    assert_eq!(
        log[6]["data"]["changed"],
        json!({"name": {"old": "Recorded", "new": "Renamed"}, "description": {"old": null, "new": "New."}})
    );
    // The same member's second event follows its first.
    assert_eq!((&log[7]["subject"], &log[7]["aggregateversion"]), (&log[2]["subject"], &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_checked_when_it_is_made() {
    let app = App::start_with(&[("CONVENE__WEBHOOKS__ALLOW_PRIVATE_TARGETS", "false")]).await;
    let olga = app.person("olga").await;
    let community = app.community(&olga).await;
    let path = format!("/v1/communities/{community}/webhooks");
    let create = async |url: &str, types: Value| {
        app.post(&path).by(&olga).json(json!({"url": url, "event_types": types})).await
    };
    for refused in [
        "",
        "nothing",
        "/hook",
        "https://",
        "https:///x",
        "ftp://example.org/",
        "javascript:alert(1)",
        "http://example.org/",
        "https://example.org:22/",
        "https://example.org:1023/",
        "https://example.org:0/",
        "https://user@example.org/",
        "https://user:pass@example.org/",
        "https://localhost/",
        "https://a.localhost/",
        "https://localhost./",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://0x7f.1/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://10.0.0.1/",
        "https://192.168.1.1/",
        "https://172.16.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://100.64.0.1/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
        "https://[::1]/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[fe80::1]/",
        "https://[fc00::1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://exa mple.org/",
        "https://example.org:99999/",
    ] {
        let problem = create(refused, json!(["*"])).await.problem(422, "url_refused");
        assert_eq!(mistakes(&problem)[0].0, "/url", "{refused}");
    }
    let long = format!("https://example.org/{}", "a".repeat(3_000));
    let status = create(&long, json!(["*"])).await.status;
    assert_eq!(status, 422, "a URL has at most 2,048 characters");
    let types = |count: usize| json!(vec!["rsvp.*"; count]);
    for bad in [
        json!([]),
        json!(["nothing"]),
        json!(["nothing.*"]),
        json!(["rsvp.nothing"]),
        json!(["**"]),
        json!([""]),
        json!(["*.confirmed"]),
        json!(["rsvp.*", "rsvp"]),
        json!([1]),
        json!("*"),
        json!([null]),
        types(101),
    ] {
        let problem =
            create("https://example.org/", bad.clone()).await.problem(422, "validation_failed");
        assert!(mistakes(&problem)[0].0.starts_with("/event_types"), "{bad}");
    }
    for good in [json!(["*"]), json!(["rsvp.*", "event.cancelled"]), types(1)] {
        let made =
            create("https://hooks.example.org:8443/convene?x=1", good.clone()).await.expect(201);
        assert_eq!(
            (&made.json()["event_types"], &made.json()["status"]),
            (&good, &json!("enabled"))
        );
        // The reply that shows the secret carries the tag of what is read later.
        let one = made.header("location").expect("a new resource has a place").to_owned();
        let read = app.get(&one).by(&olga).await.expect(200);
        assert_eq!(read.etag(), made.etag());
        assert_eq!(read.json()["secret"], Value::Null);
        let patch = app.patch(&one).by(&olga).header("if-match", "*");
        patch.json(json!({"url": "https://a.localhost/"})).await.problem(422, "url_refused");
    }
}

/// An endpoint gets what is recorded after it was made, and under it nothing of what was before.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_gets_what_comes_after_it() {
    let app = App::start().await;
    let olga = app.person("olga").await;
    let community = app.community(&olga).await;
    app.event(&olga, &community, None).await;
    log_until(&app, &olga, &community, "event.published").await;
    let receiver = Receiver::start();
    let body = json!({"url": receiver.url(), "event_types": ["*"]});
    let path = format!("/v1/communities/{community}/webhooks");
    app.post(&path).by(&olga).json(body).await.expect(201);
    let draft = app.draft(&olga, &community, None).await;
    app.post(format!("/v1/events/{draft}/publish")).by(&olga).await.expect(200);
    let received = receiver.wait_for(2).await;
    let mut subjects: Vec<String> =
        received.iter().map(|webhook| text(&webhook.json()["data"]["event_id"])).collect();
    subjects.dedup();
    assert_eq!(subjects, [draft], "nothing of the first event");
    assert!(received.iter().all(|webhook| webhook.id.starts_with("hdlv_")));
}
