//! Jobs that meet trouble, and the sweep.

use convene_application::auth::jobs::{SweepExpired, duties};
use convene_application::kernel::jobs::{NewJob, Outcome};
use serde_json::json;

use crate::scene::{OTHER_PASSWORD, PASSWORD, Scene, token_of};

#[tokio::test]
async fn mail_that_cannot_be_sent_is_tried_again_while_it_is_worth_it() {
    let scene = Scene::new();
    scene.register("ada@example.org", PASSWORD).await.unwrap();
    let job = scene.store.take_jobs().remove(0);
    scene.mailer.set_down(true);
    assert!(matches!(scene.run_job(&job).await, Outcome::Retry(_)));
    scene.mailer.set_down(false);
    assert!(matches!(scene.run_job(&job).await, Outcome::Done));
    let mails = scene.mailer.take();
    scene.verify(&token_of(&mails[0])).await.unwrap();
    assert!(
        matches!(scene.run_job(&job).await, Outcome::Done),
        "the token is spent: there is nothing to mail"
    );
    assert_eq!(scene.mailer.take(), []);
}

#[tokio::test]
async fn an_expired_token_is_not_mailed() {
    let scene = Scene::new();
    scene.register("ada@example.org", PASSWORD).await.unwrap();
    scene.advance(3_600);
    assert_eq!(scene.run_jobs().await, []);
}

#[tokio::test]
async fn a_payload_that_cannot_be_opened_is_dead_at_once() {
    let scene = Scene::new();
    for (kind, field) in [
        ("auth.mail_token", "sealed_token"),
        ("auth.resend_verification", "sealed_address"),
        ("auth.start_password_reset", "sealed_address"),
    ] {
        let job =
            NewJob { kind, payload: json!({ field: "AAAA" }), ..NewJob::new(&SweepExpired {}) };
        assert!(matches!(scene.run_job(&job).await, Outcome::Discard(_)), "{kind}");
    }
}

#[tokio::test]
async fn a_store_that_is_down_has_jobs_tried_again() {
    let scene = Scene::new();
    scene.account("ada@example.org", PASSWORD).await;
    scene.register("eve@example.org", PASSWORD).await.unwrap();
    scene.forgot("ada@example.org").await.unwrap();
    let mut jobs = scene.store.take_jobs();
    jobs.push(NewJob::new(&SweepExpired {}));
    for job in jobs {
        for successes in 0..10 {
            scene.store.fail_after(successes);
            let outcome = scene.run_job(&job).await;
            if scene.store.heal() {
                assert!(matches!(outcome, Outcome::Done | Outcome::Settled), "{outcome:?}");
                break;
            }
            assert!(matches!(outcome, Outcome::Retry(_)), "{outcome:?}");
        }
    }
}

#[tokio::test]
async fn the_sweep_takes_what_is_over_and_nothing_else() {
    let scene = Scene::new();
    scene.account("ada@example.org", PASSWORD).await;
    scene.login("ada@example.org", PASSWORD).await.unwrap();
    scene.login("ada@example.org", OTHER_PASSWORD).await.unwrap_err();
    scene.login("stranger@example.org", PASSWORD).await.unwrap_err();
    scene.register("eve@example.org", PASSWORD).await.unwrap();
    scene.store.take_jobs();
    let sweep = duties().remove(0).job;

    scene.run_job(&sweep).await;
    let tables = scene.store.peek().await.clone();
    assert_eq!(
        (tables.registrations.len(), tables.sessions.len(), tables.login_failures.len()),
        (1, 1, 2)
    );

    scene.advance(24 * 3_600);
    scene.run_job(&sweep).await;
    let tables = scene.store.peek().await.clone();
    assert_eq!((tables.registrations.len(), tables.mailed_tokens.len()), (0, 0));
    assert_eq!(tables.login_failures.len(), 1, "what was tried against an account is remembered");
    assert_eq!((tables.sessions.len(), tables.refresh_tokens.len()), (1, 1));

    scene.advance(29 * 24 * 3_600);
    scene.run_job(&sweep).await;
    let tables = scene.store.peek().await.clone();
    assert_eq!((tables.sessions.len(), tables.refresh_tokens.len()), (0, 0));
    assert_eq!(tables.credentials.len(), 1);
}
