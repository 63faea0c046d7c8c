//! Logging in and out.

use convene_application::auth::{AuthOptions, GuessingLimits};
use convene_application::kernel::error::Code;
use convene_application::kernel::limits::Quota;
use convene_application::kernel::uow::AuditOutcome;
use secrecy::ExposeSecret as _;

use crate::scene::{OTHER_PASSWORD, PASSWORD, Scene, code, context};

#[tokio::test]
async fn a_login_begins_a_session() {
    let scene = Scene::new();
    scene.account("ada@example.org", PASSWORD).await;
    let tokens = scene.login("Ada@example.org", PASSWORD).await.unwrap();
    assert_eq!((tokens.expires_in, tokens.refresh_expires_in), (600, 30 * 24 * 3_600));
    assert_eq!(tokens.refresh_token.expose_secret().len(), 43);

    let principal = scene.authenticate(&tokens).await.unwrap();
    let tables = scene.store.peek().await.clone();
    assert_eq!(tables.sessions[&principal.session].user, principal.user);
    assert!(tables.users.0.contains_key(&principal.user));
    let audit = scene.store.ledger().audit;
    let entry = audit.last().unwrap();
    assert_eq!((entry.action, &entry.object), ("auth.login", &principal.session.to_string()));
    assert_eq!(entry.context.session, Some(principal.session));
}

#[tokio::test]
async fn every_reason_for_a_refusal_looks_and_costs_the_same() {
    let scene = Scene::new();
    scene.account("ada@example.org", PASSWORD).await;
    scene.register("waiting@example.org", PASSWORD).await.unwrap();
    let mut refusals = Vec::new();
    for (email, password) in [
        ("ada@example.org", OTHER_PASSWORD),
        ("stranger@example.org", PASSWORD),
        ("waiting@example.org", PASSWORD),
    ] {
        let (work, failures) =
            (scene.passwords.work(), scene.store.peek().await.login_failures.len());
        let refused = scene.login(email, password).await.unwrap_err();
        let counted = scene.store.peek().await.login_failures.len() - failures;
        refusals.push((refused.code, refused.detail, scene.passwords.work() - work, counted));
    }
    assert_eq!(refusals[0].0, Code::InvalidCredentials);
    assert!(refusals[0].1.contains("not verified yet"));
    assert_eq!((refusals[0].2, refusals[0].3), (1, 1));
    assert!(refusals.iter().all(|refusal| *refusal == refusals[0]), "{refusals:?}");
}

#[tokio::test]
async fn a_failed_login_is_audited_without_telling_whose_address_it_was() {
    let scene = Scene::new();
    scene.account("ada@example.org", PASSWORD).await;
    let mut entries = Vec::new();
    for email in ["ada@example.org", "stranger@example.org", "Stranger@example.org"] {
        let before = scene.store.ledger().audit.len();
        scene.login(email, OTHER_PASSWORD).await.unwrap_err();
        let audit = scene.store.ledger().audit;
        assert_eq!(audit.len(), before + 1, "known or unknown, there is one entry");
        entries.push(audit.last().unwrap().clone());
    }
    for entry in &entries {
        assert_eq!((entry.action, entry.outcome), ("auth.login", AuditOutcome::Refused));
        assert_eq!((entry.actor(), entry.community), (None, None));
        assert!(entry.context.client_ip.is_some());
        assert!(!format!("{entry:?}").contains("example.org"), "{entry:?}");
    }
    assert_ne!(entries[0].object, entries[1].object);
    assert_eq!(entries[1].object, entries[2].object, "attempts at one account belong together");
}

#[tokio::test]
async fn nobody_fills_the_audit_log_with_failed_logins() {
    let refusals = |scene: &Scene| {
        let audit = scene.store.ledger().audit;
        audit.iter().filter(|entry| entry.outcome == AuditOutcome::Refused).count()
    };
    // One account, tried from everywhere, with the limits on guessing switched off.
    let scene = Scene::unlimited();
    for client in 0..30 {
        let client = format!("192.0.2.{client}");
        scene.login_from(&client, "ada@example.org", PASSWORD).await.unwrap_err();
    }
    assert_eq!(refusals(&scene), 10);
    scene.advance(3_600);
    scene.login("ada@example.org", PASSWORD).await.unwrap_err();
    assert_eq!(refusals(&scene), 11);
    // One client that tries one address after another.
    let scene = Scene::unlimited();
    for stranger in 0..150 {
        let email = format!("stranger-{stranger}@example.org");
        scene.login(&email, PASSWORD).await.unwrap_err();
    }
    assert_eq!(refusals(&scene), 100);
}

#[tokio::test]
async fn one_client_tries_one_account_three_times_and_then_three_a_minute() {
    let scene = Scene::new();
    scene.account("ada@example.org", PASSWORD).await;
    for _ in 0..3 {
        assert_eq!(
            code(scene.login("ada@example.org", OTHER_PASSWORD).await),
            Code::InvalidCredentials
        );
    }
    let refused = scene.login("ada@example.org", PASSWORD).await.unwrap_err();
    assert_eq!((refused.code, refused.retry_after.unwrap().as_secs()), (Code::RateLimited, 20));
    // Another client, and another account from this one, are not held up.
    scene.login_from("198.51.100.7", "ada@example.org", PASSWORD).await.unwrap();
    assert_eq!(code(scene.login("eve@example.org", PASSWORD).await), Code::InvalidCredentials);
    scene.advance(20);
    scene.login("ada@example.org", PASSWORD).await.unwrap();
    // An account that does not exist is limited just the same.
    for _ in 0..3 {
        scene.login("eve@example.org", PASSWORD).await.unwrap_err();
    }
    assert_eq!(code(scene.login("eve@example.org", PASSWORD).await), Code::RateLimited);
}

#[tokio::test]
async fn one_client_fails_a_hundred_times_a_minute_and_no_more() {
    let scene = Scene::new();
    scene.account("ada@example.org", PASSWORD).await;
    for stranger in 0..100 {
        let email = format!("stranger-{stranger}@example.org");
        assert_eq!(code(scene.login(&email, PASSWORD).await), Code::InvalidCredentials);
    }
    assert_eq!(code(scene.login("ada@example.org", PASSWORD).await), Code::RateLimited);
    scene.login_from("198.51.100.7", "ada@example.org", PASSWORD).await.unwrap();
    scene.advance(1);
    scene.login("ada@example.org", PASSWORD).await.unwrap();
}

#[tokio::test]
async fn logins_that_succeed_are_no_failures_of_the_client() {
    let scene = Scene::with(AuthOptions {
        guessing: Some(GuessingLimits {
            login_per_client_and_account: Quota::new(
                1_000,
                std::time::Duration::from_secs(60),
                1_000,
            ),
            ..GuessingLimits::default()
        }),
        ..AuthOptions::default()
    });
    scene.account("ada@example.org", PASSWORD).await;
    for _ in 0..150 {
        scene.login("ada@example.org", PASSWORD).await.unwrap();
    }
}

#[tokio::test]
async fn a_hundred_failures_in_a_row_lock_an_account_until_its_password_is_reset() {
    let scene = Scene::new();
    scene.account("ada@example.org", PASSWORD).await;
    for _ in 0..100 {
        assert_eq!(
            code(scene.login("ada@example.org", OTHER_PASSWORD).await),
            Code::InvalidCredentials
        );
        scene.advance(20);
    }
    let work = scene.passwords.work();
    let locked = scene.login("ada@example.org", PASSWORD).await.unwrap_err();
    assert_eq!(locked.code, Code::InvalidCredentials);
    assert!(locked.detail.contains("resetting the password"));
    assert_eq!(scene.passwords.work() - work, 1, "it takes as long as ever");
    scene.advance(3_600 * 24 * 365);
    assert_eq!(code(scene.login("ada@example.org", PASSWORD).await), Code::InvalidCredentials);

    let token = scene.reset_token("ada@example.org").await;
    scene.reset(&token, OTHER_PASSWORD).await.unwrap();
    scene.login("ada@example.org", OTHER_PASSWORD).await.unwrap();
}

#[tokio::test]
async fn a_login_that_succeeds_ends_the_row_of_failures() {
    let scene = Scene::new();
    scene.account("ada@example.org", PASSWORD).await;
    for _ in 0..3 {
        for _ in 0..60 {
            scene.login("ada@example.org", OTHER_PASSWORD).await.unwrap_err();
            scene.advance(20);
        }
        scene.login("ada@example.org", PASSWORD).await.unwrap();
        assert!(scene.store.peek().await.login_failures.is_empty());
        scene.advance(20);
    }
}

#[tokio::test]
async fn parallel_attempts_do_not_get_past_the_lock() {
    let limits = GuessingLimits {
        login_per_client_and_account: Quota::new(1_000, std::time::Duration::from_secs(60), 1_000),
        consecutive_failures: 10,
        ..GuessingLimits::default()
    };
    let scene = Scene::with(AuthOptions { guessing: Some(limits), ..AuthOptions::default() });
    scene.account("ada@example.org", PASSWORD).await;
    let guesses = (0..40).map(|guess| {
        // The right one comes last.
        let password = if guess == 39 { PASSWORD } else { OTHER_PASSWORD };
        scene.login("ada@example.org", password)
    });
    let outcomes = futures::future::join_all(guesses).await;
    assert!(outcomes.iter().all(Result::is_err));
}

#[tokio::test]
async fn limits_can_be_switched_off() {
    let scene = Scene::unlimited();
    scene.account("ada@example.org", PASSWORD).await;
    for _ in 0..300 {
        assert_eq!(
            code(scene.login("ada@example.org", OTHER_PASSWORD).await),
            Code::InvalidCredentials
        );
    }
    scene.login("ada@example.org", PASSWORD).await.unwrap();
    assert!(scene.store.peek().await.login_failures.is_empty());
}

#[tokio::test]
async fn what_the_server_did_not_judge_is_no_failure() {
    let scene = Scene::new();
    scene.account("ada@example.org", PASSWORD).await;
    scene.passwords.set_busy(true);
    assert_eq!(code(scene.login("ada@example.org", PASSWORD).await), Code::Overloaded);
    let failures: Vec<u32> =
        scene.store.peek().await.login_failures.values().map(|(failures, _)| *failures).collect();
    assert_eq!(failures, [0]);
}

#[tokio::test]
async fn an_outdated_hash_is_replaced() {
    let scene = Scene::new();
    scene.account("ada@example.org", PASSWORD).await;
    scene.passwords.strengthen();
    scene.login("ada@example.org", PASSWORD).await.unwrap();
    let hash =
        scene.store.peek().await.credential_of("ada@example.org").unwrap().password_hash.clone();
    assert!(hash.starts_with("v2:"), "{hash}");
    scene.login("ada@example.org", PASSWORD).await.unwrap();
}

#[tokio::test]
async fn a_person_has_a_hundred_sessions_at_most() {
    let scene = Scene::unlimited();
    scene.account("ada@example.org", PASSWORD).await;
    let oldest = scene.login("ada@example.org", PASSWORD).await.unwrap();
    scene.advance(1);
    let second = scene.login("ada@example.org", PASSWORD).await.unwrap();
    for _ in 0..99 {
        scene.advance(1);
        scene.login("ada@example.org", PASSWORD).await.unwrap();
    }
    assert_eq!(scene.store.peek().await.sessions.len(), 100);
    assert_eq!(code(scene.authenticate(&oldest).await), Code::Unauthenticated);
    assert_eq!(code(scene.refresh(&oldest.refresh_token).await), Code::InvalidRefreshToken);
    scene.authenticate(&second).await.unwrap();
}

#[tokio::test]
async fn logging_out_ends_the_session_and_no_other() {
    let scene = Scene::new();
    scene.account("ada@example.org", PASSWORD).await;
    let here = scene.login("ada@example.org", PASSWORD).await.unwrap();
    let there = scene.login("ada@example.org", PASSWORD).await.unwrap();
    let principal = scene.authenticate(&here).await.unwrap();
    scene.service.logout(&context("192.0.2.1"), principal).await.unwrap();

    assert_eq!(code(scene.authenticate(&here).await), Code::Unauthenticated);
    assert_eq!(code(scene.refresh(&here.refresh_token).await), Code::InvalidRefreshToken);
    scene.authenticate(&there).await.unwrap();
    scene.refresh(&there.refresh_token).await.unwrap();
    // A repeated request whose token was checked just before.
    scene.service.logout(&context("192.0.2.1"), principal).await.unwrap();
}

#[tokio::test]
async fn a_failure_at_any_step_leaves_nothing() {
    let scene = Scene::unlimited();
    scene.account("ada@example.org", PASSWORD).await;
    scene.passwords.strengthen();
    let tokens =
        scene.survives_each_failure(async || scene.login("ada@example.org", PASSWORD).await).await;
    let principal = scene.authenticate(&tokens).await.unwrap();
    scene
        .survives_each_failure(async || {
            scene.service.logout(&context("192.0.2.1"), principal).await
        })
        .await;
    assert!(scene.store.peek().await.sessions.is_empty());
}
