//! Rotation of refresh tokens.

use std::sync::Arc;

use convene_application::kernel::error::Code;
use convene_application::kernel::mail::Message;
use secrecy::{ExposeSecret as _, SecretString};

use crate::scene::{PASSWORD, Scene, code};

async fn logged_in() -> (Scene, SecretString) {
    let scene = Scene::new();
    scene.account("ada@example.org", PASSWORD).await;
    let tokens = scene.login("ada@example.org", PASSWORD).await.unwrap();
    (scene, tokens.refresh_token)
}

fn same(a: &SecretString, b: &SecretString) -> bool {
    a.expose_secret() == b.expose_secret()
}

#[tokio::test]
async fn each_token_is_exchanged_for_the_next() {
    let (scene, first) = logged_in().await;
    let mut token = first;
    for _ in 0..3 {
        scene.advance(600);
        let tokens = scene.refresh(&token).await.unwrap();
        assert!(!same(&tokens.refresh_token, &token));
        scene.authenticate(&tokens).await.unwrap();
        assert_eq!((tokens.expires_in, tokens.refresh_expires_in), (600, 30 * 24 * 3_600));
        token = tokens.refresh_token;
    }
    assert_eq!(scene.store.peek().await.sessions.len(), 1);
}

#[tokio::test]
async fn a_lost_reply_can_be_asked_for_again() {
    let (scene, first) = logged_in().await;
    let second = scene.refresh(&first).await.unwrap();
    scene.advance(29);
    let again = scene.refresh(&first).await.unwrap();
    assert!(same(&again.refresh_token, &second.refresh_token));
    assert_eq!(again.refresh_expires_in, 30 * 24 * 3_600 - 29);
    scene.authenticate(&again).await.unwrap();
    scene.refresh(&second.refresh_token).await.unwrap();
}

#[tokio::test]
async fn fifty_parallel_exchanges_of_one_token_end_in_one_successor() {
    let (scene, first) = logged_in().await;
    let scene = Arc::new(scene);
    let exchanges = (0..50).map(|_| {
        let (scene, first) = (Arc::clone(&scene), first.clone());
        tokio::spawn(async move { scene.refresh(&first).await.unwrap().refresh_token })
    });
    let successors = futures::future::try_join_all(exchanges).await.unwrap();
    assert!(successors.iter().all(|successor| same(successor, &successors[0])));
    let live = scene
        .store
        .peek()
        .await
        .refresh_tokens
        .values()
        .filter(|row| row.spent_at.is_none())
        .count();
    assert_eq!(live, 1);
    scene.refresh(&successors[0]).await.unwrap();
}

#[tokio::test]
async fn the_grace_ends_when_the_successor_is_used() {
    let (scene, first) = logged_in().await;
    let second = scene.refresh(&first).await.unwrap();
    let kept = |row: &convene_testkit::fake::auth::RefreshTokenRow| row.sealed_successor.is_some();
    assert_eq!(scene.store.peek().await.refresh_tokens.values().filter(|row| kept(row)).count(), 1);
    let third = scene.refresh(&second.refresh_token).await.unwrap();
    let kept_for_first = scene
        .store
        .peek()
        .await
        .refresh_tokens
        .values()
        .any(|row| row.predecessor.is_none() && kept(row));
    assert!(!kept_for_first, "what was kept for the first token is erased");

    assert_eq!(code(scene.refresh(&first).await), Code::InvalidRefreshToken);
    assert_eq!(code(scene.refresh(&third.refresh_token).await), Code::InvalidRefreshToken);
}

#[tokio::test]
async fn a_token_that_is_used_twice_ends_its_session_and_tells_its_owner() {
    let (scene, first) = logged_in().await;
    let other = scene.login("ada@example.org", PASSWORD).await.unwrap();
    let second = scene.refresh(&first).await.unwrap();
    scene.authenticate(&second).await.unwrap();
    scene.advance(30);
    assert_eq!(code(scene.refresh(&first).await), Code::InvalidRefreshToken);

    assert_eq!(code(scene.authenticate(&second).await), Code::Unauthenticated);
    assert_eq!(code(scene.refresh(&second.refresh_token).await), Code::InvalidRefreshToken);
    scene.authenticate(&other).await.unwrap();
    let audit = scene.store.ledger().audit;
    assert_eq!(audit.last().unwrap().action, "auth.refresh_token_reused");
    let mails = scene.run_jobs().await;
    let [mail] = mails.as_slice() else { panic!("one mail: {mails:?}") };
    assert_eq!(mail.message, Message::SessionRevoked);
    // The session is over: once more is no news.
    assert_eq!(code(scene.refresh(&first).await), Code::InvalidRefreshToken);
    assert_eq!(scene.run_jobs().await, []);
}

#[tokio::test]
async fn a_session_that_nobody_uses_ends() {
    let (scene, first) = logged_in().await;
    scene.advance(30 * 24 * 3_600);
    assert_eq!(code(scene.refresh(&first).await), Code::InvalidRefreshToken);
    assert_eq!(scene.run_jobs().await, [], "that is no theft");
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let (scene, _) = logged_in().await;
    for made_up in ["", "token", &"A".repeat(43)] {
        assert_eq!(
            code(scene.refresh(&SecretString::from(made_up)).await),
            Code::InvalidRefreshToken
        );
    }
}

#[tokio::test]
async fn a_failure_at_any_step_leaves_the_token_good() {
    let (scene, first) = logged_in().await;
    let second = scene.survives_each_failure(async || scene.refresh(&first).await).await;
    scene.advance(60);
    // Reuse answers the same code as any bad token once the session has ended; before, the store's failure shows.
    for successes in 0..3 {
        scene.store.fail_after(successes);
        let outcome = code(scene.refresh(&first).await);
        if scene.store.heal() {
            assert_eq!(outcome, Code::InvalidRefreshToken);
        } else {
            assert_eq!(outcome, Code::Unavailable);
            assert_eq!(scene.store.peek().await.sessions.len(), 1);
        }
    }
    assert_eq!(code(scene.refresh(&first).await), Code::InvalidRefreshToken);
    assert_eq!(code(scene.refresh(&second.refresh_token).await), Code::InvalidRefreshToken);
}
