//! Pages: the same order in both directions, and cursors that are good for nothing else.

use convene_testkit::poll::poll_until;
use convene_tests::app::App;
use convene_tests::client::{Answer, PATIENCE, Person, text};
use convene_tests::openapi::Access;
use convene_tests::problem::mistakes;
use convene_tests::receiver::Receiver;
use serde_json::{Value, json};

/// Everything that has a list, with enough in it to be turned over.
struct World {
    app: App,
    olga: Person,
    /// Each list, with the ids in it in the order that the contract gives them, where the test knows it.
    lists: Vec<(String, Option<Vec<String>>)>,
}

impl World {
    async fn build() -> Self {
        let app = App::start().await;
        let (olga, ada) = tokio::join!(app.person("olga"), app.person("ada"));
        let mut communities = Vec::new();
        for _ in 0..5 {
            communities.push(app.community(&olga).await);
        }
        // Joined in another order than made: "my communities" go by joining.
        for community in communities.iter().rev() {
            app.join(&ada, community).await;
        }
        let home = communities[0].clone();
        let receiver = Receiver::start();
        let mut webhooks = Vec::new();
        for _ in 0..4 {
            let body = json!({"url": receiver.url(), "event_types": ["event.*"]});
            let path = format!("/v1/communities/{home}/webhooks");
            let made = app.post(path).by(&olga).json(body).await.expect(201).json();
            webhooks.push(text(&made["id"]));
        }
        let mut events = Vec::new();
        for month in [3, 1, 4, 2, 5] {
            let event = json!({"title": "An event", "time_zone": "UTC", "capacity": 2,
                "starts_at_local": format!("2035-{month:02}-01T18:00"),
                "ends_at_local": format!("2035-{month:02}-01T19:00")});
            let path = format!("/v1/communities/{home}/events");
            let made = app.post(path).by(&olga).json(event).await.expect(201).json();
            let id = text(&made["id"]);
            app.post(format!("/v1/events/{id}/publish")).by(&olga).await.expect(200);
            events.push((month, id));
        }
        let (mut members, mut rsvps) = (vec![olga.id.clone(), ada.id.clone()], Vec::new());
        for name in ["bob", "cleo", "dora"] {
            let person = app.person(name).await;
            app.join(&person, &home).await;
            rsvps.push(text(&app.rsvp(&person, &events[0].1).await.expect(201).json()["id"]));
            members.push(person.id);
        }
        let mut own = Vec::new();
        for (_, event) in &events {
            own.insert(0, text(&app.rsvp(&olga, event).await.expect(201).json()["id"]));
        }
        rsvps.push(own[4].clone());
        let deliveries = format!("/v1/communities/{home}/webhooks/{}/deliveries", webhooks[0]);
        poll_until(PATIENCE, "ten deliveries are there", async || {
            let page = app.get(format!("{deliveries}?limit=100")).by(&olga).await.json();
            (page["data"].as_array()?.len() == 10).then_some(())
        })
        .await;
        events.sort();
        communities.reverse();
        webhooks.reverse();
        let events = events.into_iter().map(|(_, id)| id).collect();
        let at = |what: &str| format!("/v1/communities/{home}/{what}");
        let first = format!("/v1/events/{}/rsvps", text_of_first(&app, &olga, &home).await);
        let lists = vec![
            ("/v1/communities".to_owned(), Some(communities.clone())),
            ("/v1/users/me/communities".to_owned(), Some(communities)),
            (at("events"), Some(events)),
            (at("members"), Some(members)),
            (first, Some(rsvps)),
            ("/v1/users/me/rsvps".to_owned(), Some(own)),
            (at("webhooks"), Some(webhooks)),
            (deliveries, None),
            (at("event-log"), None),
            (format!("{}?type=event.*", at("event-log")), None),
            (at("audit-log"), None),
            (format!("{}?action=event.publish", at("audit-log")), None),
        ];
        let world = Self { app, olga, lists };
        assert_eq!(world.ids("/v1/users/me/communities", &ada).await.first(), Some(&home));
        world
    }

    async fn page(&self, list: &str, query: &str) -> Value {
        let separator = if list.contains('?') { '&' } else { '?' };
        let answer = self.app.get(format!("{list}{separator}{query}")).by(&self.olga).await;
        let answer = answer.expect(200);
        assert_links(&answer);
        answer.json()
    }

    async fn ids(&self, list: &str, person: &Person) -> Vec<String> {
        ids(&self.app.get(list).by(person).await.expect(200).json())
    }
}

/// The event with the most RSVPs, which was made first and starts third.
async fn text_of_first(app: &App, olga: &Person, community: &str) -> String {
    let path = format!("/v1/communities/{community}/events");
    text(&app.get(path).by(olga).await.expect(200).json()["data"][2]["id"])
}

fn ids(page: &Value) -> Vec<String> {
    let items = page["data"].as_array().expect("a page has data");
    let id = |item: &Value| {
        let names = ["id", "user_id", "hash"];
        text(names.iter().find_map(|name| item.get(name)).expect("each item has a name"))
    };
    items.iter().map(id).collect()
}

/// The `Link` header says what the cursors say.
fn assert_links(answer: &Answer) {
    let page = answer.json();
    let link = answer.header("link").unwrap_or_default();
    for (cursor, direction, relation) in
        [("next_cursor", "after", "next"), ("prev_cursor", "before", "prev")]
    {
        match page[cursor].as_str() {
            Some(cursor) => {
                assert!(
                    link.contains(&format!("{direction}={cursor}>; rel=\"{relation}\"")),
                    "{link}"
                );
            }
            None => assert!(!link.contains(&format!("rel=\"{relation}\"")), "{link}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_is_walked_both_ways() {
    let world = World::build().await;
    for (list, expected) in &world.lists {
        let whole = world.page(list, "limit=100").await;
        let all = ids(&whole);
        if let Some(expected) = expected {
            assert_eq!(&all, expected, "{list}");
        }
        assert!(all.len() >= 4, "{list} has {} items", all.len());
        assert_eq!(
            (&whole["has_more"], &whole["next_cursor"], &whole["prev_cursor"]),
            (&json!(false), &Value::Null, &Value::Null),
            "{list}"
        );

        // Forward, by pages that grow: the limit may change between pages.
        let (mut seen, mut page, mut limit) = (Vec::new(), world.page(list, "limit=1").await, 1);
        assert_eq!(page["prev_cursor"], Value::Null, "{list}");
        loop {
            seen.extend(ids(&page));
            assert_eq!(page["has_more"], seen.len() < all.len(), "{list} after {}", seen.len());
            assert_eq!(page["has_more"], page["next_cursor"].is_string(), "{list}");
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            limit += 1;
            page = world.page(list, &format!("limit={limit}&after={cursor}")).await;
            assert!(page["prev_cursor"].is_string(), "{list}");
        }
        assert_eq!(seen, all, "{list}");

        // And back: each page is in the order of the list, `has_more` tells whether there is more towards its head.
        let mut rest = all[..all.len() - ids(&page).len()].to_vec();
        while let Some(cursor) = page["prev_cursor"].as_str() {
            page = world.page(list, &format!("limit=2&before={cursor}")).await;
            let found = ids(&page);
            assert_eq!(rest[rest.len() - found.len()..], found, "{list}");
            rest.truncate(rest.len() - found.len());
            assert_eq!(page["has_more"], !rest.is_empty(), "{list} before {}", rest.len());
            assert_eq!(page["prev_cursor"].is_string(), !rest.is_empty(), "{list}");
            assert!(page["next_cursor"].is_string(), "{list}");
        }
        assert_eq!(rest, Vec::<String>::new(), "{list}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_good_for_its_list_its_filters_and_its_reader() {
    let world = World::build().await;
    let app = &world.app;
    let ada = app.person("other").await;
    let mut cursors = Vec::new();
    for (list, _) in &world.lists {
        cursors.push(text(&world.page(list, "limit=1").await["next_cursor"]));
    }
    for (at, (list, _)) in world.lists.iter().enumerate() {
        let separator = if list.contains('?') { '&' } else { '?' };
        let refused = async |query: &str| {
            let path = format!("{list}{separator}{query}");
            app.get(path).by(&world.olga).await.problem(400, "invalid_cursor");
        };
        for direction in ["after", "before"] {
            let own = &cursors[at];
            let altered =
                format!("{}{}", &own[..own.len() - 1], if own.ends_with('A') { 'B' } else { 'A' });
            let upper = own.to_uppercase();
            let hostile = ["", "x", "%00", "%20", "null", "-1", "%F0%9F%A6%80", "AAAA", "%27%3B--"];
            let longer = [altered, upper, format!("{own}A"), format!("{own}="), "A".repeat(5_000)];
            for bad in hostile.into_iter().map(str::to_owned).chain(longer) {
                // NUL is refused as a character before it is read as a cursor.
                if bad != "%00" {
                    refused(&format!("{direction}={bad}")).await;
                }
            }
            for (other, cursor) in cursors.iter().enumerate() {
                if other != at {
                    refused(&format!("{direction}={cursor}")).await;
                }
            }
        }
    }
    // Somebody else, or nobody, cannot go on where olga was.
    let path = format!("/v1/communities?after={}", cursors[0]);
    app.get(&path).by(&world.olga).await.expect(200);
    app.get(&path).by(&ada).await.problem(400, "invalid_cursor");
    app.get(&path).await.problem(400, "invalid_cursor");
    let anonymous = text(&app.get("/v1/communities?limit=1").await.json()["next_cursor"]);
    let path = format!("/v1/communities?after={anonymous}");
    app.get(&path).await.expect(200);
    app.get(&path).by(&world.olga).await.problem(400, "invalid_cursor");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_knows_its_parameters() {
    let world = World::build().await;
    let app = &world.app;
    let cursor = text(&world.page("/v1/communities", "limit=1").await["next_cursor"]);
    for (list, _) in &world.lists {
        let separator = if list.contains('?') { '&' } else { '?' };
        for (query, place, code) in [
            ("limit=0", "limit", "out_of_range"),
            ("limit=101", "limit", "out_of_range"),
            ("limit=-1", "limit", "out_of_range"),
            ("limit=%2B1", "limit", "out_of_range"),
            ("limit=1.0", "limit", "out_of_range"),
            ("limit=1e1", "limit", "out_of_range"),
            ("limit=", "limit", "out_of_range"),
            ("limit=ten", "limit", "out_of_range"),
            ("limit=99999999999999999999", "limit", "out_of_range"),
            ("limit=1&limit=1", "limit", "duplicate_parameter"),
            ("after=a&before=b", "before", "not_allowed"),
            ("page=2", "page", "unknown_parameter"),
            ("Limit=2", "Limit", "unknown_parameter"),
            ("after=%00", "after", "control_character"),
            ("=", "", "unknown_parameter"),
        ] {
            let path = format!("{list}{separator}{query}");
            let problem = app.get(&path).by(&world.olga).await.problem(422, "validation_failed");
            assert_eq!(mistakes(&problem), [(place.to_owned(), code.to_owned())], "{path}");
        }
        // All mistakes at once.
        let path = format!("{list}{separator}limit=0&page=2&after={cursor}&before={cursor}");
        let problem = app.get(&path).by(&world.olga).await.problem(422, "validation_failed");
        let places: Vec<_> = mistakes(&problem).into_iter().map(|(place, _)| place).collect();
        assert_eq!(places, ["before", "limit", "page"], "{path}");
        for limit in [1, 100] {
            world.page(list, &format!("limit={limit}")).await;
        }
    }
    let documented = app.openapi().await;
    assert_eq!(documented.lists().count(), 10, "each documented list is in this test");
    assert!(documented.lists().filter(|list| list.access == Access::Optional).count() == 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_are_checked() {
    let world = World::build().await;
    let app = &world.app;
    let rsvps = &world.lists[4].0;
    for (status, count) in [("confirmed", 2), ("waitlisted", 2), ("cancelled", 0)] {
        let page = world.page(rsvps, &format!("status={status}")).await;
        assert_eq!(page["data"].as_array().map(Vec::len), Some(count), "{status}");
    }
    let log = &world.lists[8].0;
    for (list, query, place) in [
        (rsvps, "status=", "status"),
        (rsvps, "status=Confirmed", "status"),
        (rsvps, "status=confirmed&status=waitlisted", "status"),
        (log, "type=", "type"),
        (log, "type=nothing.*", "type"),
        (log, "type=rsvp", "type"),
        (log, "type=rsvp.nothing", "type"),
        (log, "type=*.confirmed", "type"),
    ] {
        let path = format!("{list}?{query}");
        let problem = app.get(&path).by(&world.olga).await.problem(422, "validation_failed");
        assert_eq!(mistakes(&problem)[0].0, place, "{path}");
    }
    let events = world.page(log, "type=event.published&limit=100").await;
    let types: Vec<&Value> =
        events["data"].as_array().into_iter().flatten().map(|e| &e["type"]).collect();
    assert_eq!(types, vec![&json!("event.published"); 5]);
}

/// "After the last page ask again with the cursor that led to it": what is recorded later follows, nothing comes before.
#[tokio::test(flavor = "multi_thread")]
async fn the_event_log_only_grows_at_its_end() {
    let app = App::start().await;
    let olga = app.person("olga").await;
    let community = app.community(&olga).await;
    let log = format!("/v1/communities/{community}/event-log");
    let read =
        async |query: String| app.get(format!("{log}?{query}")).by(&olga).await.expect(200).json();
    poll_until(PATIENCE, "two events are recorded", async || {
        (read("limit=100".to_owned()).await["data"].as_array()?.len() == 2).then_some(())
    })
    .await;
    let first = read("limit=1".to_owned()).await;
    let cursor = text(&first["next_cursor"]);
    let before = ids(&read(format!("after={cursor}")).await);
    assert_eq!(before.len(), 1);
    app.event(&olga, &community, None).await;
    let after = poll_until(PATIENCE, "the next events are recorded", async || {
        let after = ids(&read(format!("after={cursor}")).await);
        (after.len() == 3).then_some(after)
    })
    .await;
    assert_eq!(after[..1], before);
}
