//! Entity tags and the conditions that name them.

use convene_testkit::poll::poll_until;
use convene_tests::app::App;
use convene_tests::client::{PATIENCE, Person, text};
use reqwest::Method;
use serde_json::{Value, json};

/// The resources that have a tag, with a change of each, and a field that null clears.
struct World {
    app: App,
    olga: Person,
    community: String,
    resources: Vec<(String, Value, Option<&'static str>)>,
}

impl World {
    async fn build() -> Self {
        let app = App::start().await;
        let olga = app.person("olga").await;
        let community = app.community(&olga).await;
        let event = app.event(&olga, &community, Some(10)).await;
        let at = format!("/v1/communities/{community}");
        let body = json!({"url": "http://127.0.0.1:9/", "event_types": ["webhook.*"]});
        let made = app.post(format!("{at}/webhooks")).by(&olga).json(body).await.expect(201);
        let webhook = format!("{at}/webhooks/{}", text(&made.json()["id"]));
        let handle = format!("h{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
        let resources = vec![
            ("/v1/users/me".to_owned(), json!({ "handle": handle }), Some("handle")),
            (at, json!({"description": "New.\nLines."}), Some("description")),
            (format!("/v1/events/{event}"), json!({"description": "New."}), Some("description")),
            (webhook, json!({"description": "New."}), Some("description")),
        ];
        Self { app, olga, community, resources }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_needs_the_tag_of_what_it_changes() {
    let World { app, olga, resources, .. } = World::build().await;
    for (path, change, cleared) in resources {
        let patch = |tag: Option<&str>, body: &Value| {
            let call = app.patch(&path).by(&olga).json(body.clone());
            match tag {
                Some(tag) => call.header("if-match", tag),
                None => call,
            }
        };
        let first = app.get(&path).by(&olga).await.expect(200);
        let tag = first.etag();
        assert!(tag.starts_with('"') && tag.len() > 2, "{tag} is strong");
        patch(None, &change).await.problem(428, "precondition_required");
        for stale in ["\"stale\"", &format!("W/{tag}"), "\"\"", "\"a\", \"b\""] {
            patch(Some(stale), &change).await.problem(412, "precondition_failed");
        }
        for malformed in ["stale", "\"stale", "*, \"a\"", ""] {
            patch(Some(malformed), &change).await.problem(400, "malformed_request");
        }
        // A change of nothing: the same tag, the same bytes.
        for tag in ["*", &tag, &format!("\"other\", {tag}")] {
            let same = patch(Some(tag), &json!({})).await.expect(200);
            assert_eq!((same.etag(), &same.body), (first.etag(), &first.body), "{path}");
        }
        let changed = patch(Some(&tag), &change).await.expect(200);
        assert_ne!(changed.etag(), tag, "{path}");
        let read = app.get(&path).by(&olga).await.expect(200);
        assert_eq!((read.etag(), &read.body), (changed.etag(), &changed.body), "{path}");
        patch(Some(&tag), &change).await.problem(412, "precondition_failed");
        let again = patch(Some(&changed.etag()), &change).await.expect(200);
        assert_eq!(again.etag(), changed.etag(), "{path}");

        let field = cleared.expect("each has one");
        assert!(changed.json()[field].is_string(), "{path}");
        let cleared = patch(Some("*"), &json!({ field: null })).await.expect(200);
        assert_eq!(cleared.json()[field], Value::Null, "{path}");
        // Merge patches have a media type of their own, too.
        let call = app.patch(&path).by(&olga).header("if-match", "*");
        let call = call.header("content-type", "application/merge-patch+json; charset=UTF-8");
        call.bytes("{}").await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_needs_the_tag_of_what_it_deletes() {
    let World { app, olga, resources, .. } = World::build().await;
    // The webhook goes before its community.
    for (path, ..) in resources.iter().rev().filter(|(path, ..)| path.contains("communities")) {
        let tag = app.get(path).by(&olga).await.expect(200).etag();
        app.delete(path).by(&olga).await.problem(428, "precondition_required");
        let stale = app.delete(path).by(&olga).header("if-match", "\"stale\"");
        stale.await.problem(412, "precondition_failed");
        let gone = app.delete(path).by(&olga).header("if-match", tag).await.expect(204);
        assert!(gone.body.is_empty() && gone.header("etag").is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_is_known_is_304() {
    let World { app, olga, mut resources, community } = World::build().await;
    let (event, _) = (resources[2].0.clone(), community);
    app.put(format!("{event}/rsvps/me")).by(&olga).json(json!({})).await.expect(201);
    resources.push((format!("{event}/rsvps/me"), json!({}), None));
    for (path, ..) in resources {
        let first = app.get(&path).by(&olga).await.expect(200);
        let tag = first.etag();
        assert_eq!(first.header("cache-control"), Some("private, no-cache"), "{path}");
        assert!(first.header("vary").is_some_and(|vary| vary.contains("authorization")), "{path}");
        for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()]
        {
            for method in [Method::GET, Method::HEAD] {
                let call = app.call(method, &path).by(&olga).header("if-none-match", known.clone());
                let answer = call.await.expect(304);
                assert!(answer.body.is_empty(), "{path}");
                assert_eq!(answer.etag(), tag, "{path}");
            }
        }
        let other = app.get(&path).by(&olga).header("if-none-match", "\"other\"");
        assert_eq!(other.await.expect(200).body, first.body);
        let malformed = app.get(&path).by(&olga).header("if-none-match", "other");
        malformed.await.problem(400, "malformed_request");
        // A body that shows a secret, or nothing, has none; what is compressed has its own.
        for (coding, mark) in [("gzip", "-gz"), ("br", "-br")] {
            let packed = app.get(&path).by(&olga).header("accept-encoding", coding);
            let packed = packed.await.expect(200);
            assert_eq!(packed.header("content-encoding"), Some(coding), "{path}");
            assert_ne!(packed.body, first.body);
            let marked = format!("{}{mark}\"", tag.trim_end_matches('"'));
            assert_eq!(packed.etag(), marked, "{path}");
            let known = app.get(&path).by(&olga).header("accept-encoding", coding);
            let known = known.header("if-none-match", marked.clone()).await.expect(304);
            assert_eq!(known.etag(), marked);
            if !path.ends_with("/me") || path == "/v1/users/me" {
                let change = app.patch(&path).by(&olga).header("if-match", marked.clone());
                change.json(json!({})).await.expect(200);
            }
        }
    }
}

/// The bytes of a resource do not depend on who asks, and an RSVP does not change its event.
#[tokio::test(flavor = "multi_thread")]
async fn a_resource_is_the_same_for_everybody() {
    let World { app, olga, resources, community } = World::build().await;
    let ada = app.person("ada").await;
    app.join(&ada, &community).await;
    for path in [&resources[1].0, &resources[2].0] {
        let of_olga = app.get(path).by(&olga).await.expect(200);
        let of_ada = app.get(path).by(&ada).await.expect(200);
        let of_nobody = app.get(path).await.expect(200);
        assert_eq!((of_ada.etag(), of_nobody.etag()), (of_olga.etag(), of_olga.etag()));
        assert_eq!((&of_ada.body, &of_nobody.body), (&of_olga.body, &of_olga.body));
        assert_eq!(of_nobody.header("cache-control"), Some("no-cache"));
    }
    let event = &resources[2].0;
    let before = app.get(event).await.expect(200).etag();
    app.put(format!("{event}/rsvps/me")).by(&ada).json(json!({})).await.expect(201);
    assert_eq!(app.get(event).await.expect(200).etag(), before);
}

/// A change of nothing records nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_nothing_is_no_event() {
    let World { app, olga, community, resources } = World::build().await;
    let event = &resources[2].0;
    let same = app.get(event).by(&olga).await.expect(200).json();
    let nothing = json!({"title": same["title"], "capacity": same["capacity"], "fold": null,
        "starts_at_local": "2035-05-01T18:00", "time_zone": same["time_zone"]});
    let send = async |path: &str, body: &Value| {
        let call = app.patch(path).by(&olga).header("if-match", "*").json(body.clone());
        call.await.expect(200);
    };
    send(event, &nothing).await;
    send(event, &json!({})).await;
    send(&resources[1].0, &json!({"name": "A community", "visibility": "public"})).await;
    // Behind a marker that is recorded, the log holds nothing of it.
    send(&resources[1].0, &json!({"name": "Renamed"})).await;
    let log = format!("/v1/communities/{community}/event-log?limit=100");
    let types = poll_until(PATIENCE, "the marker is recorded", async || {
        let page = app.get(&log).by(&olga).await.expect(200).json();
        let types: Vec<String> =
            page["data"].as_array()?.iter().map(|e| text(&e["type"])).collect();
        types.contains(&"community.updated".to_owned()).then_some(types)
    })
    .await;
    let expected = [
        "community.created",
        "community.member_joined",
        "event.created",
        "event.published",
        "community.updated",
    ];
    assert_eq!(types, expected);
}
