//! Deliveries: on their way, settled, asked for again, swept.

use std::time::Duration;

use bytes::Bytes;
use convene_application::kernel::page::{PageQuery, Travel};
use convene_application::webhook::ports::{AttemptView, SettledAttempt};
use convene_domain::webhook::{DeliveryStatus, EndpointStatus, Health, Next, RateLimit};
use jiff::Timestamp;
use uuid::Uuid;

use super::{CLAIM, Ports, at, community, delivery, endpoint, event, first_page, id, settled};

/// However often it is handed in.
pub async fn an_event_is_delivered_once_to_an_endpoint(ports: &Ports) {
    let (one, other) = (endpoint(10, &["*"], at(0)), endpoint(11, &["*"], at(0)));
    ports.insert(&one).await;
    ports.insert(&other).await;
    let first = delivery(1, at(1));
    ports.deliver(event(7, at(1)), vec![(first, one.id)]).await;
    let to = vec![(delivery(2, at(2)), one.id), (delivery(3, at(2)), other.id)];
    ports.deliver(event(7, at(2)), to).await;
    ports.deliver(event(8, at(3)), vec![(delivery(4, at(3)), one.id)]).await;

    let claimed = ports.claim(one.id, at(9)).await;
    let ids: Vec<_> = claimed.iter().map(|claimed| claimed.id).collect();
    assert_eq!(ids, [first, delivery(4, at(3))]);
    assert_eq!(claimed[0].body, event(7, at(1)).body);
    assert_eq!(claimed[0].event_id, Uuid::from_u128(7));
    assert_eq!(claimed[0].event_type, "rsvp.confirmed");
    assert_eq!(ports.claim(other.id, at(9)).await.len(), 1);
}

/// As many as there is room for.
pub async fn the_longest_due_is_claimed_first(ports: &Ports) {
    let endpoint = endpoint(10, &["*"], at(0));
    ports.insert(&endpoint).await;
    for number in 1..=5 {
        let made_at = at(10 - number as i64);
        ports.deliver(event(number, made_at), vec![(delivery(number, made_at), endpoint.id)]).await;
    }
    let claim = async |now: Timestamp| {
        let claimed = ports.queue.claim(endpoint.id, now, now + CLAIM, 2).await;
        let claimed = claimed.expect("deliveries are claimed");
        let mut numbers: Vec<_> =
            claimed.deliveries.iter().map(|delivery| delivery.event_id.as_u128()).collect();
        numbers.sort_unstable();
        (numbers, claimed.next_due)
    };
    assert_eq!(claim(at(4)).await, (vec![], Some(at(5))));
    assert_eq!(claim(at(8)).await, (vec![4, 5], Some(at(7))));
    assert_eq!(claim(at(8)).await, (vec![2, 3], Some(at(9))));
    assert_eq!(claim(at(8)).await, (vec![], Some(at(9))));
    assert_eq!(claim(at(9)).await, (vec![1], Some(at(38))));
    assert_eq!(claim(at(37)).await, (vec![], Some(at(38))));
}

/// Before anything is sent; and an attempt that nobody settled shows as interrupted once it is followed by another.
pub async fn a_claim_is_the_record_of_an_attempt(ports: &Ports) {
    let endpoint = endpoint(10, &["*"], at(0));
    ports.insert(&endpoint).await;
    let id = delivery(1, at(1));
    ports.deliver(event(7, at(1)), vec![(id, endpoint.id)]).await;
    let view = ports.view(endpoint.id, id).await;
    assert_eq!((view.status, view.in_flight), (DeliveryStatus::Pending, false));
    assert_eq!(view.attempts, []);

    let first = ports.claim(endpoint.id, at(2)).await.remove(0);
    assert_eq!((first.number, first.scheduled), (1, 1));
    let begun = |at| AttemptView {
        at,
        status_code: None,
        duration: None,
        error: None,
        response_head: Bytes::new(),
    };
    let view = ports.view(endpoint.id, id).await;
    assert!(view.in_flight);
    assert_eq!(view.attempts, [begun(at(2))]);

    assert_eq!(ports.claim(endpoint.id, at(31)).await, [], "the claim still holds");
    let second = ports.claim(endpoint.id, at(32)).await.remove(0);
    assert_eq!((second.id, second.number, second.scheduled), (id, 2, 2));
    assert_eq!(second.body, first.body);
    let interrupted = AttemptView { error: Some("interrupted".to_owned()), ..begun(at(2)) };
    assert_eq!(ports.view(endpoint.id, id).await.attempts, [interrupted, begun(at(32))]);
}

/// While an endpoint is disabled or paused; and one that has been pausing gets a single delivery.
pub async fn nothing_is_claimed_that_must_not_be_sent(ports: &Ports) {
    let mut endpoint = endpoint(10, &["*"], at(0));
    ports.insert(&endpoint).await;
    for number in 1..=3 {
        let made_at = at(number as i64);
        ports.deliver(event(number, made_at), vec![(delivery(number, made_at), endpoint.id)]).await;
    }
    endpoint.status = EndpointStatus::Disabled;
    endpoint.rate_limit = RateLimit::per_second(7);
    ports.update(&endpoint).await;
    let claimed = ports.queue.claim(endpoint.id, at(9), at(39), 100).await.expect("it answers");
    assert_eq!((claimed.deliveries, claimed.next_due), (vec![], Some(at(1))));
    let target = claimed.target.expect("the endpoint exists");
    assert_eq!((target.enabled, target.paused_until), (false, None));
    assert_eq!(target.rate_limit, endpoint.rate_limit);
    assert_eq!((target.url, target.sealed_secrets), (endpoint.url.clone(), vec![vec![0, 1, 255]]));

    endpoint.status = EndpointStatus::Enabled;
    endpoint.health.paused_until = Some(at(20));
    endpoint.health.pauses = 1;
    ports.update(&endpoint).await;
    let claimed = ports.queue.claim(endpoint.id, at(19), at(49), 100).await.expect("it answers");
    assert_eq!(claimed.deliveries, []);
    assert_eq!(claimed.target.expect("the endpoint exists").paused_until, Some(at(20)));
    assert_eq!(ports.claim(endpoint.id, at(20)).await.len(), 1);

    endpoint.health = Health::default();
    ports.update(&endpoint).await;
    assert_eq!(ports.claim(endpoint.id, at(20)).await.len(), 2);
}

/// One way or the other.
pub async fn attempts_are_settled(ports: &Ports) {
    let endpoint = endpoint(10, &["*"], at(0));
    ports.insert(&endpoint).await;
    for number in 1..=4 {
        let made_at = at(number as i64);
        ports.deliver(event(number, made_at), vec![(delivery(number, made_at), endpoint.id)]).await;
    }
    let claimed = ports.claim(endpoint.id, at(4)).await;
    let batch: Vec<_> = claimed[..3].iter().map(|claimed| claimed.id).collect();
    let mut tx = ports.uow.begin(Vec::new()).await.expect("a unit of work begins");
    let (locked, others_due) =
        tx.lock_drained(endpoint.id, &batch).await.expect("it is locked").expect("it exists");
    assert_eq!((&locked, others_due), (&endpoint, Some(at(34))), "the fourth is in flight");
    let timed_out = SettledAttempt {
        status_code: None,
        error: Some("timeout".to_owned()),
        ..settled(&claimed[1], Next::RetryAt(at(200)))
    };
    tx.settle_attempts(vec![
        settled(&claimed[0], Next::Succeeded),
        timed_out,
        settled(&claimed[2], Next::Exhausted),
    ]);
    tx.commit().await.expect("attempts are settled");

    let attempt = |status_code, error: Option<&str>| AttemptView {
        at: at(100),
        status_code,
        duration: Some(Duration::from_millis(12)),
        error: error.map(str::to_owned),
        response_head: Bytes::from_static(b"\0\xffthanks"),
    };
    for (claimed, status, attempt) in [
        (&claimed[0], DeliveryStatus::Succeeded, attempt(Some(204), None)),
        (&claimed[1], DeliveryStatus::Pending, attempt(None, Some("timeout"))),
        (&claimed[2], DeliveryStatus::Failed, attempt(Some(500), None)),
    ] {
        let view = ports.view(endpoint.id, claimed.id).await;
        assert_eq!((view.status, view.in_flight), (status, false));
        assert_eq!(view.attempts, [attempt]);
    }
    ports.settle(vec![settled(&claimed[3], Next::Succeeded)]).await;
    assert_eq!(ports.claim(endpoint.id, at(199)).await, []);
    let again = ports.claim(endpoint.id, at(200)).await;
    assert_eq!((again[0].id, again[0].number, again[0].scheduled), (claimed[1].id, 2, 2));
}

/// Its successor counts.
pub async fn an_attempt_that_was_given_up_is_not_settled(ports: &Ports) {
    let endpoint = endpoint(10, &["*"], at(0));
    ports.insert(&endpoint).await;
    let id = delivery(1, at(1));
    ports.deliver(event(7, at(1)), vec![(id, endpoint.id)]).await;
    let late = ports.claim(endpoint.id, at(1)).await.remove(0);
    let current = ports.claim(endpoint.id, at(31)).await.remove(0);
    ports.settle(vec![settled(&late, Next::Exhausted)]).await;
    assert!(ports.view(endpoint.id, id).await.in_flight);
    ports.settle(vec![settled(&current, Next::Succeeded)]).await;
    ports.settle(vec![settled(&current, Next::Exhausted)]).await;
    let view = ports.view(endpoint.id, id).await;
    assert_eq!((view.status, view.attempts.len()), (DeliveryStatus::Succeeded, 2));
}

/// But for the time that passed.
pub async fn a_released_delivery_was_never_claimed(ports: &Ports) {
    let endpoint = endpoint(10, &["*"], at(0));
    ports.insert(&endpoint).await;
    let id = delivery(1, at(1));
    ports.deliver(event(7, at(1)), vec![(id, endpoint.id)]).await;
    ports.claim(endpoint.id, at(1)).await;
    let mut tx = ports.uow.begin(Vec::new()).await.expect("a unit of work begins");
    tx.release_deliveries(vec![id], at(3));
    tx.commit().await.expect("a delivery is released");
    let view = ports.view(endpoint.id, id).await;
    assert_eq!((view.in_flight, view.attempts), (false, vec![]));
    assert_eq!(ports.claim(endpoint.id, at(2)).await, []);
    let claimed = ports.claim(endpoint.id, at(3)).await.remove(0);
    assert_eq!((claimed.number, claimed.scheduled), (1, 1));
}

/// With its schedule from the beginning, or where it was.
pub async fn a_delivery_can_be_asked_for_again(ports: &Ports) {
    let endpoint = endpoint(10, &["*"], at(0));
    ports.insert(&endpoint).await;
    let id = delivery(1, at(1));
    ports.deliver(event(7, at(1)), vec![(id, endpoint.id)]).await;
    let requeue = async |due: Timestamp, afresh: bool| {
        let mut tx = ports.uow.begin(Vec::new()).await.expect("a unit of work begins");
        for (community, webhook) in [(self::id(99), endpoint.id), (community(), self::id(99))] {
            let other = tx.lock_delivery(community, webhook, id).await.expect("it is read");
            assert_eq!(other, None);
        }
        let view = tx.lock_delivery(community(), endpoint.id, id).await.expect("it is locked");
        assert_eq!(view.expect("it exists").attempts.len(), if afresh { 2 } else { 1 });
        tx.requeue_delivery(id, due, afresh);
        tx.commit().await.expect("a delivery is requeued");
    };
    let claimed = ports.claim(endpoint.id, at(1)).await.remove(0);
    ports.settle(vec![settled(&claimed, Next::RetryAt(at(500)))]).await;
    requeue(at(200), false).await;
    let claimed = ports.claim(endpoint.id, at(200)).await.remove(0);
    assert_eq!((claimed.number, claimed.scheduled), (2, 2));
    ports.settle(vec![settled(&claimed, Next::Exhausted)]).await;
    assert_eq!(ports.next_due(endpoint.id).await, None);
    requeue(at(300), true).await;
    assert_eq!(ports.view(endpoint.id, id).await.status, DeliveryStatus::Pending);
    let claimed = ports.claim(endpoint.id, at(300)).await.remove(0);
    assert_eq!((claimed.id, claimed.number, claimed.scheduled), (id, 3, 1));
}

/// Each with all its attempts.
pub async fn deliveries_are_listed_newest_first(ports: &Ports) {
    let endpoint = endpoint(10, &["*"], at(0));
    ports.insert(&endpoint).await;
    for number in 1..=4 {
        let made_at = at(number as i64);
        ports.deliver(event(number, made_at), vec![(delivery(number, made_at), endpoint.id)]).await;
    }
    for now in [at(9), at(50)] {
        let claimed = ports.claim(endpoint.id, now).await;
        let retry = Next::RetryAt(now);
        ports.settle(claimed.iter().map(|claimed| settled(claimed, retry)).collect()).await;
    }
    let list = async |travel| {
        let query = PageQuery { limit: 3, travel };
        let page = ports.reads.deliveries(community(), endpoint.id, query).await;
        let page = page.expect("deliveries are listed").expect("the endpoint exists");
        assert!(page.items.iter().all(|view| view.attempts.len() == 2));
        let numbers: Vec<_> = page.items.iter().map(|view| view.event_id.as_u128()).collect();
        (numbers, page)
    };
    let (numbers, page) = list(Travel::First).await;
    assert_eq!((numbers, page.has_more), (vec![4, 3, 2], true));
    let (numbers, last) = list(Travel::After(page.next.expect("there is more"))).await;
    assert_eq!((numbers, last.has_more), (vec![1], false));
    let (numbers, _) = list(Travel::Before(last.prev.expect("there is a page before"))).await;
    assert_eq!(numbers, [4, 3, 2]);
    for (community, webhook) in [(id(99), endpoint.id), (community(), id(99))] {
        let other = ports.reads.deliveries(community, webhook, first_page()).await;
        assert_eq!(other.expect("deliveries are listed"), None);
    }
}

/// In steps, and not before it.
pub async fn deliveries_go_with_their_endpoint(ports: &Ports) {
    let endpoint = endpoint(10, &["*"], at(0));
    ports.insert(&endpoint).await;
    for number in 1..=3 {
        let made_at = at(number as i64);
        ports.deliver(event(number, made_at), vec![(delivery(number, made_at), endpoint.id)]).await;
    }
    let claimed = ports.claim(endpoint.id, at(9)).await;
    ports.settle(claimed.iter().map(|claimed| settled(claimed, Next::Succeeded)).collect()).await;
    assert_eq!(ports.queue.purge(endpoint.id, 2).await.expect("it answers"), 0);

    let mut tx = ports.uow.begin(Vec::new()).await.expect("a unit of work begins");
    tx.delete_endpoint(endpoint.id);
    tx.commit().await.expect("an endpoint is deleted");
    let claimed = ports.queue.claim(endpoint.id, at(9), at(39), 100).await.expect("it answers");
    assert_eq!((claimed.target, claimed.deliveries), (None, vec![]));
    for left in [2, 1, 0] {
        assert_eq!(ports.queue.purge(endpoint.id, 2).await.expect("it answers"), left);
    }
}

/// By the time they were made, however they stand.
pub async fn old_deliveries_are_swept(ports: &Ports) {
    let endpoint = endpoint(10, &["*"], at(0));
    ports.insert(&endpoint).await;
    for number in 1..=4 {
        let made_at = at(number as i64);
        ports.deliver(event(number, made_at), vec![(delivery(number, made_at), endpoint.id)]).await;
    }
    for left in [2, 1, 0] {
        assert_eq!(ports.queue.sweep(at(4), 2).await.expect("it answers"), left);
    }
    assert_eq!(ports.claim(endpoint.id, at(9)).await.len(), 1);
}
