//! The store of webhooks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use convene_application::kernel::page::{PageQuery, Travel};
use convene_application::kernel::uow::Uow;
use convene_application::webhook::ports::{
    AttemptView, ClaimedDelivery, DeliveryQueue, FannedEvent, SettledAttempt, Wanted, WebhookReads,
    WebhookTx,
};
use convene_domain::ids::{CommunityId, DeliveryId, TypedId, UserId, WebhookId};
use convene_domain::text::Description;
use convene_domain::webhook::{
    DeliveryStatus, Endpoint, EndpointStatus, EndpointUrl, EventTypes, Health, NewEndpoint, Next,
    patterns_matching,
};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

/// The ports under test, over one empty store.
pub struct Ports {
    /// Units of work.
    pub uow: Uow<dyn WebhookTx>,
    /// Reads.
    pub reads: Arc<dyn WebhookReads>,
    /// Deliveries on their way out.
    pub queue: Arc<dyn DeliveryQueue>,
}

/// Makes a test of each part of the contract. The argument is an expression that makes a future of [`Ports`] and of
/// something that is kept until the test ends.
#[macro_export]
macro_rules! webhook_contract {
    ($ports:expr) => {
        $crate::webhook_contract! { $ports;
            endpoints_are_kept_as_they_are
            endpoints_are_listed_newest_first
            events_reach_those_who_want_them
            an_event_is_delivered_once_to_an_endpoint
            the_longest_due_is_claimed_first
            a_claim_is_the_record_of_an_attempt
            nothing_is_claimed_that_must_not_be_sent
            attempts_are_settled
            an_attempt_that_was_given_up_is_not_settled
            a_released_delivery_was_never_claimed
            a_delivery_can_be_asked_for_again
            deliveries_are_listed_newest_first
            deliveries_go_with_their_endpoint
            old_deliveries_are_swept
        }
    };
    ($ports:expr; $($part:ident)+) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $part() {
            let (ports, _kept) = $ports.await;
            $crate::contract::webhook::$part(&ports).await;
        }
    )+};
}

const CLAIM: SignedDuration = SignedDuration::from_secs(30);

fn at(second: i64) -> Timestamp {
    Timestamp::constant(1_806_580_800, 0) + SignedDuration::from_secs(second)
}

fn id<T: TypedId>(number: u128) -> T {
    T::from_uuid(Uuid::from_u128(number))
}

fn community() -> CommunityId {
    id(1)
}

/// A delivery's id tells when it was made, as every `UUIDv7` does.
fn delivery(number: u128, made_at: Timestamp) -> DeliveryId {
    let millis = u128::try_from(made_at.as_millisecond()).unwrap_or(0);
    id((millis << 80) | (7 << 76) | number)
}

fn endpoint(number: u128, event_types: &[&str], made_at: Timestamp) -> Endpoint {
    let patterns = event_types.iter().map(ToString::to_string).collect();
    let new = NewEndpoint {
        url: EndpointUrl::new(format!("https://hooks.example/{number}")).expect("it is a URL"),
        event_types: EventTypes::new(patterns).expect("there is one"),
        description: None,
    };
    Endpoint::new(id(number), community(), id::<UserId>(2), new, made_at)
}

fn event(number: u128, made_at: Timestamp) -> FannedEvent {
    FannedEvent {
        id: Uuid::from_u128(number),
        event_type: "rsvp.confirmed".to_owned(),
        body: Bytes::from(format!("{{\"number\":{number}}}")),
        at: made_at,
    }
}

fn first_page() -> PageQuery {
    PageQuery { limit: 100, travel: Travel::First }
}

fn settled(claimed: &ClaimedDelivery, next: Next) -> SettledAttempt {
    let status = if next == Next::Succeeded { 204 } else { 500 };
    SettledAttempt {
        delivery: claimed.id,
        number: claimed.number,
        at: at(100),
        status_code: Some(status),
        duration: Duration::from_millis(12),
        error: None,
        response_head: Bytes::from_static(b"\0\xffthanks"),
        next,
    }
}

impl Ports {
    async fn insert(&self, endpoint: &Endpoint) {
        let mut tx = self.uow.begin(Vec::new()).await.expect("a unit of work begins");
        tx.insert_endpoint(endpoint, vec![0, 1, 255]);
        tx.commit().await.expect("an endpoint is inserted");
    }

    async fn update(&self, endpoint: &Endpoint) {
        let mut tx = self.uow.begin(Vec::new()).await.expect("a unit of work begins");
        tx.lock_endpoint(endpoint.community, endpoint.id).await.expect("an endpoint is locked");
        tx.update_endpoint(endpoint);
        tx.commit().await.expect("an endpoint is updated");
    }

    async fn deliver(&self, event: FannedEvent, to: Vec<(DeliveryId, WebhookId)>) {
        let mut tx = self.uow.begin(Vec::new()).await.expect("a unit of work begins");
        tx.insert_deliveries(event, to);
        tx.commit().await.expect("deliveries are inserted");
    }

    async fn settle(&self, attempts: Vec<SettledAttempt>) {
        let mut tx = self.uow.begin(Vec::new()).await.expect("a unit of work begins");
        tx.settle_attempts(attempts);
        tx.commit().await.expect("attempts are settled");
    }

    /// Claims all that is due.
    async fn claim(&self, webhook: WebhookId, now: Timestamp) -> Vec<ClaimedDelivery> {
        let claimed = self.queue.claim(webhook, now, now + CLAIM, 100).await;
        let mut deliveries = claimed.expect("deliveries are claimed").deliveries;
        deliveries.sort_by_key(|delivery| delivery.id);
        deliveries
    }

    async fn next_due(&self, webhook: WebhookId) -> Option<Timestamp> {
        // Nothing is due that early.
        let claimed = self.queue.claim(webhook, at(-1), at(-1), 1).await;
        claimed.expect("the queue answers").next_due
    }

    async fn view(
        &self,
        webhook: WebhookId,
        delivery: DeliveryId,
    ) -> convene_application::webhook::ports::DeliveryView {
        let page = self.reads.deliveries(community(), webhook, first_page()).await;
        let page = page.expect("deliveries are listed").expect("the endpoint exists");
        page.items.into_iter().find(|view| view.id == delivery).expect("the delivery is listed")
    }
}

/// Everything about an endpoint comes back, to its own community alone.
pub async fn endpoints_are_kept_as_they_are(ports: &Ports) {
    let mut endpoint = endpoint(10, &["*", "rsvp.*"], at(0));
    ports.insert(&endpoint).await;
    let read = async || ports.reads.endpoint(community(), endpoint.id).await.expect("it is read");
    assert_eq!(read().await.as_ref(), Some(&endpoint));
    let other = ports.reads.endpoint(id(99), endpoint.id).await;
    assert_eq!(other.expect("it is read"), None);

    endpoint.url = EndpointUrl::new("https://elsewhere.example/").expect("it is a URL");
    endpoint.event_types = EventTypes::new(vec!["event.created".to_owned()]).expect("there is one");
    endpoint.description = Some(Description::new("two\nlines").expect("it is text"));
    endpoint.status = EndpointStatus::Disabled;
    endpoint.health = Health {
        failing_since: Some(at(1)),
        failures: 7,
        paused_until: Some(at(2)),
        pauses: 3,
        noticed_at: Some(at(3)),
    };
    endpoint.version = 4;
    endpoint.updated_at = at(5);
    ports.update(&endpoint).await;
    let read = async || ports.reads.endpoint(community(), endpoint.id).await.expect("it is read");
    assert_eq!(read().await.as_ref(), Some(&endpoint));

    let mut tx = ports.uow.begin(Vec::new()).await.expect("a unit of work begins");
    tx.open().await.expect("it opens");
    let other = tx.lock_endpoint(id(99), endpoint.id).await.expect("it is read");
    assert_eq!(other, None);
    let locked = tx.lock_endpoint(community(), endpoint.id).await.expect("it is locked");
    assert_eq!(locked.as_ref(), Some(&endpoint));
    tx.delete_endpoint(endpoint.id);
    tx.commit().await.expect("it is deleted");
    assert_eq!(read().await, None);
}

/// Pages of endpoints, there and back.
pub async fn endpoints_are_listed_newest_first(ports: &Ports) {
    for number in 10..15 {
        // Two at a time, so that ids break ties.
        ports.insert(&endpoint(number, &["*"], at(number as i64 / 2))).await;
    }
    let list = async |travel| {
        let query = PageQuery { limit: 2, travel };
        let page = ports.reads.endpoints(community(), query).await.expect("endpoints are listed");
        let numbers: Vec<_> = page.items.iter().map(|item| item.id.uuid().as_u128()).collect();
        (numbers, page)
    };
    let (numbers, page) = list(Travel::First).await;
    assert_eq!((numbers, page.prev), (vec![14, 13], None));
    let (numbers, page) = list(Travel::After(page.next.expect("there is more"))).await;
    assert_eq!(numbers, [12, 11]);
    let (numbers, last) = list(Travel::After(page.next.expect("there is more"))).await;
    assert_eq!((numbers, last.has_more, last.next), (vec![10], false, None));
    let (numbers, _) = list(Travel::Before(page.prev.expect("there is a page before"))).await;
    assert_eq!(numbers, [14, 13]);
    let others = ports.reads.endpoints(id(99), first_page()).await.expect("endpoints are listed");
    assert_eq!(others.items, []);
}

/// By pattern, community and time.
pub async fn events_reach_those_who_want_them(ports: &Ports) {
    let mut elsewhere = endpoint(10, &["*"], at(0));
    elsewhere.community = id(99);
    let mut disabled = endpoint(11, &["rsvp.confirmed"], at(0));
    disabled.status = EndpointStatus::Disabled;
    for endpoint in [
        elsewhere,
        disabled,
        endpoint(12, &["event.*", "rsvp.*"], at(0)),
        endpoint(13, &["*"], at(0)),
        endpoint(14, &["rsvp.cancelled", "event.*"], at(0)),
        endpoint(15, &["*"], at(10)),
    ] {
        ports.insert(&endpoint).await;
    }
    let wanted = [
        ("rsvp.confirmed", at(10)),
        ("rsvp.confirmed", at(11)),
        ("event.created", at(0)),
        ("event.created", at(1)),
    ]
    .map(|(event_type, recorded_at)| Wanted {
        community: community(),
        patterns: patterns_matching(event_type),
        recorded_at,
    });
    let wanting = async |events: &[Wanted]| {
        let found = ports.reads.wanting(events).await.expect("endpoints are found").into_iter();
        let numbers = |webhooks: Vec<WebhookId>| -> Vec<u128> {
            webhooks.iter().map(|webhook| webhook.uuid().as_u128()).collect()
        };
        found.map(numbers).collect::<Vec<_>>()
    };
    let expected = [vec![11, 12, 13], vec![11, 12, 13, 15], vec![], vec![12, 13, 14]];
    assert_eq!(wanting(&wanted).await, expected, "each event for itself, in their order");
    assert_eq!(wanting(&wanted[..1]).await, expected[..1]);
    assert_eq!(wanting(&[]).await, Vec::<Vec<u128>>::new());
}

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
    let begun = |at| AttemptView { at, status_code: None, duration: None, error: None };
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
    ports.update(&endpoint).await;
    let claimed = ports.queue.claim(endpoint.id, at(9), at(39), 100).await.expect("it answers");
    assert_eq!((claimed.deliveries, claimed.next_due), (vec![], Some(at(1))));
    let target = claimed.target.expect("the endpoint exists");
    assert_eq!((target.enabled, target.paused_until), (false, None));
    assert_eq!((target.url, target.sealed_secret), (endpoint.url.clone(), vec![0, 1, 255]));

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
