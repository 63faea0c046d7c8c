//! Endpoints, and who wants which event.

use convene_application::kernel::page::{PageQuery, Travel};
use convene_application::webhook::ports::Wanted;
use convene_domain::ids::{TypedId as _, WebhookId};
use convene_domain::text::Description;
use convene_domain::webhook::{EndpointStatus, EndpointUrl, EventTypes, Health, patterns_matching};

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
