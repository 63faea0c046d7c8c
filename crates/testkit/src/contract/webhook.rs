//! The store of webhooks.

mod deliveries;
mod endpoints;
mod replays;

pub use deliveries::*;
pub use endpoints::*;
pub use replays::*;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use convene_application::kernel::page::{PageQuery, Travel};
use convene_application::kernel::uow::Uow;
use convene_application::webhook::ports::{
    ClaimedDelivery, DeliveryQueue, FannedEvent, SettledAttempt, WebhookReads, WebhookTx,
};
use convene_domain::ids::{CommunityId, DeliveryId, TypedId, UserId, WebhookId};
use convene_domain::webhook::{Endpoint, EndpointUrl, EventTypes, NewEndpoint, Next};
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
            secrets_are_replaced_and_sign_on_for_a_while
            header_fields_are_kept_apart
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
            replays_are_kept_as_they_are
            a_replay_goes_over_what_was_made_before_it
            figures_tell_of_the_newest_deliveries
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
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
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
