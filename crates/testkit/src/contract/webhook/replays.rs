//! Many deliveries sent again, and figures about them.

use std::collections::HashSet;
use std::time::Duration;

use convene_application::kernel::page::PageKey;
use convene_application::webhook::ports::{AttemptStats, EndpointStats, Replay, SettledAttempt};
use convene_domain::ids::{ReplayId, TypedId as _};
use convene_domain::webhook::{DeliveryStatus, Next, ReplayScope, ReplayStatus};
use uuid::Uuid;

use super::{Ports, at, community, delivery, endpoint, event, id, settled};

fn replay(number: u128, scope: ReplayScope) -> Replay {
    Replay {
        id: id(number),
        community: community(),
        webhook: id(10),
        scope,
        since: at(2),
        status: ReplayStatus::Running,
        redelivered: 0,
        cursor: None,
        created_at: at(60),
        ended_at: None,
    }
}

impl Ports {
    async fn begin_replay(&self, replay: &Replay) {
        let mut tx = self.uow.begin(Vec::new()).await.expect("a unit of work begins");
        tx.insert_replay(replay);
        tx.commit().await.expect("a replay is inserted");
    }
}

/// And go with their endpoint, or when they are old.
pub async fn replays_are_kept_as_they_are(ports: &Ports) {
    let endpoint = endpoint(10, &["*"], at(0));
    ports.insert(&endpoint).await;
    let read = async |id: ReplayId| ports.reads.replay(id).await.expect("it is read");
    let mut replay = replay(20, ReplayScope::Missing);
    ports.begin_replay(&replay).await;
    assert_eq!(read(replay.id).await.as_ref(), Some(&replay));
    assert_eq!(read(id(99)).await, None);

    replay.status = ReplayStatus::Cancelled;
    replay.redelivered = 700;
    replay.cursor = Some(PageKey { sort: 12, id: Uuid::from_u128(8) });
    replay.ended_at = Some(at(61));
    let mut tx = ports.uow.begin(Vec::new()).await.expect("a unit of work begins");
    assert_eq!(tx.lock_replay(id(99)).await.expect("it is read"), None);
    let locked = tx.lock_replay(replay.id).await.expect("it is locked").expect("it exists");
    assert_eq!(locked.0, endpoint);
    tx.update_replay(&replay);
    tx.commit().await.expect("it is updated");
    assert_eq!(read(replay.id).await.as_ref(), Some(&replay));

    let running = self::replay(21, ReplayScope::All);
    ports.begin_replay(&running).await;
    ports.queue.sweep(at(60), 10).await.expect("it answers");
    assert!(read(replay.id).await.is_some(), "it is not old yet");
    ports.queue.sweep(at(61), 10).await.expect("it answers");
    assert_eq!(read(replay.id).await, None);
    assert_eq!(read(running.id).await, Some(running.clone()), "it has not ended");

    let mut tx = ports.uow.begin(Vec::new()).await.expect("a unit of work begins");
    tx.delete_endpoint(endpoint.id);
    tx.commit().await.expect("an endpoint is deleted");
    assert_eq!(read(running.id).await, None);
}

/// The oldest first, from where it was.
pub async fn a_replay_goes_over_what_was_made_before_it(ports: &Ports) {
    let endpoint = endpoint(10, &["*"], at(0));
    ports.insert(&endpoint).await;
    ports.insert(&super::endpoint(11, &["*"], at(0))).await;
    for number in 1..=6 {
        let made_at = at(if number == 6 { 60 } else { number as i64 });
        let to = vec![(delivery(number, made_at), endpoint.id)];
        ports.deliver(event(number, made_at), to).await;
    }
    ports.deliver(event(7, at(3)), vec![(delivery(7, at(3)), id(11))]).await;
    // 1, 2 and 4 failed, 3 succeeded, 5 is in flight, and 6 is not due.
    let claimed = ports.claim(endpoint.id, at(5)).await;
    assert_eq!(claimed.len(), 5);
    let next = [Next::Exhausted, Next::Exhausted, Next::Succeeded, Next::Exhausted];
    let attempts = claimed.iter().zip(next).map(|(claimed, next)| settled(claimed, next));
    ports.settle(attempts.collect()).await;

    for (number, scope, expected) in [
        (20, ReplayScope::Failed, vec![(2, false), (4, false)]),
        (21, ReplayScope::All, vec![(2, false), (3, false), (4, false), (5, true)]),
    ] {
        let mut replay = replay(number, scope);
        ports.begin_replay(&replay).await;
        let mut seen = Vec::new();
        loop {
            let mut tx = ports.uow.begin(Vec::new()).await.expect("a unit of work begins");
            let made = tx.lock_made(&replay, 3).await.expect("they are locked");
            let Some(last) = made.last() else { break };
            replay.cursor = Some(last.place);
            let number = |id: Uuid| id.as_u128() & 0xff;
            seen.extend(made.iter().map(|made| (number(made.delivery.uuid()), made.in_flight)));
        }
        assert_eq!(seen, expected, "{scope:?}");
    }

    let mut tx = ports.uow.begin(Vec::new()).await.expect("a unit of work begins");
    let replay = tx.lock_replay(id(20)).await.expect("it is locked").expect("it exists").1;
    let made = tx.lock_made(&replay, 500).await.expect("they are locked");
    tx.requeue_deliveries(made.iter().map(|made| made.delivery).collect(), at(70));
    tx.commit().await.expect("they are requeued");
    for (number, status) in [
        (1, DeliveryStatus::Failed),
        (2, DeliveryStatus::Pending),
        (3, DeliveryStatus::Succeeded),
        (4, DeliveryStatus::Pending),
    ] {
        let view = ports.view(endpoint.id, delivery(number, at(number as i64))).await;
        assert_eq!(view.status, status, "{number}");
    }
    let again = ports.claim(endpoint.id, at(70)).await;
    let again = again.iter().filter(|again| [2, 4].contains(&again.event_id.as_u128()));
    assert!(again.map(|again| (again.number, again.scheduled)).eq([(2, 1), (2, 1)]));

    let mut tx = ports.uow.begin(Vec::new()).await.expect("a unit of work begins");
    let asked = [3, 7, 8].map(Uuid::from_u128);
    let delivered = tx.delivered(endpoint.id, &asked).await.expect("they are read");
    assert_eq!(delivered, HashSet::from([Uuid::from_u128(3)]));
    assert_eq!(tx.delivered(endpoint.id, &[]).await.expect("they are read"), HashSet::new());
}

/// Of one endpoint, and of a bounded number.
pub async fn figures_tell_of_the_newest_deliveries(ports: &Ports) {
    let endpoint = endpoint(10, &["*"], at(0));
    ports.insert(&endpoint).await;
    let stats = async |since, limit| {
        let stats = ports.reads.stats(community(), endpoint.id, at(since), limit).await;
        stats.expect("they are read").expect("the endpoint exists")
    };
    assert_eq!(stats(0, 10).await, EndpointStats::default());
    for number in 1..=6 {
        let made_at = at(number as i64);
        ports.deliver(event(number, made_at), vec![(delivery(number, made_at), endpoint.id)]).await;
    }
    let claimed = ports.claim(endpoint.id, at(6)).await;
    let answers = [(Some(204), None), (Some(200), Some("timeout")), (Some(301), None)];
    let answers = answers.into_iter().chain([(Some(404), None), (Some(503), None)]);
    let attempts = claimed.iter().zip(answers).zip(1..).map(|((claimed, answer), number)| {
        let next = if answer == (Some(204), None) { Next::Succeeded } else { Next::Exhausted };
        SettledAttempt {
            status_code: answer.0,
            error: answer.1.map(str::to_owned),
            duration: Duration::from_millis(number * 10),
            ..settled(claimed, next)
        }
    });
    ports.settle(attempts.collect()).await;
    let attempts = AttemptStats { taken: 1, redirected: 1, refused: 1, failed: 1, unanswered: 1 };
    let all = EndpointStats {
        pending: 1,
        succeeded: 1,
        failed: 4,
        attempts,
        p50_ms: Some(30),
        p95_ms: Some(50),
    };
    assert_eq!(stats(0, 10).await, all);
    assert_eq!((all.deliveries(), all.attempts.total()), (6, 5));
    let newest = EndpointStats {
        pending: 1,
        succeeded: 0,
        failed: 1,
        attempts: AttemptStats { failed: 1, ..AttemptStats::default() },
        p50_ms: Some(50),
        p95_ms: Some(50),
    };
    assert_eq!(stats(0, 2).await, newest);
    assert_eq!(stats(5, 10).await, newest);
    for (community, webhook) in [(id(99), endpoint.id), (community(), id(99))] {
        let none = ports.reads.stats(community, webhook, at(0), 10).await;
        assert_eq!(none.expect("they are read"), None);
    }
}
