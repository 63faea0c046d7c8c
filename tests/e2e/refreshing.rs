//! Refresh tokens: one live successor, whoever asks how often, and an end to the session when a token is in two hands.

use std::collections::BTreeSet;
use std::time::Duration;

use convene_testkit::poll::poll_until;
use convene_tests::app::App;
use convene_tests::client::{Answer, Person, text};
use futures::future::join_all;
use serde_json::json;

async fn refresh(app: &App, token: &str) -> Answer {
    app.post("/v1/auth/refresh").json(json!({"refresh_token": token})).await
}

async fn refreshed(app: &App, token: &str) -> (String, String) {
    let tokens = refresh(app, token).await.expect(200).json();
    (text(&tokens["access_token"]), text(&tokens["refresh_token"]))
}

/// Revocations reach access tokens within a second.
async fn assert_refused_within_a_second(app: &App, token: &str) {
    poll_until(Duration::from_secs(1), "the access token is refused", async || {
        (app.get("/v1/users/me").token(token).await.status == 401).then_some(())
    })
    .await;
}

async fn live_tokens(app: &App, person: &Person) -> i64 {
    let sql = app.sql().await;
    let row = sql
        .query_one(
            "SELECT count(*) FROM refresh_tokens JOIN sessions ON sessions.id = session_id
             JOIN credentials USING (user_id) WHERE spent_at IS NULL AND address = lower($1)",
            &[&person.email],
        )
        .await
        .expect("the tokens can be counted");
    row.get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_at_once_get_one_successor() {
    let app = App::start().await;
    let ada = app.person("ada").await;
    let answers = join_all((0..50).map(|_| refresh(&app, &ada.refresh_token))).await;
    let mut successors = BTreeSet::new();
    for answer in answers {
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let tokens = answer.expect(200).json();
        app.get("/v1/users/me").token(&text(&tokens["access_token"])).await.expect(200);
        successors.insert(text(&tokens["refresh_token"]));
    }
    assert_eq!(successors.len(), 1, "everybody got the same successor");
    assert_eq!(live_tokens(&app, &ada).await, 1);

    // The successor works, until it is used the old token gives it again, and afterwards it ends the session.
    let successor = successors.pop_first().expect("there is one");
    assert_eq!(refreshed(&app, &ada.refresh_token).await.1, successor);
    let (access, newest) = refreshed(&app, &successor).await;
    assert_ne!(newest, successor);
    app.get("/v1/users/me").token(&access).await.expect(200);

    refresh(&app, &ada.refresh_token).await.problem(401, "invalid_refresh_token");
    assert_refused_within_a_second(&app, &access).await;
    assert_refused_within_a_second(&app, &ada.token).await;
    for token in [&newest, &successor, &ada.refresh_token] {
        refresh(&app, token).await.problem(401, "invalid_refresh_token");
    }
    assert_eq!(live_tokens(&app, &ada).await, 0);
}

/// Fifty thieves and the owner: whoever comes with the spent token ends the session, however many come at once.
#[tokio::test(flavor = "multi_thread")]
async fn reuse_ends_that_session_alone() {
    let app = App::start().await;
    let mut ada = app.person("ada").await;
    let stolen = ada.clone();
    app.login(&mut ada).await;
    let (_, successor) = refreshed(&app, &stolen.refresh_token).await;
    let (_, newest) = refreshed(&app, &successor).await;

    for answer in join_all((0..50).map(|_| refresh(&app, &stolen.refresh_token))).await {
        answer.problem(401, "invalid_refresh_token");
    }
    refresh(&app, &newest).await.problem(401, "invalid_refresh_token");
    assert_refused_within_a_second(&app, &stolen.token).await;
    // The other session of the same person goes on.
    app.get("/v1/users/me").by(&ada).await.expect(200);
    refresh(&app, &ada.refresh_token).await.expect(200);

    poll_until(convene_tests::client::PATIENCE, "the owner is told by mail", async || {
        let mails = app.get(format!("/dev/mail/messages?to={}", ada.email)).await.json();
        let told = mails["data"].as_array()?.iter().any(|mail| {
            mail["subject"]
                .as_str()
                .is_some_and(|subject| subject.to_lowercase().contains("session"))
        });
        told.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_grace_a_spent_token_ends_the_session() {
    let app = App::start_with(&[("CONVENE__AUTH__REFRESH_GRACE", "1s")]).await;
    let ada = app.person("ada").await;
    let (access, successor) = refreshed(&app, &ada.refresh_token).await;
    let deadline = Duration::from_secs(10);
    poll_until(deadline, "the grace ends", async || {
        (refresh(&app, &ada.refresh_token).await.status == 401).then_some(())
    })
    .await;
    refresh(&app, &successor).await.problem(401, "invalid_refresh_token");
    assert_refused_within_a_second(&app, &access).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_refresh_token_is_told_the_same() {
    let app = App::start().await;
    let ada = app.person("ada").await;
    let of_no_session = "A".repeat(43);
    for bad in ["", "x", &of_no_session, &ada.token, "\u{1f980}", &"A".repeat(2_000)] {
        let problem = refresh(&app, bad).await.problem(401, "invalid_refresh_token");
        assert!(problem["errors"].is_null(), "{problem}");
    }
}
