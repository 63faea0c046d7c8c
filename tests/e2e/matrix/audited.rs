//! Every change leaves its audit entry, and every refusal one of its own.

use std::collections::BTreeMap;

use convene_testkit::poll::poll_until;
use convene_tests::app::App;
use convene_tests::client::{Answer, PATIENCE};
use convene_tests::openapi::{Access, Operation};
use convene_tests::scene::{Actor, Cast, Venue};
use reqwest::Method;
use serde_json::json;
use tokio_postgres::Client;

use super::Stage;
use super::recipes::{RECIPES, Recipe};

/// What the log tells of a request.
#[derive(Debug)]
struct Entry {
    actor: Option<String>,
    has_session: bool,
    action: String,
    object: String,
    outcome: String,
    client_ip: Option<String>,
}

async fn stage() -> Stage {
    let app = App::start().await;
    let cast = Cast::gather(&app).await;
    let place = app.place(&cast, Venue::Public).await;
    // Drafts are made in the public place.
    let places = vec![(Venue::Public, place.clone()), (Venue::Draft, place)];
    Stage { app, cast, places }
}

/// The entries of a request, numbered already or not.
async fn entries(sql: &Client, request: &str) -> Vec<Entry> {
    let rows = sql
        .query(
            "SELECT actor, session_id IS NOT NULL, action, object, outcome, client_ip FROM audit_pending
             WHERE request_id = $1
             UNION ALL
             SELECT actor, session_id IS NOT NULL, action, object, outcome, client_ip
             FROM audit_log LEFT JOIN audit_personal USING (chain_id, number) WHERE request_id = $1",
            &[&request],
        )
        .await
        .expect("the log can be read");
    let entry = |row: &tokio_postgres::Row| Entry {
        actor: row.get(0),
        has_session: row.get(1),
        action: row.get(2),
        object: row.get(3),
        outcome: row.get(4),
        client_ip: row.get(5),
    };
    rows.iter().map(entry).collect()
}

fn request_id(answer: &Answer) -> &str {
    answer.header("x-request-id").expect("every reply has a request id")
}

fn changes(operation: &&Operation) -> bool {
    ![Method::GET, Method::HEAD].contains(&operation.method)
}

/// Who does it, where anybody with a role would not.
fn doer(operation: &str) -> Actor {
    match operation {
        "join_community" => Actor::Stranger,
        "leave_community" => Actor::Member,
        _ => Actor::Owner,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_leaves_an_entry() {
    let stage = stage().await;
    let sql = stage.app.sql().await;
    let document = stage.app.openapi().await;
    let recipes: BTreeMap<&str, Recipe> = RECIPES.into_iter().collect();
    let mut looked_at = 0;
    for operation in document.operations.iter().filter(changes) {
        let venue = match operation.id.as_str() {
            // What is published already cannot be published.
            "publish_event" => Some(Venue::Draft),
            _ => super::venues(operation)[0],
        };
        let actor = doer(&operation.id);
        let answer = match operation.id.as_str() {
            "verify_email" => verify(&stage.app).await,
            "reset_password" => reset(&stage.app).await,
            id => recipes[id].perform(&stage, operation, actor, venue).await,
        };
        let label = operation.label();
        assert!((200..300).contains(&answer.status), "{label} answered {}", answer.status);
        let entries = entries(&sql, request_id(&answer)).await;
        let [entry] = entries.as_slice() else {
            panic!("{label} left {} entries: {entries:?}", entries.len())
        };
        assert_eq!(
            (entry.outcome.as_str(), entry.client_ip.as_deref()),
            ("done", Some("127.0.0.1"))
        );
        assert!(!entry.object.is_empty() && entry.action.contains('.'), "{label}: {entry:?}");
        if operation.access == Access::Required {
            let person = stage.cast.person(actor).expect("whoever changes something is somebody");
            assert_eq!(entry.actor.as_ref(), Some(&person.id), "{label}");
            assert!(entry.has_session, "{label}: the credential is told");
        }
        looked_at += 1;
    }
    assert!(looked_at > 20, "{looked_at} operations change something");
}

/// Verifies an address that was just registered.
async fn verify(app: &App) -> Answer {
    let email = format!("new-{}@example.org", uuid::Uuid::new_v4().simple());
    let account = json!({"email": email, "password": "tremendous otter 42", "display_name": "New"});
    app.post("/v1/auth/register").json(account).await.expect(202);
    let token = app.mailed_token(&email).await;
    app.post("/v1/auth/verify-email").json(json!({ "token": token })).await
}

/// Sets the password of somebody who plays no other part: it ends their sessions.
async fn reset(app: &App) -> Answer {
    let person = app.person("forgetful").await;
    let before = app.mailed_token(&person.email).await;
    app.post("/v1/auth/forgot-password").json(json!({ "email": person.email })).await.expect(202);
    let token = poll_until(PATIENCE, "another mail with a token arrives", async || {
        Some(app.mailed_token(&person.email).await).filter(|token| *token != before)
    })
    .await;
    let body = json!({"token": token, "password": "a passphrase like no other before"});
    app.post("/v1/auth/reset-password").json(body).await
}

/// Of a person and an action in an hour; behind them one in a hundred is.
const WRITTEN_ONE_BY_ONE: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_leaves_an_entry() {
    let stage = stage().await;
    let sql = stage.app.sql().await;
    let document = stage.app.openapi().await;
    let recipes: BTreeMap<&str, Recipe> = RECIPES.into_iter().collect();
    let mut looked_at = 0;
    let mut refused: BTreeMap<_, usize> = BTreeMap::new();
    for operation in &document.operations {
        for actor in [Actor::Stranger, Actor::Member, Actor::Organizer] {
            let venue = super::venues(operation)[0];
            if venue.is_none() {
                continue;
            }
            let answer =
                recipes[operation.id.as_str()].perform(&stage, operation, actor, venue).await;
            if answer.status != 403 {
                continue;
            }
            let allowed = convene_http::permissions::actions_of(&operation.id);
            let actions: Vec<_> = allowed.iter().map(|action| action.name()).collect();
            let times = refused.entry((actor.name(), actions)).or_default();
            *times += 1;
            if *times > WRITTEN_ONE_BY_ONE {
                continue;
            }
            let entry = poll_until(PATIENCE, "the refusal is in the log", async || {
                entries(&sql, request_id(&answer)).await.into_iter().next()
            })
            .await;
            let person = stage.cast.person(actor).expect("whoever is refused is somebody");
            let label = operation.label();
            assert_eq!(
                (entry.outcome.as_str(), entry.actor.as_ref()),
                ("refused", Some(&person.id))
            );
            assert!(entry.has_session && entry.client_ip.is_some(), "{label}: {entry:?}");
            let place = &stage.places[0].1;
            let about_event = operation.segments.iter().any(|name| name == "event");
            let object = if about_event { "event_" } else { place.community.as_str() };
            // What is used up is another community than the stage's.
            let prefix = if about_event { object } else { "comm_" };
            assert!(entry.object.starts_with(prefix), "{label}: {entry:?}");
            assert!(
                allowed.iter().any(|action| action.name() == entry.action),
                "{label}: {entry:?}"
            );
            looked_at += 1;
        }
    }
    assert!(looked_at > 30, "{looked_at} calls were refused");
}

/// Whoever is refused without end does not fill the log, and is not made to wait.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_without_end_are_left_out() {
    let stage = stage().await;
    let (app, sql) = (&stage.app, stage.app.sql().await);
    let community = &stage.places[0].1.community;
    let stranger = stage.cast.person(Actor::Stranger).expect("the stranger is somebody");
    let logs = format!("/v1/communities/{community}/event-log");
    for _ in 0..60 {
        app.get(&logs).by(stranger).await.problem(403, "forbidden");
    }
    let webhooks = format!("/v1/communities/{community}/webhooks");
    let last = app.get(&webhooks).by(stranger).await.expect(403);
    poll_until(PATIENCE, "the last refusal is in the log", async || {
        entries(&sql, request_id(&last)).await.into_iter().next()
    })
    .await;
    let written: i64 = sql
        .query_one(
            "SELECT (SELECT count(*) FROM audit_pending WHERE action = 'community.event_log')
                  + (SELECT count(*) FROM audit_log WHERE action = 'community.event_log')",
            &[],
        )
        .await
        .expect("the log can be read")
        .get(0);
    // The first ten, and of the fifty behind one in a hundred.
    assert!((10..25).contains(&written), "{written} of 60 refusals were written");
}
