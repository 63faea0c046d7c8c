//! A community's audit log, as its owner and admins read it.

use std::collections::BTreeSet;

use convene_testkit::poll::poll_until;
use convene_tests::app::App;
use convene_tests::client::{PATIENCE, text};
use convene_tests::problem::mistakes;
use convene_tests::scene::{Actor, Cast, Venue};
use serde_json::{Value, json};

/// All of a log, once an entry of this action is in it.
async fn log(app: &App, cast: &Cast, community: &str, action: &str) -> Vec<Value> {
    let path = format!("/v1/communities/{community}/audit-log?limit=100");
    poll_until(PATIENCE, "the entry has its number", async || {
        let page = app.get(&path).by(&cast.owner).await.expect(200).json();
        let entries = page["data"].as_array().expect("a page has data").clone();
        entries.iter().any(|entry| entry["action"] == action).then_some(entries)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_tells_who_did_what_and_from_where() {
    let app = App::start().await;
    let cast = Cast::gather(&app).await;
    let community = app.staffed_community(&cast).await;
    let change = app.patch(format!("/v1/communities/{community}")).by(&cast.owner);
    let change = change.header("if-match", "*").header("user-agent", "x".repeat(300));
    let answer = change.json(json!({"name": "Renamed"})).await.expect(200);
    let entries = log(&app, &cast, &community, "community.update").await;
    let entry = entries.iter().find(|entry| entry["action"] == "community.update");
    let entry = entry.expect("it is there");
    assert_eq!(entry["actor"], cast.owner.id);
    assert!(text(&entry["session_id"]).starts_with("sess_"));
    assert_eq!((&entry["object"], &entry["outcome"]), (&json!(community), &json!("done")));
    assert_eq!(entry["changed"], json!({"name": {"old": "A community", "new": "Renamed"}}));
    assert_eq!(entry["request_id"], answer.header("x-request-id").expect("it has an id"));
    assert_eq!((&entry["ip"], text(&entry["user_agent"]).len()), (&json!("127.0.0.1"), 256));
    assert_eq!(text(&entry["hash"]).len(), 64);
    let numbers: Vec<i64> = entries.iter().filter_map(|entry| entry["number"].as_i64()).collect();
    let expected: Vec<i64> = (1..).take(entries.len()).collect();
    assert_eq!(numbers, expected, "dense, in order");

    // What is personal can go; the entry stays.
    app.sql().await.batch_execute("DELETE FROM audit_personal").await.expect("it can be erased");
    for after in log(&app, &cast, &community, "community.update").await {
        assert_eq!((&after["ip"], &after["user_agent"]), (&Value::Null, &Value::Null));
        assert_eq!(text(&after["hash"]).len(), 64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_for_the_owner_and_admins_and_outlives_the_community() {
    let app = App::start().await;
    let cast = Cast::gather(&app).await;
    let place = app.place(&cast, Venue::Public).await;
    let path = format!("/v1/communities/{}/audit-log", place.community);
    let ask = async |actor| app.acted(app.get(&path), &cast, actor).await;
    for actor in [Actor::Stranger, Actor::Member, Actor::Organizer, Actor::Host] {
        ask(actor).await.problem(403, "forbidden");
    }
    ask(Actor::Anonymous).await.problem(401, "unauthenticated");
    for actor in [Actor::Admin, Actor::Owner] {
        ask(actor).await.expect(200);
    }
    app.set(&cast, &place.community, Venue::Archived).await;
    ask(Actor::Member).await.problem(404, "not_found");
    for actor in [Actor::Admin, Actor::Owner] {
        ask(actor).await.expect(200);
    }
    log(&app, &cast, &place.community, "community.archive").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_filtered_by_actor_or_by_action() {
    let app = App::start().await;
    let cast = Cast::gather(&app).await;
    let place = app.place(&cast, Venue::Public).await;
    let all = log(&app, &cast, &place.community, "event.publish").await;
    let host = cast.person(Actor::Host).expect("the host is somebody").id.clone();
    let path = format!("/v1/communities/{}/audit-log?limit=100", place.community);
    for (field, value) in [("actor", host.as_str()), ("action", "community.join")] {
        let page = app.get(format!("{path}&{field}={value}")).by(&cast.owner).await.expect(200);
        let expected: Vec<&Value> = all.iter().filter(|entry| entry[field] == value).collect();
        let found = page.json()["data"].clone();
        assert!(expected.len() > 1, "{field}");
        assert_eq!(found, json!(expected), "{field}");
    }
    // By time: `until` is exclusive, and a page ends where it ends.
    let at = |entry: &Value| text(&entry["at"]).parse::<jiff::Timestamp>().expect("it is a time");
    let mut times: Vec<jiff::Timestamp> = all.iter().map(at).collect();
    times.sort();
    let (third, last) = (times[2], times[times.len() - 1]);
    let ask = async |query: String| {
        let page = app.get(format!("{path}&{query}")).by(&cast.owner).await.expect(200).json();
        page["data"].as_array().expect("a page has data").clone()
    };
    let between = |entry: &&Value| (third..last).contains(&at(entry));
    let expected: Vec<&Value> = all.iter().filter(between).collect();
    assert!(expected.len() > 1 && expected.len() < all.len() - 2);
    let mut found = ask(format!("since={third}&until={last}")).await;
    found.sort_by_key(|entry| entry["number"].as_i64());
    assert_eq!(json!(found), json!(expected));
    let before = ask(format!("until={third}")).await;
    assert!(before.iter().all(|entry| at(entry) < third), "{before:?}");
    assert!(ask("since=2126-01-01T00:00:00Z".to_owned()).await.is_empty());
    let slice = format!("/v1/communities/{}/audit-log?limit=1&since={third}", place.community);
    let first = app.get(&slice).by(&cast.owner).await.expect(200).json();
    let next = format!("{slice}&after={}", text(&first["next_cursor"]));
    let second = app.get(next).by(&cast.owner).await.expect(200).json();
    assert_ne!(first["data"], second["data"]);
    let back = format!("{slice}&before={}", text(&second["prev_cursor"]));
    assert_eq!(app.get(back).by(&cast.owner).await.expect(200).json()["data"], first["data"]);

    for (query, place) in [
        ("actor=nobody", "actor"),
        ("action=Event.Update", "action"),
        ("actor=system&action=event.update", "action"),
        ("since=2035-01-01", "since"),
        ("until=tomorrow", "until"),
        ("since=2035-01-02T00:00:00Z&until=2035-01-01T00:00:00Z", "until"),
        ("since=2035-01-01T00:00:00Z&actor=system", "since"),
    ] {
        let problem = app.get(format!("{path}&{query}")).by(&cast.owner).await;
        let places: BTreeSet<String> = mistakes(&problem.problem(422, "validation_failed"))
            .into_iter()
            .map(|(place, _)| place)
            .collect();
        assert_eq!(places, BTreeSet::from([place.to_owned()]), "{query}");
    }
}
