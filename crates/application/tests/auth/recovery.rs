//! Resetting a password.

use convene_application::auth::Reset;
use convene_application::kernel::error::{Code, Place};
use convene_application::kernel::mail::Message;
use convene_domain::auth::password::Password;
use secrecy::SecretString;

use crate::scene::{OTHER_PASSWORD, PASSWORD, Scene, code, context, token_of};

#[tokio::test]
async fn a_reset_sets_the_password_and_ends_every_session() {
    let scene = Scene::new();
    scene.account("ada@example.org", PASSWORD).await;
    let one = scene.login("ada@example.org", PASSWORD).await.unwrap();
    let other = scene.login("ada@example.org", PASSWORD).await.unwrap();
    let token = scene.reset_token("Ada@example.org").await;
    scene.reset(&token, OTHER_PASSWORD).await.unwrap();

    for tokens in [one, other] {
        assert_eq!(code(scene.authenticate(&tokens).await), Code::Unauthenticated);
        assert_eq!(code(scene.refresh(&tokens.refresh_token).await), Code::InvalidRefreshToken);
    }
    assert_eq!(code(scene.login("ada@example.org", PASSWORD).await), Code::InvalidCredentials);
    // Nothing that was revoked stands in the way of the next login, not even in the same instant.
    let fresh = scene.login_from("192.0.2.8", "ada@example.org", OTHER_PASSWORD).await.unwrap();
    scene.authenticate(&fresh).await.unwrap();
    assert!(scene.store.ledger().audit.iter().any(|entry| entry.action == "auth.reset_password"));
}

#[tokio::test]
async fn a_token_resets_once_and_takes_the_others_with_it() {
    let scene = Scene::new();
    scene.account("ada@example.org", PASSWORD).await;
    let first = scene.reset_token("ada@example.org").await;
    let second = scene.reset_token("ada@example.org").await;
    scene.reset(&first, OTHER_PASSWORD).await.unwrap();
    for token in [&first, &second] {
        assert_eq!(code(scene.reset(token, PASSWORD).await), Code::InvalidToken);
    }
    scene.login("ada@example.org", OTHER_PASSWORD).await.unwrap();
}

#[tokio::test]
async fn a_token_expires_and_is_good_for_its_purpose_alone() {
    let scene = Scene::new();
    scene.account("ada@example.org", PASSWORD).await;
    scene.register("eve@example.org", PASSWORD).await.unwrap();
    let verification = token_of(&scene.run_jobs().await[0]);
    assert_eq!(code(scene.reset(&verification, OTHER_PASSWORD).await), Code::InvalidToken);
    let token = scene.reset_token("ada@example.org").await;
    assert_eq!(code(scene.verify(&token).await), Code::InvalidToken);
    scene.advance(3_600);
    let work = scene.passwords.work();
    assert_eq!(code(scene.reset(&token, OTHER_PASSWORD).await), Code::InvalidToken);
    assert_eq!(code(scene.reset("made up", OTHER_PASSWORD).await), Code::InvalidToken);
    assert_eq!(scene.passwords.work(), work, "a bad token costs no hash");
}

#[tokio::test]
async fn asking_tells_nobody_whether_there_is_an_account() {
    let scene = Scene::new();
    scene.account("ada@example.org", PASSWORD).await;
    scene.register("waiting@example.org", PASSWORD).await.unwrap();
    scene.run_jobs().await;
    for (email, mails) in
        [("ada@example.org", 1), ("stranger@example.org", 0), ("waiting@example.org", 0)]
    {
        let before = scene.store.peek().await.clone();
        scene.forgot(email).await.unwrap();
        assert_eq!(*scene.store.peek().await, before);
        assert_eq!(scene.store.ledger().jobs.len(), 1);
        assert_eq!(scene.run_jobs().await.len(), mails, "{email}");
    }
}

#[tokio::test]
async fn an_address_is_offered_three_resets_and_then_one_an_hour() {
    let scene = Scene::new();
    for email in ["ada@example.org", "stranger@example.org"] {
        for _ in 0..3 {
            scene.forgot(email).await.unwrap();
        }
        let refused = scene.forgot(email).await.unwrap_err();
        assert_eq!(
            (refused.code, refused.retry_after.unwrap().as_secs()),
            (Code::RateLimited, 3_600)
        );
    }
    scene.advance(3_600);
    scene.forgot("ada@example.org").await.unwrap();
    assert_eq!(code(scene.forgot("ada@example.org").await), Code::RateLimited);
}

#[tokio::test]
async fn the_address_is_no_password() {
    let scene = Scene::new();
    scene.account("ada.lovelace@example.org", PASSWORD).await;
    let token = scene.reset_token("ada.lovelace@example.org").await;
    let reset = Reset {
        token: SecretString::from(token.clone()),
        password: Password::choose("ada.lovelace@example.org", None).unwrap(),
    };
    let refused = scene.service.reset_password(&context("192.0.2.1"), reset).await.unwrap_err();
    assert_eq!(refused.code, Code::ValidationFailed);
    assert_eq!(refused.errors[0].place, Place::Pointer("/password".to_owned()));
    // The token is not spent by the mistake.
    scene.reset(&token, OTHER_PASSWORD).await.unwrap();
}

#[tokio::test]
async fn a_password_that_was_changed_meanwhile_is_no_longer_good() {
    let scene = Scene::new();
    scene.account("ada@example.org", PASSWORD).await;
    let token = scene.reset_token("ada@example.org").await;
    // Both at once: whichever comes first, no session that began with the old password is left.
    let (login, reset) = futures::join!(
        scene.login("ada@example.org", PASSWORD),
        scene.reset(&token, OTHER_PASSWORD)
    );
    reset.unwrap();
    if let Ok(tokens) = login {
        assert_eq!(code(scene.authenticate(&tokens).await), Code::Unauthenticated);
    }
    assert!(scene.store.peek().await.sessions.is_empty());
}

#[tokio::test]
async fn a_failure_at_any_step_leaves_nothing() {
    let scene = Scene::unlimited();
    scene.account("ada@example.org", PASSWORD).await;
    scene.login("ada@example.org", PASSWORD).await.unwrap();
    scene.survives_each_failure(async || scene.forgot("ada@example.org").await).await;
    let mails = scene.run_jobs().await;
    assert!(matches!(mails[0].message, Message::ResetPassword { .. }));
    let token = token_of(&mails[0]);
    scene.survives_each_failure(async || scene.reset(&token, OTHER_PASSWORD).await).await;
    assert!(scene.store.peek().await.sessions.is_empty());
}
