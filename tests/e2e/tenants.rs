//! Two tenants: whatever somebody of one asks with whatever belongs to the other, it is as if that did not exist.
//!
//! The OpenAPI document drives it: each id in a path, alone and with the others, in bodies, filters, cursors and tags. A new
//! route is covered by being documented.

use std::collections::BTreeMap;

use convene_tests::app::App;
use convene_tests::client::{Answer, Person, text};
use convene_tests::openapi::{Document, Operation};
use convene_tests::problem::without_request_id;
use convene_tests::scene::{Actor, Cast, Place, Venue};
use serde_json::{Value, json};

/// What names something of a tenant in a path.
const OF_A_TENANT: [&str; 6] = ["community", "event", "webhook", "delivery", "replay", "user"];
/// An id of this suffix names nothing.
const NOTHING: &str = "01k6sw8zayf9g8yasc3mf0yjhq";

/// One tenant and its people.
struct Tenant {
    cast: Cast,
    place: Place,
}

struct World {
    app: App,
    document: Document,
    /// Who asks: owner of everything here.
    home: Tenant,
    /// Whose it is: private.
    other: Tenant,
}

/// Whose ids stand in a path.
#[derive(Clone, Copy)]
enum Whose {
    Others,
    Nobodys,
}

impl World {
    async fn build() -> Self {
        let app = App::start().await;
        let (home, other) = tokio::join!(Cast::gather(&app), Cast::gather(&app));
        let (here, there) = tokio::join!(
            app.attended_place(&home, Venue::Public),
            app.attended_place(&other, Venue::Private)
        );
        let document = app.openapi().await;
        let home = Tenant { cast: home, place: here };
        Self { app, document, home, other: Tenant { cast: other, place: there } }
    }

    fn asker(&self) -> &Person {
        &self.home.cast.owner
    }

    /// A path with its own ids, but for those segments.
    fn path(&self, operation: &Operation, foreign: &[&str], whose: Whose) -> String {
        operation.path_with(|name| match whose {
            _ if !foreign.contains(&name) => self.home.place.segment(&self.home.cast, name),
            Whose::Others => self.other.place.segment(&self.other.cast, name),
            Whose::Nobodys => nobodys(name),
        })
    }

    /// Asks with everything that the operation takes, so that the ids alone decide.
    async fn ask(&self, operation: &Operation, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut call = self.app.call(operation.method.clone(), path).by(self.asker());
        if operation.takes_header("If-Match")
            && !headers.iter().any(|(name, _)| *name == "if-match")
        {
            call = call.header("if-match", "*");
        }
        for (name, value) in headers {
            call = call.header(name, *value);
        }
        match &operation.body {
            Some(schema) => call.json(self.document.example(schema)).await,
            None => call.await,
        }
    }
}

fn nobodys(name: &str) -> String {
    let prefix = match name {
        "community" => "comm",
        "webhook" => "hook",
        "delivery" => "hdlv",
        "replay" => "hrpl",
        other => other,
    };
    format!("{prefix}_{NOTHING}")
}

/// Everything that a client can compare.
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
        });
    (answer.status, without_request_id(answer), headers.collect())
}

fn segments(operation: &Operation) -> Vec<&str> {
    let names = operation.segments.iter().map(String::as_str);
    names.filter(|name| OF_A_TENANT.contains(name)).collect()
}

/// Every choice of at least one of them.
fn choices<'a>(names: &[&'a str]) -> Vec<Vec<&'a str>> {
    let chosen = |mask: usize| {
        let all = names.iter().enumerate();
        all.filter(|(place, _)| mask >> place & 1 == 1).map(|(_, name)| *name).collect()
    };
    (1..1 << names.len()).map(chosen).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_another_tenant_is_like_one_of_nothing() {
    let world = World::build().await;
    let mut compared = 0;
    for operation in &world.document.operations {
        for foreign in choices(&segments(operation)) {
            let (theirs, nothing) = (
                world.path(operation, &foreign, Whose::Others),
                world.path(operation, &foreign, Whose::Nobodys),
            );
            let expected = seen(&world.ask(operation, &nothing, &[]).await.expect(404));
            let found = world.ask(operation, &theirs, &[]).await;
            assert_eq!(seen(&found), expected, "{} with {foreign:?}", found.request);
            compared += 1;
        }
    }
    assert!(compared > 40, "{compared} calls were compared");
    // Nothing of the other tenant has changed by any of it.
    let path = format!("/v1/communities/{}", world.other.place.community);
    let community = world.app.get(path).by(&world.other.cast.owner).await.expect(200).json();
    assert_eq!(
        (&community["archived_at"], &community["visibility"]),
        (&json!(null), &json!("private"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_of_another_tenant_opens_nothing() {
    let world = World::build().await;
    let mut compared = 0;
    let reads = |o: &&Operation| o.takes_header("If-None-Match") && !segments(o).is_empty();
    for operation in world.document.operations.iter().filter(reads) {
        let all = segments(operation);
        let theirs = world.path(operation, &all, Whose::Others);
        let tag = world.app.get(&theirs).by(&world.other.cast.owner).await.expect(200).etag();
        let nothing = world.path(operation, &all, Whose::Nobodys);
        let own = world.path(operation, &[], Whose::Others);
        for header in ["if-none-match", "if-match"] {
            let with = [(header, tag.as_str())];
            let expected = seen(&world.ask(operation, &nothing, &with).await.expect(404));
            assert_eq!(seen(&world.ask(operation, &theirs, &with).await), expected, "{theirs}");
        }
        // It is not the tag of what one has oneself, either.
        world.ask(operation, &own, &[("if-none-match", &tag)]).await.expect(200);
        let changes = world
            .document
            .operations
            .iter()
            .filter(|change| change.path == operation.path && change.takes_header("If-Match"));
        for change in changes {
            let with = [("if-match", tag.as_str())];
            world.ask(change, &own, &with).await.problem(412, "precondition_failed");
            let expected = seen(&world.ask(change, &nothing, &with).await.expect(404));
            assert_eq!(seen(&world.ask(change, &theirs, &with).await), expected, "{theirs}");
        }
        compared += 1;
    }
    assert!(compared >= 3, "{compared} resources have tags");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_another_tenant_is_none() {
    let world = World::build().await;
    let mut compared = 0;
    for operation in world.document.lists() {
        let all = segments(operation);
        let theirs = world.path(operation, &all, Whose::Others);
        let page = world.app.get(format!("{theirs}?limit=1")).by(&world.other.cast.owner).await;
        let Some(cursor) = page.expect(200).json()["next_cursor"].as_str().map(str::to_owned)
        else {
            continue;
        };
        let own = world.path(operation, &[], Whose::Others);
        for direction in ["after", "before"] {
            let ask = async |path: &str, cursor: &str| {
                world
                    .app
                    .get(format!("{path}?limit=1&{direction}={cursor}"))
                    .by(world.asker())
                    .await
            };
            let made_up = ask(&own, "bm90IGEgY3Vyc29y").await.expect(400);
            assert_eq!(seen(&ask(&own, &cursor).await), seen(&made_up), "{own}");
            if !all.is_empty() {
                let nothing = world.path(operation, &all, Whose::Nobodys);
                let expected = seen(&ask(&nothing, &cursor).await.expect(404));
                assert_eq!(seen(&ask(&theirs, &cursor).await), expected, "{theirs}");
            }
        }
        compared += 1;
    }
    assert!(compared >= 5, "{compared} lists of the other tenant go on");
}

/// Filters and bodies that take ids take those of the other tenant as those of nothing.
#[tokio::test(flavor = "multi_thread")]
async fn ids_in_filters_and_bodies_tell_nothing() {
    let world = World::build().await;
    let people = [Actor::Owner, Actor::Member]
        .map(|actor| world.other.cast.person(actor).expect("it is somebody").id.clone());
    let place = &world.other.place;
    let things = [&place.community, &place.event, &place.webhook, &place.delivery];
    let ids: Vec<String> = people.into_iter().chain(things.into_iter().cloned()).collect();
    let nothing =
        |id: &str| format!("{}_{NOTHING}", id.split_once('_').expect("an id has a prefix").0);
    let mut compared = 0;
    for operation in world.document.lists() {
        let own = world.path(operation, &[], Whose::Others);
        let filters = operation
            .query
            .iter()
            .filter(|name| !["limit", "after", "before", "expand"].contains(&name.as_str()));
        for name in filters {
            for id in &ids {
                let ask = async |id: &str| {
                    world.app.get(format!("{own}?{name}={id}")).by(world.asker()).await
                };
                let (theirs, absent) = (ask(id).await, ask(&nothing(id)).await);
                assert_eq!(theirs.status, absent.status, "{}", theirs.request);
                assert_eq!(items(&theirs), items(&absent), "{}", theirs.request);
                compared += 1;
            }
        }
    }
    assert!(compared > 0, "no list has a filter");

    for operation in world.document.operations.iter().filter(|o| o.body.is_some()) {
        let body = world.document.example(operation.body.as_ref().expect("it has a body"));
        let path = world.path(operation, &[], Whose::Others);
        for (name, schema) in world.document.properties(operation) {
            let is_id = |id: &&String| is_id_of(&schema, id);
            for id in ids.iter().filter(is_id) {
                let send = async |id: &str| {
                    let mut body = body.clone();
                    body[&name] = json!(id);
                    let call = world.app.call(operation.method.clone(), &path).by(world.asker());
                    call.header("if-match", "*").json(body).await
                };
                let (theirs, absent) = (send(id).await, send(&nothing(id)).await);
                assert!(theirs.status >= 400, "{} took an id of another tenant", theirs.request);
                assert_eq!(seen(&theirs), seen(&absent), "{} with {name}", theirs.request);
            }
        }
    }
}

/// What a list answered, or what was wrong with the question.
fn items(answer: &Answer) -> Value {
    let body = answer.json();
    if body["data"].is_array() { body["data"].clone() } else { body["errors"].clone() }
}

/// Whether a property takes ids of this kind.
fn is_id_of(schema: &Value, id: &str) -> bool {
    let prefix = id.split_once('_').map_or("", |(prefix, _)| prefix);
    schema["pattern"].as_str().is_some_and(|pattern| pattern.starts_with(&format!("^{prefix}_")))
}

/// The ids of one's own place under the other's, and the other way round, taken whole.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_listed_belongs_to_one_tenant() {
    let world = World::build().await;
    for operation in world.document.lists() {
        let own = world.path(operation, &[], Whose::Others);
        let page = world.app.get(format!("{own}?limit=100")).by(world.asker()).await.expect(200);
        let told = String::from_utf8_lossy(&page.body).into_owned();
        let place = &world.other.place;
        for id in [&place.community, &place.event, &place.webhook, &place.delivery] {
            assert!(!told.contains(id.as_str()), "{own} tells of {id}");
        }
        // People may be members of both, so a person's id is none of a tenant; these are of one.
        for actor in [Actor::Owner, Actor::Member] {
            let id = text(&json!(world.other.cast.person(actor).expect("it is somebody").id));
            assert!(!told.contains(&id), "{own} tells of {id}");
        }
    }
}
