//! Registering and verifying.

use convene_application::kernel::error::Code;
use convene_application::kernel::mail::Message;

use crate::scene::{OTHER_PASSWORD, PASSWORD, Scene, address, code, context, token_of};

#[tokio::test]
async fn a_verified_registration_is_an_account() {
    let scene = Scene::new();
    scene.register("Ada@Example.org", PASSWORD).await.unwrap();
    assert_eq!(code(scene.login("ada@example.org", PASSWORD).await), Code::InvalidCredentials);
    let mails = scene.run_jobs().await;
    let [mail] = mails.as_slice() else { panic!("one mail: {mails:?}") };
    assert_eq!(mail.to, address("Ada@Example.org"));
    scene.verify(&token_of(mail)).await.unwrap();

    let tables = scene.store.peek().await.clone();
    let user = tables.users.0.values().next().unwrap();
    assert_eq!(user.email, address("Ada@Example.org"));
    assert!(user.email_verified);
    let ledger = scene.store.ledger();
    let [event] = ledger.events.as_slice() else { panic!("one event: {:?}", ledger.events) };
    assert_eq!((event.event_type, event.version), ("user.registered", 1));
    let envelope: serde_json::Value = serde_json::from_slice(&event.envelope).unwrap();
    assert_eq!(envelope["subject"], user.id.to_string());
    assert_eq!(envelope["actor"], user.id.to_string());
    assert_eq!(envelope["aggregateversion"], 1);
    assert_eq!(envelope["data"]["user_id"], user.id.to_string());
    scene.login("ADA@example.org", PASSWORD).await.unwrap();
}

#[tokio::test]
async fn a_known_address_looks_like_any_other_but_in_its_mail() {
    let scene = Scene::new();
    scene.account("ada@example.org", PASSWORD).await;

    let mut traces = Vec::new();
    for email in ["ada@example.org", "new@example.org"] {
        let (before, work) = (scene.store.peek().await.clone(), scene.passwords.work());
        scene.register(email, OTHER_PASSWORD).await.unwrap();
        let (after, jobs) = (scene.store.peek().await.clone(), scene.store.ledger().jobs);
        traces.push((
            after.registrations.len() - before.registrations.len(),
            after.mailed_tokens.len() - before.mailed_tokens.len(),
            after.credentials == before.credentials,
            scene.passwords.work() - work,
            jobs.iter().map(|job| (job.kind, job.payload.to_string().len())).collect::<Vec<_>>(),
        ));
        let mails = scene.run_jobs().await;
        let [mail] = mails.as_slice() else { panic!("one mail: {mails:?}") };
        assert_eq!(mail.to, address(email));
        assert_eq!(mail.message == Message::AlreadyRegistered, email == "ada@example.org");
    }
    assert_eq!(traces[0], traces[1]);
}

#[tokio::test]
async fn the_token_lies_nowhere_in_plain() {
    let scene = Scene::new();
    scene.register("ada@example.org", PASSWORD).await.unwrap();
    let jobs = scene.store.ledger().jobs;
    let token = token_of(&scene.run_jobs().await[0]);
    assert_eq!(token.len(), 43);
    assert!(!jobs[0].payload.to_string().contains(&token));
    let shown = format!("{:?}{:?}", jobs, scene.store.peek().await);
    assert!(!shown.contains(&token));
}

#[tokio::test]
async fn nobody_can_plant_a_password() {
    let scene = Scene::new();
    scene.register("victim@example.org", PASSWORD).await.unwrap();
    let own = token_of(&scene.run_jobs().await[0]);
    scene.register("victim@example.org", OTHER_PASSWORD).await.unwrap();
    let planted = token_of(&scene.run_jobs().await[0]);

    scene.verify(&own).await.unwrap();
    scene.login("victim@example.org", PASSWORD).await.unwrap();
    assert_eq!(
        code(scene.login("victim@example.org", OTHER_PASSWORD).await),
        Code::InvalidCredentials
    );
    assert_eq!(code(scene.verify(&planted).await), Code::InvalidToken);
    assert!(scene.store.peek().await.registrations.is_empty());
    assert!(scene.store.peek().await.mailed_tokens.is_empty());
}

#[tokio::test]
async fn a_token_verifies_once_and_for_an_hour() {
    let scene = Scene::new();
    for email in ["one@example.org", "two@example.org"] {
        scene.register(email, PASSWORD).await.unwrap();
    }
    let mails = scene.run_jobs().await;
    let (one, two) = (token_of(&mails[0]), token_of(&mails[1]));
    scene.advance(3_599);
    scene.verify(&one).await.unwrap();
    assert_eq!(code(scene.verify(&one).await), Code::InvalidToken);
    scene.advance(1);
    assert_eq!(code(scene.verify(&two).await), Code::InvalidToken);
    for made_up in ["", "token", &"A".repeat(43), &"é".repeat(50)] {
        assert_eq!(code(scene.verify(made_up).await), Code::InvalidToken);
    }
}

#[tokio::test]
async fn of_parallel_verifications_of_one_address_one_succeeds() {
    let scene = Scene::new();
    for _ in 0..4 {
        scene.register("ada@example.org", PASSWORD).await.unwrap();
    }
    let tokens: Vec<String> = scene.run_jobs().await.iter().map(token_of).collect();
    let outcomes = futures::future::join_all(tokens.iter().map(|token| scene.verify(token))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert_eq!(scene.store.peek().await.users.0.len(), 1);
}

#[tokio::test]
async fn an_address_that_got_an_account_meanwhile_gets_no_second() {
    let scene = Scene::new();
    scene.account("ada@example.org", PASSWORD).await;
    // Registered, and its mail composed, just before the account came to be.
    let account = std::mem::take(&mut scene.store.peek().await.credentials);
    scene.register("ada@example.org", OTHER_PASSWORD).await.unwrap();
    let token = token_of(&scene.run_jobs().await[0]);
    scene.store.peek().await.credentials = account;

    assert_eq!(code(scene.verify(&token).await), Code::InvalidToken);
    scene.login("ada@example.org", PASSWORD).await.unwrap();
    assert_eq!(scene.store.peek().await.users.0.len(), 1);
}

#[tokio::test]
async fn the_mail_can_be_sent_again_while_the_registration_waits() {
    let scene = Scene::new();
    scene.register("ada@example.org", PASSWORD).await.unwrap();
    let first = token_of(&scene.run_jobs().await[0]);
    scene.advance(3_600);
    assert_eq!(code(scene.verify(&first).await), Code::InvalidToken);
    scene
        .service
        .resend_verification(&context("192.0.2.1"), address("ADA@example.org"))
        .await
        .unwrap();
    let mails = scene.run_jobs().await;
    assert_eq!(mails.len(), 1);
    assert_eq!(scene.store.ledger().completed.len(), 1, "the job ended with what it stored");
    scene.verify(&token_of(&mails[0])).await.unwrap();
}

#[tokio::test]
async fn asking_for_the_mail_again_tells_nothing() {
    let scene = Scene::new();
    scene.account("ada@example.org", PASSWORD).await;
    for email in ["ada@example.org", "stranger@example.org"] {
        scene.service.resend_verification(&context("192.0.2.1"), address(email)).await.unwrap();
        let jobs = scene.store.ledger().jobs;
        assert_eq!(jobs.len(), 1);
        assert!(!jobs[0].payload.to_string().contains("example"));
        assert_eq!(scene.run_jobs().await, []);
    }
}

#[tokio::test]
async fn of_many_registrations_of_an_address_the_newest_three_are_mailed_again() {
    let scene = Scene::new();
    for _ in 0..5 {
        scene.register("ada@example.org", PASSWORD).await.unwrap();
        scene.advance(1);
    }
    scene.run_jobs().await;
    scene
        .service
        .resend_verification(&context("192.0.2.1"), address("ada@example.org"))
        .await
        .unwrap();
    assert_eq!(scene.run_jobs().await.len(), 3);
}

#[tokio::test]
async fn an_address_is_not_flooded() {
    let scene = Scene::new();
    for _ in 0..10 {
        scene.register("ada@example.org", PASSWORD).await.unwrap();
    }
    let refused = scene.register("Ada@Example.org", PASSWORD).await.unwrap_err();
    assert_eq!(refused.code, Code::RateLimited);
    assert_eq!(refused.retry_after.unwrap().as_secs(), 360);
    scene.register("eve@example.org", PASSWORD).await.unwrap();

    for _ in 0..3 {
        scene
            .service
            .resend_verification(&context("192.0.2.1"), address("ada@example.org"))
            .await
            .unwrap();
    }
    let refused = scene
        .service
        .resend_verification(&context("192.0.2.9"), address("ada@example.org"))
        .await
        .unwrap_err();
    assert_eq!((refused.code, refused.retry_after.unwrap().as_secs()), (Code::RateLimited, 3_600));
}

#[tokio::test]
async fn a_failure_at_any_step_leaves_nothing() {
    let scene = Scene::unlimited();
    scene.survives_each_failure(async || scene.register("ada@example.org", PASSWORD).await).await;
    let token = token_of(&scene.run_jobs().await[0]);
    scene.survives_each_failure(async || scene.verify(&token).await).await;
    assert_eq!(scene.store.ledger().events.len(), 1);
    scene.login("ada@example.org", PASSWORD).await.unwrap();
}

#[tokio::test]
async fn a_full_hashing_pool_is_overload() {
    let scene = Scene::new();
    scene.passwords.set_busy(true);
    let refused = scene.register("ada@example.org", PASSWORD).await.unwrap_err();
    assert_eq!(refused.code, Code::Overloaded);
    assert!(refused.retry_after.is_some());
}
