//! From an event to a receiver that takes it.

use std::collections::HashSet;
use std::sync::Arc;

use convene_application::kernel::consume::Intake;
use convene_application::kernel::context::RequestContext;
use convene_application::kernel::events::{Consumer, LoggedEvent, NotConsumed};
use convene_application::kernel::jobs::Outcome;
use convene_application::webhook::ports::DeliveryView;
use convene_contracts::rsvp::RsvpConfirmed;
use convene_contracts::user::UserRegistered;
use convene_contracts::{CloudEvent, EventPayload as _, WebhookBody};
use convene_domain::ids::{RsvpId, TypedId as _, UserId};
use convene_domain::webhook::DeliveryStatus;
use convene_testkit::fake::FakePlatform;
use convene_testkit::fake::webhook::answer;
use jiff::SignedDuration;
use uuid::Uuid;

use crate::scene::{Scene, header, json, logged};

#[tokio::test]
async fn an_event_arrives_signed_at_those_who_want_it() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["rsvp.*"]).await;
    let other = scene.endpoint(&["event.created"]).await;
    let event = scene.confirmed();
    scene.publish(&event).await;
    scene.advance(2);
    let ended = scene.run_jobs().await;
    assert!(matches!(ended.as_slice(), [("webhook.drain", Outcome::Settled)]), "{ended:?}");

    let received = scene.receiver.take();
    let [request] = received.as_slice() else { panic!("{received:?}") };
    assert_eq!(request.url, "https://hooks.example/crm");
    let envelope: CloudEvent = serde_json::from_slice(&event.envelope).unwrap();
    assert_eq!(json(&request.body), serde_json::to_value(WebhookBody::from(&envelope)).unwrap());
    let body: WebhookBody = serde_json::from_slice(&request.body).unwrap();
    assert_eq!((body.id, body.version), (event.id, 1));
    assert_eq!(body.decode::<RsvpConfirmed>().unwrap(), RsvpConfirmed::example());

    let view = scene.deliveries(endpoint.id).await.remove(0);
    let id = view.id.to_string();
    let timestamp = scene.env.now().as_second().to_string();
    assert_eq!(header(request, "content-type"), "application/json");
    assert_eq!(header(request, "webhook-id"), id);
    assert_eq!(header(request, "webhook-timestamp"), timestamp);
    let signed = format!("v1,whsec_0/{id}.{timestamp}.{}", request.body.len());
    assert_eq!(header(request, "webhook-signature"), signed);

    assert_eq!((view.event_id, view.event_type.as_str()), (event.id, "rsvp.confirmed"));
    assert_eq!((view.status, view.in_flight), (DeliveryStatus::Succeeded, false));
    let attempt = &view.attempts[0];
    assert_eq!((attempt.at, attempt.status_code), (scene.env.now(), Some(204)));
    assert_eq!(attempt.duration.unwrap().as_millis(), 12);
    assert!(scene.deliveries(other.id).await.is_empty());
    assert_eq!(scene.store.ledger().completed.len(), 1, "the job ended with the last delivery");
}

#[tokio::test]
async fn the_job_carries_its_community_and_the_request_that_caused_the_event() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["*"]).await;
    scene.publish(&scene.confirmed()).await;
    let job = scene.store.take_jobs().remove(0);
    assert_eq!(job.unique_key, Some(endpoint.id.to_string()));
    assert_eq!(job.group, Some(format!("community:{}", endpoint.community)));
    assert_eq!(job.correlation_id.as_deref(), Some("req-test"));
    assert_eq!(job.traceparent.as_deref(), Some("00-trace"));
}

#[tokio::test]
async fn an_event_has_one_delivery_however_often_it_is_handed_in() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["*", "rsvp.confirmed"]).await;
    let event = scene.confirmed();
    for _ in 0..3 {
        scene.publish(&event).await;
    }
    assert_eq!(scene.deliveries(endpoint.id).await.len(), 1);
    assert_eq!(scene.store.take_jobs().len(), 1);
    assert!(scene.store.ledger().consumed.contains(&("webhook.fanout", event.id, 0)));
}

#[tokio::test]
async fn events_that_are_taken_together_have_one_delivery_each_and_keep_their_order() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["*"]).await;
    let events: Vec<_> = (0..20).map(|_| scene.confirmed()).collect();
    scene.fan_out.consume_all(&events.iter().collect::<Vec<_>>()).await.unwrap();
    let delivered: Vec<_> =
        scene.deliveries(endpoint.id).await.iter().rev().map(|view| view.event_id).collect();
    assert_eq!(delivered, events.iter().map(|event| event.id).collect::<Vec<_>>());
}

#[tokio::test]
async fn events_of_which_one_was_taken_or_cannot_be_are_taken_one_by_one() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["*"]).await;
    let mut events: Vec<_> = (0..64).map(|_| scene.confirmed()).collect();
    scene.publish(&events[7]).await;
    events[40].envelope = "{}".into();
    let jobs = FakePlatform::default();
    let fan_out: Arc<dyn Consumer> = scene.fan_out.clone();
    let intake = Intake::new(vec![fan_out], Arc::new(jobs.clone())).unwrap();
    let all: Vec<_> = events.iter().collect();
    for _ in 0..2 {
        intake.take_all(&intake.subscriptions()[0], &all).await.unwrap();
        let delivered: HashSet<_> =
            scene.deliveries(endpoint.id).await.iter().map(|view| view.event_id).collect();
        assert_eq!(delivered.len(), 63);
        assert!(!delivered.contains(&events[40].id));
        assert_eq!(jobs.live_jobs().len(), 1, "the one that failed is tried again as a job");
    }
}

#[tokio::test]
async fn an_event_that_is_too_large_is_left_out_and_holds_up_nothing() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["*"]).await;
    let mut events: Vec<_> = (0..3).map(|_| scene.confirmed()).collect();
    let mut envelope = json(&events[1].envelope);
    envelope["data"]["note"] = "x".repeat(256 * 1024).into();
    events[1].envelope = serde_json::to_vec(&envelope).unwrap().into();
    scene.fan_out.consume_all(&events.iter().collect::<Vec<_>>()).await.unwrap();
    scene.publish(&events[1]).await;
    let delivered: Vec<_> =
        scene.deliveries(endpoint.id).await.iter().rev().map(|view| view.event_id).collect();
    assert_eq!(delivered, [events[0].id, events[2].id]);
    let taken = ("webhook.fanout", events[1].id, 0);
    assert!(scene.store.ledger().consumed.contains(&taken), "it does not come again");
}

#[tokio::test]
async fn an_endpoint_gets_what_is_recorded_after_it_was_made() {
    let scene = Scene::new().await;
    let before = scene.confirmed();
    scene.clock.advance(SignedDuration::from_micros(1));
    let endpoint = scene.endpoint(&["*"]).await;
    let after = scene.confirmed();
    scene.publish(&before).await;
    scene.publish(&after).await;
    let delivered: Vec<_> =
        scene.deliveries(endpoint.id).await.iter().map(|view| view.event_id).collect();
    assert_eq!(delivered, [after.id]);
}

#[tokio::test]
async fn what_is_of_no_community_or_another_reaches_nobody() {
    let scene = Scene::new().await;
    scene.endpoint(&["*"]).await;
    let user = UserId::from_uuid(Uuid::from_u128(1));
    let context = RequestContext::system("req");
    let recorder = scene.env.recorder(&context, scene.env.now(), None);
    scene.publish(&logged(recorder.event(user, 1, UserRegistered::example()))).await;
    let elsewhere = convene_domain::ids::CommunityId::from_uuid(Uuid::from_u128(99));
    let recorder = scene.env.recorder(&context, scene.env.now(), Some(elsewhere));
    let rsvp = RsvpId::from_uuid(Uuid::from_u128(8));
    scene.publish(&logged(recorder.event(rsvp, 1, RsvpConfirmed::example()))).await;
    assert!(scene.store.peek().await.deliveries.is_empty());
    assert!(scene.store.ledger().consumed.is_empty(), "nothing is written for nothing");
}

#[tokio::test]
async fn an_envelope_that_cannot_be_read_is_a_failure() {
    let scene = Scene::new().await;
    scene.endpoint(&["*"]).await;
    let garbled = LoggedEvent { envelope: "{}".into(), ..scene.confirmed() };
    let refused = scene.fan_out.consume(&garbled).await.unwrap_err();
    assert!(matches!(refused, NotConsumed::Poison(_)), "{refused:?}");
    assert!(scene.store.peek().await.deliveries.is_empty());
}

#[tokio::test]
async fn more_than_a_batch_is_sent_in_one_turn() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["*"]).await;
    for _ in 0..10 {
        scene.publish(&scene.confirmed()).await;
    }
    assert!(matches!(scene.drain(endpoint.id).await, Outcome::Settled));
    assert_eq!(scene.receiver.take().len(), 10);
}

#[tokio::test]
async fn what_may_not_have_arrived_is_sent_again_under_the_same_id() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["*"]).await;
    scene.publish(&scene.confirmed()).await;
    // The claim succeeds; the unit of work that settles it cannot begin, as after a kill.
    scene.store.fail_after(1);
    let outcome = scene.drain(endpoint.id).await;
    assert!(matches!(outcome, Outcome::Snooze(_)), "no attempt of the job is spent: {outcome:?}");
    let [attempt] = attempts(&scene, endpoint.id).await;
    assert_eq!((attempt.status_code, attempt.error), (None, None), "it may still be running");

    assert!(
        matches!(scene.drain(endpoint.id).await, Outcome::Snooze(wait) if wait.as_secs() == 30)
    );
    scene.advance(30);
    scene.drain(endpoint.id).await;
    let received = scene.receiver.take();
    let [first, second] = received.as_slice() else { panic!("{received:?}") };
    assert_eq!(header(first, "webhook-id"), header(second, "webhook-id"));
    assert_eq!(first.body, second.body);
    let [interrupted, taken] = attempts(&scene, endpoint.id).await;
    assert_eq!(interrupted.error.as_deref(), Some("interrupted"));
    assert_eq!(taken.status_code, Some(204));
}

#[tokio::test]
async fn what_succeeded_can_be_sent_again() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["*"]).await;
    scene.publish(&scene.confirmed()).await;
    scene.run_jobs().await;
    let view = scene.deliveries(endpoint.id).await.remove(0);
    let resent = scene.resend(endpoint.id, view.id).await;
    assert_eq!(resent, DeliveryView { status: DeliveryStatus::Pending, ..view.clone() });
    scene.advance(1);
    scene.receiver.answer_once(answer(500));
    scene.run_jobs().await;
    let again = scene.deliveries(endpoint.id).await.remove(0);
    assert_eq!((again.status, again.attempts.len()), (DeliveryStatus::Pending, 2));

    // One that waits is due at once, and keeps its place in the schedule.
    scene.resend(endpoint.id, view.id).await;
    scene.run_jobs().await;
    let again = scene.deliveries(endpoint.id).await.remove(0);
    assert_eq!((again.status, again.attempts.len()), (DeliveryStatus::Succeeded, 3));
    let received = scene.receiver.take();
    assert!(received.iter().all(|request| header(request, "webhook-id") == view.id.to_string()));
    let stamps: Vec<_> =
        received.iter().map(|request| header(request, "webhook-timestamp")).collect();
    assert_ne!(stamps[0], stamps[1], "each attempt has its own");
}

#[tokio::test]
async fn what_is_on_its_way_is_left_alone() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["*"]).await;
    scene.publish(&scene.confirmed()).await;
    scene.store.fail_after(1);
    scene.drain(endpoint.id).await;
    scene.store.take_jobs();
    let view = scene.deliveries(endpoint.id).await.remove(0);
    assert!(view.in_flight);
    assert_eq!(scene.resend(endpoint.id, view.id).await, view);
    assert!(scene.store.take_jobs().is_empty());
}

async fn attempts<const N: usize>(
    scene: &Scene,
    webhook: convene_domain::ids::WebhookId,
) -> [convene_application::webhook::ports::AttemptView; N] {
    let view = scene.deliveries(webhook).await.remove(0);
    view.attempts.try_into().unwrap()
}
