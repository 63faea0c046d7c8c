//! Endpoints, and who wants which event.

use convene_application::kernel::page::{PageQuery, Travel};
use convene_application::webhook::ports::Wanted;
use convene_domain::ids::{TypedId as _, WebhookId};
use convene_domain::text::Description;
use convene_domain::webhook::{
    EndpointStatus, EndpointUrl, EventTypes, Health, RateLimit, Signature, patterns_matching,
};
use jiff::Timestamp;

use super::{Ports, at, community, endpoint, first_page, id};

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
    endpoint.signature = Signature::Ed25519 { public_key: "whpk_AA==".to_owned() };
    endpoint.rate_limit = RateLimit::per_second(1_000);
    endpoint.header_names = vec!["authorization".to_owned(), "x-a".to_owned()];
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

/// Those of before until their time is over, and no more of them than there should be.
pub async fn secrets_are_replaced_and_sign_on_for_a_while(ports: &Ports) {
    let endpoint = endpoint(10, &["*"], at(0));
    ports.insert(&endpoint).await;
    let other = super::endpoint(11, &["*"], at(0));
    ports.insert(&other).await;
    let replace = async |secret: u8, until: Option<Timestamp>| {
        let mut tx = ports.uow.begin(Vec::new()).await.expect("a unit of work begins");
        tx.lock_endpoint(community(), endpoint.id).await.expect("it is locked");
        tx.replace_secret(endpoint.id, vec![secret], until);
        tx.commit().await.expect("the secret is replaced");
    };
    let secrets = async |webhook: WebhookId, now: Timestamp| {
        let claimed = ports.queue.claim(webhook, now, now, 1).await.expect("the queue answers");
        claimed.target.expect("the endpoint exists").sealed_secrets
    };
    replace(1, Some(at(20))).await;
    replace(2, Some(at(10))).await;
    assert_eq!(secrets(endpoint.id, at(9)).await, [vec![2], vec![1], vec![0, 1, 255]]);
    assert_eq!(secrets(endpoint.id, at(10)).await, [vec![2], vec![0, 1, 255]]);
    assert_eq!(secrets(endpoint.id, at(20)).await, [vec![2]]);
    assert_eq!(secrets(other.id, at(9)).await, [vec![0, 1, 255]]);
    assert_eq!(ports.queue.forget_secrets(at(9)).await.expect("it answers"), 0);
    assert_eq!(ports.queue.forget_secrets(at(10)).await.expect("it answers"), 1);
    assert_eq!(secrets(endpoint.id, at(9)).await, [vec![2], vec![0, 1, 255]]);

    for secret in 3..=9 {
        replace(secret, Some(at(100))).await;
    }
    let expected: Vec<Vec<u8>> = (4..=9).rev().map(|secret| vec![secret]).collect();
    assert_eq!(secrets(endpoint.id, at(30)).await, expected);
    replace(10, None).await;
    assert_eq!(secrets(endpoint.id, at(30)).await, [vec![10]], "those of before end at once");

    let mut tx = ports.uow.begin(Vec::new()).await.expect("a unit of work begins");
    tx.lock_endpoint(community(), endpoint.id).await.expect("it is locked");
    tx.replace_secret(endpoint.id, vec![11], Some(at(100)));
    tx.delete_endpoint(endpoint.id);
    tx.commit().await.expect("it is deleted with all its secrets");
    assert_eq!(ports.queue.forget_secrets(at(200)).await.expect("it answers"), 0);
}

/// From everything that shows an endpoint.
pub async fn header_fields_are_kept_apart(ports: &Ports) {
    let endpoint = endpoint(10, &["*"], at(0));
    ports.insert(&endpoint).await;
    for sealed in [Some(vec![0, 255]), None] {
        let mut tx = ports.uow.begin(Vec::new()).await.expect("a unit of work begins");
        tx.lock_endpoint(community(), endpoint.id).await.expect("it is locked");
        tx.set_headers(endpoint.id, sealed.clone());
        tx.commit().await.expect("they are set");
        let mut tx = ports.uow.begin(Vec::new()).await.expect("a unit of work begins");
        assert_eq!(tx.headers(endpoint.id).await.expect("they are read"), sealed);
        drop(tx);
        let claimed = ports.queue.claim(endpoint.id, at(1), at(1), 1).await.expect("it answers");
        assert_eq!(claimed.target.expect("the endpoint exists").sealed_headers, sealed);
    }
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
