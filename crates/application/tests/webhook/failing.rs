//! Receivers that fail: retries, pauses, and the end.

use std::time::Duration;

use convene_application::kernel::jobs::Outcome;
use convene_application::kernel::mail::Message;
use convene_application::webhook::EndpointChange;
use convene_application::webhook::egress::Attempted;
use convene_contracts::EventPayload as _;
use convene_contracts::webhook::{WebhookDeliveryExhausted, WebhookEndpointDisabled};
use convene_domain::ids::WebhookId;
use convene_domain::webhook::{DeliveryStatus, EndpointStatus, Health};
use convene_testkit::fake::webhook::answer;

use crate::scene::{Scene, header, seconds};

async fn status(scene: &Scene, webhook: WebhookId) -> EndpointStatus {
    scene.store.peek().await.endpoints[&webhook].0.status
}

fn enable() -> EndpointChange {
    EndpointChange { status: Some(EndpointStatus::Enabled), ..EndpointChange::default() }
}

#[tokio::test]
async fn a_delivery_is_attempted_ten_times_over_three_days() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["*"]).await;
    let event = scene.confirmed();
    scene.publish(&event).await;
    scene.store.take_jobs();
    scene.receiver.answer_always(answer(500));
    scene.drain_to_the_end(endpoint.id).await;

    let view = scene.deliveries(endpoint.id).await.remove(0);
    assert_eq!((view.status, view.attempts.len()), (DeliveryStatus::Failed, 10));
    let scheduled = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
    for (pair, scheduled) in view.attempts.windows(2).zip(scheduled) {
        let pause = seconds(pair[0].at, pair[1].at);
        let bounds = (scheduled * 8 / 10)..=(scheduled * 12 / 10);
        assert!(bounds.contains(&pause), "{pause} s, not {scheduled} s");
    }
    let received = scene.receiver.take();
    assert!(received.iter().all(|request| header(request, "webhook-id") == view.id.to_string()));

    let [(name, recorded)] = scene.recorded().try_into().unwrap();
    assert_eq!((name, recorded.aggregateversion), ("webhook.delivery_exhausted", 1));
    assert_eq!(recorded.subject, endpoint.id.to_string());
    assert_eq!(recorded.actor.to_string(), "system");
    let data: WebhookDeliveryExhausted = recorded.decode().unwrap();
    assert_eq!(data.delivery_id.as_str(), view.id.to_string());
    assert_eq!((data.event_id, data.last_status), (event.id, Some(500)));

    scene.run_jobs().await;
    let [mail] = scene.mailer.take().try_into().unwrap();
    assert_eq!(mail.to.as_str(), "person-1@example.org");
    let url = "https://hooks.example/crm".to_owned();
    assert_eq!(mail.message, Message::WebhookFailing { url, disabled: false });

    // Asking for it begins the schedule anew, under the same id.
    scene.receiver.answer_once(answer(500));
    scene.receiver.answer_always(answer(200));
    scene.resend(endpoint.id, view.id).await;
    let waits = scene.drain_to_the_end(endpoint.id).await;
    assert!(waits.len() == 1 && (4..=6).contains(&waits[0]), "{waits:?}");
    let again = scene.deliveries(endpoint.id).await.remove(0);
    assert_eq!((again.id, again.status), (view.id, DeliveryStatus::Succeeded));
    assert_eq!(again.attempts.len(), 12);
}

#[tokio::test]
async fn people_get_one_mail_a_day_however_much_fails() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["rsvp.*"]).await;
    for _ in 0..3 {
        scene.publish(&scene.confirmed()).await;
    }
    scene.store.take_jobs();
    scene.receiver.answer_always(answer(500));
    scene.drain_to_the_end(endpoint.id).await;
    let recorded = scene.recorded();
    let versions: Vec<_> = recorded.iter().map(|(_, event)| event.aggregateversion).collect();
    assert_eq!(versions, [1, 2, 3]);
    scene.run_jobs().await;
    assert_eq!(scene.mailer.take().len(), 1);
}

#[tokio::test]
async fn an_url_is_not_mailed_to_who_may_not_see_it_any_more() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["*"]).await;
    scene.publish(&scene.confirmed()).await;
    scene.store.take_jobs();
    scene.receiver.answer_once(answer(410));
    scene.drain(endpoint.id).await;
    scene.world.peek().await.communities.members.clear();
    let ended = scene.run_jobs().await;
    assert!(matches!(ended.as_slice(), [("webhook.mail_failing", Outcome::Done)]), "{ended:?}");
    assert!(scene.mailer.take().is_empty());
}

#[tokio::test]
async fn mail_is_sent_later_when_the_mail_server_is_down() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["*"]).await;
    scene.publish(&scene.confirmed()).await;
    scene.store.take_jobs();
    scene.receiver.answer_once(answer(410));
    scene.drain(endpoint.id).await;
    scene.mailer.set_down(true);
    let ended = scene.run_jobs().await;
    assert!(matches!(ended.as_slice(), [(_, Outcome::Retry(_))]), "{ended:?}");
}

#[tokio::test]
async fn the_failure_to_tell_of_a_failure_is_not_told() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["webhook.*"]).await;
    scene.publish(&scene.event(endpoint.id, WebhookDeliveryExhausted::example())).await;
    scene.store.take_jobs();
    scene.receiver.answer_always(answer(500));
    scene.drain_to_the_end(endpoint.id).await;
    assert_eq!(scene.deliveries(endpoint.id).await[0].status, DeliveryStatus::Failed);
    assert!(scene.recorded().is_empty());
}

#[tokio::test]
async fn redirects_and_broken_exchanges_fail() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["*"]).await;
    let broken =
        |status, error: &str| Attempted { status, error: Some(error.to_owned()), ..answer(200) };
    for failure in [answer(301), broken(None, "timeout"), broken(Some(200), "timeout")] {
        scene.publish(&scene.confirmed()).await;
        scene.store.take_jobs();
        scene.receiver.answer_once(failure.clone());
        assert!(matches!(scene.drain(endpoint.id).await, Outcome::Snooze(_)));
        let view = scene.deliveries(endpoint.id).await.remove(0);
        assert_eq!(view.status, DeliveryStatus::Pending);
        let attempt = &view.attempts[0];
        assert_eq!((attempt.status_code, &attempt.error), (failure.status, &failure.error));
        scene.drain_to_the_end(endpoint.id).await;
        scene.advance(1);
    }
}

#[tokio::test]
async fn a_receiver_that_is_gone_ends_it_and_the_backlog_stays() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["rsvp.*"]).await;
    for _ in 0..6 {
        scene.publish(&scene.confirmed()).await;
    }
    scene.store.take_jobs();
    scene.receiver.answer_always(answer(410));
    assert!(matches!(scene.drain(endpoint.id).await, Outcome::Settled));
    assert_eq!(status(&scene, endpoint.id).await, EndpointStatus::Disabled);
    let sent = scene.receiver.take().len();
    assert!(sent <= 2, "no more than were in flight: {sent}");

    let [(name, recorded)] = scene.recorded().try_into().unwrap();
    assert_eq!((name, recorded.aggregateversion), ("webhook.endpoint_disabled", 1));
    assert_eq!(recorded.decode::<WebhookEndpointDisabled>().unwrap().last_status, Some(410));
    scene.run_jobs().await;
    let [mail] = scene.mailer.take().try_into().unwrap();
    assert!(matches!(mail.message, Message::WebhookFailing { disabled: true, .. }));

    // Nothing is sent while it is disabled, and what happens meanwhile is kept.
    scene.publish(&scene.confirmed()).await;
    let ended = scene.run_jobs().await;
    assert!(matches!(ended.as_slice(), [("webhook.drain", Outcome::Done)]), "{ended:?}");
    assert!(scene.receiver.take().is_empty());

    scene.receiver.answer_always(answer(200));
    let enabled = scene.update(endpoint.id, enable()).await.unwrap();
    assert_eq!((enabled.status, enabled.health), (EndpointStatus::Enabled, Health::default()));
    let jobs = scene.store.take_jobs();
    assert_eq!(jobs.len(), 1);
    scene.drain_to_the_end(endpoint.id).await;
    assert_eq!(scene.receiver.take().len(), 7);
    assert!(
        scene
            .deliveries(endpoint.id)
            .await
            .iter()
            .all(|view| view.status == DeliveryStatus::Succeeded)
    );
}

#[tokio::test]
async fn an_overloaded_receiver_gets_a_pause_and_then_one_at_a_time() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["*"]).await;
    for _ in 0..6 {
        scene.publish(&scene.confirmed()).await;
    }
    scene.store.take_jobs();
    let patience = Attempted { retry_after: Some(Duration::from_secs(90)), ..answer(429) };
    scene.receiver.answer_always(patience);
    let Outcome::Snooze(wait) = scene.drain(endpoint.id).await else { panic!("it waits") };
    assert_eq!(wait.as_secs(), 90);
    let first = scene.receiver.take().len();
    assert!(first <= 2, "no more than were in flight: {first}");
    assert!(matches!(scene.drain(endpoint.id).await, Outcome::Snooze(_)));
    assert!(scene.receiver.take().is_empty());

    scene.advance(90);
    assert!(matches!(scene.drain(endpoint.id).await, Outcome::Snooze(_)));
    assert_eq!(scene.receiver.take().len(), 1, "one goes ahead");
    scene.receiver.answer_always(answer(204));
    scene.advance(90);
    scene.drain_to_the_end(endpoint.id).await;
    assert!(
        scene
            .deliveries(endpoint.id)
            .await
            .iter()
            .all(|view| view.status == DeliveryStatus::Succeeded)
    );
    assert_eq!(scene.store.peek().await.endpoints[&endpoint.id].0.health, Health::default());
}

#[tokio::test]
async fn a_receiver_that_is_away_costs_little_and_nothing_is_lost() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["*"]).await;
    for _ in 0..20 {
        scene.publish(&scene.confirmed()).await;
    }
    scene.store.take_jobs();
    let away =
        Attempted { status: None, error: Some("connection_failed".to_owned()), ..answer(200) };
    scene.receiver.answer_always(away);
    assert!(matches!(scene.drain(endpoint.id).await, Outcome::Snooze(_)));
    let sent = scene.receiver.take().len();
    assert!((5..=9).contains(&sent), "it is spared after a few: {sent}");
    for _ in 0..20 {
        let Outcome::Snooze(wait) = scene.drain(endpoint.id).await else { panic!("it waits") };
        assert!(wait.as_secs() <= 360);
        scene.clock.advance(jiff::SignedDuration::try_from(wait).unwrap());
        assert!(scene.receiver.take().len() <= 1, "one goes ahead");
    }
    scene.receiver.answer_always(answer(204));
    scene.drain_to_the_end(endpoint.id).await;
    let deliveries = scene.deliveries(endpoint.id).await;
    assert!(deliveries.iter().all(|view| view.status == DeliveryStatus::Succeeded));
}

#[tokio::test]
async fn an_endpoint_is_given_up_on_after_five_days_of_failures() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["rsvp.*"]).await;
    scene.receiver.answer_always(answer(500));
    let begun = scene.env.now();
    while status(&scene, endpoint.id).await == EndpointStatus::Enabled {
        scene.publish(&scene.confirmed()).await;
        scene.drain(endpoint.id).await;
        scene.advance(3_600);
        assert!(seconds(begun, scene.env.now()) < 130 * 3_600, "it never ends");
    }
    let ended = seconds(begun, scene.env.now());
    assert!((120 * 3_600..122 * 3_600).contains(&ended), "{ended} s");
    let disabled: Vec<_> = scene
        .recorded()
        .into_iter()
        .filter(|(name, _)| *name == "webhook.endpoint_disabled")
        .collect();
    assert_eq!(disabled.len(), 1);
    assert_eq!(disabled[0].1.decode::<WebhookEndpointDisabled>().unwrap().last_status, Some(500));
}

#[tokio::test]
async fn an_endpoint_that_moves_starts_afresh() {
    let scene = Scene::new().await;
    let endpoint = scene.endpoint(&["*"]).await;
    scene.publish(&scene.confirmed()).await;
    scene.receiver.answer_once(answer(500));
    scene.drain(endpoint.id).await;
    let moved = EndpointChange {
        url: Some("https://hooks.example/new".to_owned()),
        ..EndpointChange::default()
    };
    let moved = scene.update(endpoint.id, moved).await.unwrap();
    assert_eq!(moved.health, Health::default());
    scene.advance(6);
    scene.drain(endpoint.id).await;
    assert_eq!(scene.receiver.take().pop().unwrap().url, "https://hooks.example/new");
}

#[tokio::test]
async fn old_deliveries_are_swept_by_a_duty() {
    let scene = Scene::new().await;
    scene.endpoint(&["*"]).await;
    scene.publish(&scene.confirmed()).await;
    let duty = convene_application::webhook::duty();
    assert!(matches!(scene.run(&duty.job).await, Outcome::Done));
    assert_eq!(scene.store.peek().await.deliveries.len(), 1);
    scene.advance(90 * 86_400 + 1);
    assert!(matches!(scene.run(&duty.job).await, Outcome::Done));
    assert!(scene.store.peek().await.deliveries.is_empty());
}
