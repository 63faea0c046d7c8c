//! `?expand=`: what comes with a resource is what its own route would have answered to the same person.

use std::sync::Arc;

use convene_api::app::Role;
use convene_testkit::wiretap::Wiretap;
use convene_tests::app::{App, database};
use convene_tests::client::{Person, text};
use convene_tests::problem::mistakes;
use serde_json::{Value, json};

async fn read(app: &App, person: &Person, path: &str) -> Value {
    app.get(path).by(person).await.expect(200).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_with_a_resource_is_what_its_own_route_answers() {
    let app = App::start().await;
    let (olga, ada) = tokio::join!(app.person("olga"), app.person("ada"));
    let community = app.community(&olga).await;
    app.join(&ada, &community).await;
    let event = app.event(&olga, &community, Some(5)).await;
    app.rsvp(&ada, &event).await.expect(201);

    let path = format!("/v1/events/{event}");
    let plain = app.get(&path).by(&ada).await.expect(200);
    let everything = format!("{path}?expand=rsvp,availability,community.membership");
    let expanded = app.get(&everything).by(&ada).header("if-none-match", plain.etag()).await;
    assert_eq!(expanded.header("etag"), None, "it depends on who asks");
    assert_eq!(expanded.header("cache-control"), Some("private, no-cache"));
    let membership = read(&app, &ada, &format!("/v1/communities/{community}/members/me")).await;
    let mut expected = plain.json();
    let object = expected.as_object_mut().unwrap();
    object.insert("availability".into(), read(&app, &ada, &format!("{path}/availability")).await);
    let mut outer = read(&app, &ada, &format!("/v1/communities/{community}")).await;
    outer.as_object_mut().unwrap().insert("membership".into(), membership.clone());
    object.insert("community".into(), outer.clone());
    object.insert("rsvp".into(), read(&app, &ada, &format!("{path}/rsvps/me")).await);
    assert_eq!(expanded.expect(200).json(), expected);

    let community_path = format!("/v1/communities/{community}?expand=membership");
    assert_eq!(read(&app, &ada, &community_path).await, outer);
    let mine = read(&app, &ada, &format!("{path}/rsvps/me?expand=event.availability")).await;
    assert_eq!(mine["event"]["availability"]["seats_taken"], 1);
    assert_eq!(mine["event"]["id"], event.as_str());
    assert!(mine["event"].get("community").is_none(), "only what was asked for");
    let again = app.get(&path).by(&ada).await.expect(200);
    assert_eq!((again.etag(), &again.body), (plain.etag(), &plain.body));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_item_of_a_page_gets_its_own() {
    let app = App::start().await;
    let (olga, ada) = tokio::join!(app.person("olga"), app.person("ada"));
    let (first, second) = tokio::join!(app.community(&olga), app.community(&olga));
    app.join(&ada, &first).await;
    let mut events = Vec::new();
    for seats in [3, 4, 5] {
        events.push(app.event(&olga, &first, Some(seats)).await);
    }
    app.rsvp(&ada, &events[1]).await.expect(201);

    let list = format!("/v1/communities/{first}/events?expand=availability,rsvp&limit=2");
    let page = app.get(&list).by(&ada).await.expect(200);
    let link = page.header("link").unwrap_or_default().to_owned();
    assert!(link.contains("expand=availability"), "{link}");
    let cursor = text(&page.json()["next_cursor"]);
    let next = format!("/v1/communities/{first}/events?limit=2&after={cursor}");
    assert_eq!(read(&app, &ada, &next).await["data"].as_array().unwrap().len(), 1);
    let all = read(&app, &ada, &list.replace("limit=2", "limit=9")).await;
    for item in all["data"].as_array().unwrap() {
        assert_eq!(item["availability"]["capacity"], item["capacity"], "{item}");
        let is_mine = item["id"] == events[1].as_str();
        assert_eq!(item["rsvp"]["status"] == "confirmed", is_mine, "{item}");
        assert_eq!(item["rsvp"].is_null(), !is_mine, "{item}");
    }

    let communities = read(&app, &ada, "/v1/communities?expand=membership").await;
    let membership_of = |id: &str| {
        let data = communities["data"].as_array().unwrap();
        let item = data.iter().find(|item| item["id"] == id).expect("both are listed");
        item["membership"]["role"].clone()
    };
    assert_eq!((membership_of(&first), membership_of(&second)), (json!("member"), Value::Null));
    let joined = read(&app, &olga, "/v1/users/me/communities?expand=membership").await;
    assert!(joined["data"].as_array().unwrap().iter().all(|c| c["membership"]["role"] == "owner"));
    let rsvps = read(&app, &ada, "/v1/users/me/rsvps?expand=event.community").await;
    assert_eq!(rsvps["data"][0]["event"]["community"]["id"], first.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_that_one_may_not_see() {
    let app = App::start().await;
    let (olga, ada) = tokio::join!(app.person("olga"), app.person("ada"));
    let community = app.community(&olga).await;
    app.join(&ada, &community).await;
    let event = app.event(&olga, &community, None).await;
    app.rsvp(&ada, &event).await.expect(201);

    let anonymous = format!("/v1/events/{event}?expand=rsvp,community.membership");
    let seen = app.get(anonymous).await.expect(200).json();
    assert_eq!((&seen["rsvp"], &seen["community"]["membership"]), (&Value::Null, &Value::Null));

    app.post(format!("/v1/communities/{community}/leave")).by(&ada).await.expect(204);
    let change = app.patch(format!("/v1/communities/{community}")).by(&olga);
    change.header("if-match", "*").json(json!({"visibility": "private"})).await.expect(200);
    let mine = read(&app, &ada, "/v1/users/me/rsvps?expand=event.community").await;
    assert_eq!(mine["data"][0]["event_id"], event.as_str());
    assert_eq!(mine["data"][0]["event"], Value::Null);
    app.get(format!("/v1/events/{event}?expand=rsvp")).by(&ada).await.problem(404, "not_found");
    // Whoever may not know of it does not learn that the query is wrong either.
    app.get(format!("/v1/events/{event}?expand=x")).by(&ada).await.problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_on_the_list_can_be_asked_for() {
    let app = App::start().await;
    let olga = app.person("olga").await;
    let community = app.community(&olga).await;
    let event = app.event(&olga, &community, None).await;
    for (path, place, code) in [
        (format!("/v1/events/{event}?expand=members"), "expand", "unknown_value"),
        (format!("/v1/events/{event}?expand="), "expand", "unknown_value"),
        (format!("/v1/events/{event}?expand=community.membership.user"), "expand", "unknown_value"),
        (format!("/v1/events/{event}?expand=rsvp&expand=rsvp"), "expand", "duplicate_parameter"),
        (format!("/v1/events/{event}?expnd=rsvp"), "expnd", "unknown_parameter"),
        (format!("/v1/communities/{community}?expand=owner"), "expand", "unknown_value"),
        ("/v1/users/me/rsvps?expand=rsvp".to_owned(), "expand", "unknown_value"),
        (format!("/v1/events/{event}/rsvps?expand=event"), "expand", "unknown_parameter"),
    ] {
        let problem = app.get(&path).by(&olga).await.problem(422, "validation_failed");
        assert_eq!(mistakes(&problem), [(place.to_owned(), code.to_owned())], "{path}");
    }
}

/// One read for each relation, however many items there are.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_page_costs_no_more_reads_than_a_short_one() {
    let database = Arc::new(database().await);
    let server = reqwest::Url::parse(&database.admin_url()).unwrap();
    let tap = Wiretap::start(server.socket_addrs(|| Some(5432)).unwrap()[0]).await;
    let mut tapped = server;
    tapped.set_host(Some("127.0.0.1")).unwrap();
    tapped.set_port(Some(tap.address().port())).unwrap();
    tapped.set_query(Some("sslmode=disable"));
    let settings = [("CONVENE__DATABASE__URL", tapped.as_str())];
    let app = App::start_as(Role::Both, database, &settings).await;
    let olga = app.person("olga").await;
    let community = app.community(&olga).await;
    for _ in 0..30 {
        app.event(&olga, &community, None).await;
    }
    let relations = "expand=availability,rsvp,community.membership";
    let list = async |limit: usize| {
        let path = format!("/v1/communities/{community}/events?{relations}&limit={limit}");
        // What connections prepare once does not count.
        for _ in 0..8 {
            read(&app, &olga, &path).await;
        }
        let _ = tap.take();
        let page = read(&app, &olga, &path).await;
        assert_eq!(page["data"].as_array().unwrap().len(), limit);
        tap.take().flights
    };
    let (short, long) = (list(1).await, list(30).await);
    // The engines look for work meanwhile; a read for each item would be more than a hundred.
    assert!(long < short + 60, "{short} flights for one event, {long} for thirty");
}
