//! Many deliveries sent again, and tests.

use std::collections::HashMap;

use convene_application::kernel::error::Code;
use convene_application::kernel::jobs::Outcome;
use convene_application::webhook::ReplayInput;
use convene_application::webhook::ports::Replay;
use convene_contracts::WebhookBody;
use convene_contracts::webhook::WebhookTest;
use convene_domain::ids::WebhookId;
use convene_domain::webhook::{DeliveryStatus, EndpointStatus, ReplayScope, ReplayStatus};
use convene_testkit::fake::Caller;
use convene_testkit::fake::webhook::answer;
use jiff::Timestamp;

use crate::scene::{Scene, code, fresh, header};

async fn begin(
    scene: &Scene,
    webhook: WebhookId,
    scope: ReplayScope,
    since: Option<Timestamp>,
) -> Result<Replay, convene_application::kernel::error::Failure> {
    let Caller { context, principal } = &scene.owner;
    let input = Ok(ReplayInput { scope, since });
    let service = &scene.service;
    service.replay(context, *principal, &scene.target(), webhook, input, None).await.map(fresh)
}

/// Runs the job of a replay until it is done, and returns how often it ran and what became of the replay.
async fn carry_out(scene: &Scene, replay: &Replay) -> (usize, Replay) {
    let jobs = scene.store.take_jobs();
    let job = jobs.iter().find(|job| job.kind == "webhook.replay").expect("a job carries it out");
    assert_eq!(job.unique_key, Some(replay.id.to_string()));
    let mut runs = 1;
    while let Outcome::Snooze(wait) = scene.run(job).await {
        assert!(wait.is_zero() && runs < 100);
        runs += 1;
    }
    let (principal, target) = (scene.owner.principal, scene.target());
    let replay = scene.service.get_replay(principal, &target, replay.webhook, replay.id).await;
    (runs, replay.unwrap())
}

/// So many deliveries that have ended that way.
async fn delivered(scene: &Scene, webhook: WebhookId, count: usize, status: u16) {
    scene.receiver.answer_always(answer(status));
    for _ in 0..count {
        scene.advance(1);
        scene.publish(&scene.confirmed()).await;
    }
    scene.drain_to_the_end(webhook).await;
    // Failed as they are, not all of them are exhausted: the endpoint may be disabled before.
    let end = if status == 204 { DeliveryStatus::Succeeded } else { DeliveryStatus::Failed };
    for row in scene.store.peek().await.deliveries.values_mut() {
        if row.status == DeliveryStatus::Pending {
            (row.status, row.next_attempt_at, row.started_at) = (end, None, None);
        }
    }
    for (endpoint, _) in scene.store.peek().await.endpoints.values_mut() {
        endpoint.status = EndpointStatus::Enabled;
        endpoint.health = convene_domain::webhook::Health::default();
    }
    scene.store.take_jobs();
    scene.receiver.take();
    scene.receiver.answer_always(answer(204));
}

async fn count(scene: &Scene, status: DeliveryStatus) -> usize {
    let store = scene.store.peek().await;
    store.deliveries.values().filter(|row| row.status == status).count()
}

#[tokio::test]
async fn what_failed_is_sent_again_and_nothing_else() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["*"]).await;
    delivered(&scene, endpoint.id, 3, 204).await;
    delivered(&scene, endpoint.id, 2, 500).await;
    scene.advance(1);
    let replay = begin(&scene, endpoint.id, ReplayScope::Failed, Some(endpoint.created_at)).await;
    let replay = replay.unwrap();
    assert_eq!((replay.status, replay.ended_at), (ReplayStatus::Running, None));
    let (runs, done) = carry_out(&scene, &replay).await;
    assert_eq!((runs, done.redelivered, done.status), (1, 2, ReplayStatus::Completed));
    assert_eq!(done.ended_at, Some(scene.env.now()));
    assert_eq!(count(&scene, DeliveryStatus::Pending).await, 2);

    let ended = scene.run_jobs().await;
    assert!(matches!(ended.as_slice(), [("webhook.drain", Outcome::Settled)]), "{ended:?}");
    assert_eq!(scene.receiver.take().len(), 2);
    assert_eq!(count(&scene, DeliveryStatus::Succeeded).await, 5);
    let audit = scene.store.ledger().audit.pop().unwrap();
    assert_eq!((audit.action, audit.changed["scope"].as_str()), ("webhook.replay", Some("failed")));
}

#[tokio::test]
async fn many_are_sent_again_in_steps() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["*"]).await;
    delivered(&scene, endpoint.id, 1_100, 204).await;
    let since = {
        let store = scene.store.peek().await;
        store.deliveries.values().nth(50).unwrap().created_at
    };
    scene.advance(1);
    let replay = begin(&scene, endpoint.id, ReplayScope::All, Some(since)).await.unwrap();
    // What is made later is left alone.
    scene.publish(&scene.confirmed()).await;
    let (runs, done) = carry_out(&scene, &replay).await;
    assert_eq!((runs, done.redelivered), (3, 1_050));
    assert_eq!(count(&scene, DeliveryStatus::Pending).await, 1_051);
}

#[tokio::test]
async fn what_was_never_made_is_made() {
    let scene = Scene::new().await;
    let before = scene.confirmed();
    scene.advance(1);
    let endpoint = scene.endpoint(&["rsvp.*"]).await;
    let other = scene.endpoint(&["event.created"]).await;
    let taken = scene.confirmed();
    scene.publish(&taken).await;
    scene.record(&before);
    scene.record(&taken);
    let mut missed = Vec::new();
    for _ in 0..600 {
        scene.advance(1);
        let event = scene.confirmed();
        scene.record(&event);
        missed.push(event);
    }
    scene.advance(1);
    scene.store.take_jobs();
    let replay = begin(&scene, endpoint.id, ReplayScope::Missing, None).await.unwrap();
    assert_eq!(replay.since, endpoint.created_at);
    // The fan-out has it, or will.
    scene.record(&scene.confirmed());
    let (runs, done) = carry_out(&scene, &replay).await;
    assert_eq!((runs, done.redelivered, done.status), (2, 600, ReplayStatus::Completed));
    let made: HashMap<_, _> = {
        let store = scene.store.peek().await;
        assert!(store.deliveries.values().all(|row| row.endpoint == endpoint.id));
        store.deliveries.values().map(|row| (row.event_id, row.created_at)).collect()
    };
    assert_eq!(made.len(), 601);
    let times: Vec<_> = missed.iter().map(|event| made[&event.id]).collect();
    // A step takes 500 events of the log, two of which were none for it.
    assert!(times[..498].is_sorted() && times[498..].is_sorted(), "they are sent in their order");
    assert!(!made.contains_key(&before.id));

    // None is missing any more, and the fan-out makes no second one.
    scene.advance(1);
    let replay = begin(&scene, endpoint.id, ReplayScope::Missing, None).await.unwrap();
    scene.publish(&missed[0]).await;
    assert_eq!(carry_out(&scene, &replay).await.1.redelivered, 1, "the last one alone");
    let unwanted = begin(&scene, other.id, ReplayScope::Missing, None).await.unwrap();
    assert_eq!(carry_out(&scene, &unwanted).await.1.redelivered, 0);
}

#[tokio::test]
async fn a_replay_that_is_stopped_goes_no_further() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["*"]).await;
    delivered(&scene, endpoint.id, 600, 204).await;
    scene.advance(1);
    let since = Some(endpoint.created_at);
    let replay = begin(&scene, endpoint.id, ReplayScope::All, since).await.unwrap();
    let job = scene.store.take_jobs().remove(0);
    assert!(matches!(scene.run(&job).await, Outcome::Snooze(_)));
    let (Caller { context, principal }, target) = (&scene.admin, scene.target());
    let cancel = async |webhook| {
        let service = &scene.service;
        service.cancel_replay(context, *principal, &target, webhook, replay.id, None).await
    };
    let other = scene.endpoint(&["*"]).await;
    assert_eq!(code(cancel(other.id).await), Code::NotFound);
    let cancelled = fresh(cancel(endpoint.id).await.unwrap());
    assert_eq!((cancelled.status, cancelled.redelivered), (ReplayStatus::Cancelled, 500));
    assert!(matches!(scene.run(&job).await, Outcome::Done));
    assert_eq!(count(&scene, DeliveryStatus::Pending).await, 500);
    scene.advance(1);
    assert_eq!(fresh(cancel(endpoint.id).await.unwrap()), cancelled, "again");
}

#[tokio::test]
async fn everything_is_not_sent_again_by_accident() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["*"]).await;
    for scope in [ReplayScope::Failed, ReplayScope::All] {
        let refused = begin(&scene, endpoint.id, scope, None).await.unwrap_err();
        assert_eq!((refused.code, refused.errors[0].code), (Code::ValidationFailed, "required"));
    }
    let absent = endpoint.id;
    scene
        .service
        .delete(
            &scene.owner.context,
            scene.owner.principal,
            &scene.target(),
            absent,
            &crate::scene::any(),
            None,
        )
        .await
        .unwrap();
    let refused = begin(&scene, absent, ReplayScope::Missing, None).await;
    assert_eq!(code(refused), Code::NotFound);
}

#[tokio::test]
async fn a_test_takes_the_way_of_every_webhook() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["event.created"]).await;
    let (Caller { context, principal }, target) = (&scene.owner, scene.target());
    let test = async || {
        let sent = scene.service.test(context, *principal, &target, endpoint.id, None).await;
        fresh(sent.unwrap())
    };
    scene.receiver.answer_once(answer(500));
    let view = test().await;
    assert_eq!((view.event_type.as_str(), view.status), ("webhook.test", DeliveryStatus::Pending));
    scene.drain_to_the_end(endpoint.id).await;
    let received = scene.receiver.take();
    assert_eq!(received.len(), 2, "it is attempted again");
    assert_eq!(header(&received[0], "webhook-id"), view.id.to_string());
    let body: WebhookBody<WebhookTest> = serde_json::from_slice(&received[0].body).unwrap();
    assert_eq!((body.id, body.r#type.as_str(), body.version), (view.event_id, "webhook.test", 1));
    assert_eq!(body.data.webhook_id.to_string(), endpoint.id.to_string());
    assert_eq!(body.data.community_id.to_string(), scene.community.to_string());

    let listed = scene.deliveries(endpoint.id).await;
    assert_eq!((listed[0].id, listed[0].status), (view.id, DeliveryStatus::Succeeded));
    assert_eq!(listed[0].attempts.len(), 2);
    assert_ne!(test().await.id, view.id, "each is one of its own");
    let audit = scene.store.ledger().audit.pop().unwrap();
    assert_eq!(audit.action, "webhook.test");

    let (since, stats) = scene.service.stats(*principal, &target, endpoint.id).await.unwrap();
    assert_eq!(since, scene.env.now() - jiff::SignedDuration::from_hours(24));
    assert_eq!((stats.pending, stats.succeeded, stats.attempts.failed), (1, 1, 1));
}
