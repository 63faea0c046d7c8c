//! Typed consumers over fakes: what is handled, how often, and what becomes of the rest.

#![expect(clippy::unwrap_used, reason = "a failed assumption in a test is a failed test")]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use convene_application::kernel::consume::{Intake, RetryConsumption, Taken};
use convene_application::kernel::context::RequestContext;
use convene_application::kernel::env::Env;
use convene_application::kernel::error::Failure;
use convene_application::kernel::events::{
    Consumer, EventLog as _, Flow, LoggedEvent, NotConsumed, Order,
};
use convene_application::kernel::handle::{EventConsumer, HandleEvent, Handled, Occurrence};
use convene_application::kernel::idempotency::KeyClaim;
use convene_application::kernel::jobs::{Claim, Job as _, JobQueue as _, Outcome};
use convene_application::kernel::store::StoreError;
use convene_application::kernel::uow::{Begin, Tx};
use convene_contracts::ids::RsvpId as PublicRsvpId;
use convene_contracts::rsvp::{RsvpCancelled, RsvpConfirmed};
use convene_contracts::{Actor, EventPayload};
use convene_domain::ids::{CommunityId, RsvpId, TypedId as _};
use convene_testkit::fake::{FakePlatform, FakeStore, FakeTx, FixedClock, env};
use convene_testkit::versions::RsvpConfirmedV2;
use serde_json::json;
use uuid::Uuid;

const NAME: &str = "badge.count";

/// The badges there are, each with the position of its event.
type Badges = Vec<i64>;

#[async_trait]
trait BadgeTx: Tx {
    async fn count(&mut self) -> Result<usize, StoreError>;
    fn add(&mut self, position: i64);
}

#[async_trait]
impl BadgeTx for FakeTx<Badges> {
    async fn count(&mut self) -> Result<usize, StoreError> {
        Ok(self.read().await?.len())
    }

    fn add(&mut self, position: i64) {
        self.write(move |badges| {
            badges.push(position);
            Ok(())
        });
    }
}

/// The store of badges.
#[derive(Clone, Default)]
struct Store(FakeStore<Badges>);

#[async_trait]
impl Begin<dyn BadgeTx> for Store {
    async fn begin(&self, claims: Vec<KeyClaim>) -> Result<Box<dyn BadgeTx>, StoreError> {
        Ok(Box::new(self.0.unit(claims)?))
    }
}

/// Makes a badge of each event, or what else the test wants.
#[derive(Default)]
struct Maker {
    wants: Mutex<Option<Wish>>,
    /// How often it was asked.
    asked: Mutex<Vec<i64>>,
    /// The most badges that it makes.
    most: Option<usize>,
}

#[derive(Clone, Copy)]
enum Wish {
    Ignore,
    Fail,
    Poison,
}

#[async_trait]
impl<E: EventPayload + Send + Sync> HandleEvent<E, dyn BadgeTx> for Maker
where
    E::Subject: Send + Sync,
{
    async fn handle(
        &self,
        tx: &mut (dyn BadgeTx + 'static),
        event: &Occurrence<E>,
    ) -> Result<Handled, NotConsumed> {
        self.asked.lock().unwrap().push(event.position);
        let wish = *self.wants.lock().unwrap();
        tx.add(event.position);
        if let Some(most) = self.most
            && tx.count().await? >= most
        {
            return Err(NotConsumed::poison("there are enough badges"));
        }
        match wish {
            None => Ok(Handled::Done),
            Some(Wish::Ignore) => Ok(Handled::Ignored),
            Some(Wish::Fail) => Err(Failure::internal("the test wants it").into()),
            Some(Wish::Poison) => Err(NotConsumed::poison("the test wants it")),
        }
    }
}

struct Scene {
    env: Env,
    store: Store,
    platform: FakePlatform,
    maker: Arc<Maker>,
    intake: Intake,
}

impl Scene {
    fn of(
        maker: Maker,
        build: impl Fn(EventConsumer<dyn BadgeTx>, Arc<Maker>) -> EventConsumer<dyn BadgeTx>,
    ) -> Self {
        let (store, platform) = (Store::default(), FakePlatform::default());
        let maker = Arc::new(maker);
        let named = EventConsumer::named(NAME, Arc::new(store.clone()));
        let consumer: Arc<dyn Consumer> = Arc::new(build(named, Arc::clone(&maker)));
        let intake = Intake::new(vec![consumer], Arc::new(platform.clone())).unwrap();
        Self { env: env(Arc::<FixedClock>::default()), store, platform, maker, intake }
    }

    fn new() -> Self {
        Self::of(Maker::default(), |consumer, maker| consumer.on::<RsvpConfirmed>(maker))
    }

    /// Records what happened in the log; returns it as a bus would bring it.
    async fn record<P: EventPayload<Subject = PublicRsvpId>>(&self, data: P) -> LoggedEvent {
        let context = RequestContext {
            traceparent: Some("00-trace".to_owned()),
            ..RequestContext::system("req-test")
        };
        let community = Some(CommunityId::from_uuid(Uuid::from_u128(7)));
        let recorder = self.env.recorder(&context, self.env.now(), community);
        let event = recorder.event(RsvpId::from_uuid(Uuid::from_u128(8)), 3, data);
        self.platform.log(vec![event]);
        self.platform.read_after(0, 1_000).await.unwrap().pop().unwrap()
    }

    async fn take(&self, event: &LoggedEvent) -> Taken {
        self.intake.take(&self.intake.subscriptions()[0], event).await.unwrap()
    }

    async fn badges(&self) -> Badges {
        self.store.0.peek().await.clone()
    }

    fn is_claimed(&self, event: &LoggedEvent) -> bool {
        self.store.0.ledger().consumed.contains(&(NAME, event.id, event.replay))
    }

    /// Runs the jobs that try again, once each.
    async fn run_retries(&self) -> Vec<Outcome> {
        let retries = self.intake.retries(Arc::new(self.platform.clone()));
        let claim = Claim {
            worker: Uuid::nil(),
            kinds: vec![RetryConsumption::KIND],
            free: vec![(RetryConsumption::QUEUE, 10)],
            lease: std::time::Duration::from_secs(30),
        };
        let mut outcomes = Vec::new();
        for job in self.platform.claim(&claim).await.unwrap() {
            outcomes.push(retries.run(&job).await);
        }
        outcomes
    }
}

/// Keeps the last occurrence.
#[derive(Default)]
struct Witness(Mutex<Option<Occurrence<RsvpConfirmed>>>);

#[async_trait]
impl HandleEvent<RsvpConfirmed, dyn BadgeTx> for Witness {
    async fn handle(
        &self,
        _: &mut (dyn BadgeTx + 'static),
        event: &Occurrence<RsvpConfirmed>,
    ) -> Result<Handled, NotConsumed> {
        *self.0.lock().unwrap() = Some(event.clone());
        Ok(Handled::Done)
    }
}

#[tokio::test]
async fn a_handler_gets_the_payload_and_what_is_around_it() {
    let witness = Arc::<Witness>::default();
    let seen = Arc::clone(&witness);
    let scene =
        Scene::of(Maker::default(), move |consumer, _| consumer.on::<RsvpConfirmed>(seen.clone()));
    let event = scene.record(RsvpConfirmed::example()).await;
    let event = LoggedEvent { replay: 4, ..event };
    assert_eq!(scene.take(&event).await, Taken::Consumed);

    let seen = witness.0.lock().unwrap().take().unwrap();
    assert_eq!((seen.id, seen.position, seen.replay), (event.id, 1, 4));
    assert_eq!(seen.data, RsvpConfirmed::example());
    assert_eq!(seen.subject.as_str(), RsvpId::from_uuid(Uuid::from_u128(8)).to_string());
    assert_eq!(seen.aggregate_version, 3);
    assert_eq!(seen.community, Some(CommunityId::from_uuid(Uuid::from_u128(7))));
    assert_eq!((seen.occurred_at, &seen.actor), (scene.env.now(), &Actor::System));
    let context = seen.context();
    assert_eq!(
        (context.request_id.as_str(), context.traceparent.as_deref()),
        ("req-test", Some("00-trace"))
    );
}

#[tokio::test]
async fn an_event_has_one_effect_however_often_it_is_delivered() {
    let scene = Scene::new();
    let event = scene.record(RsvpConfirmed::example()).await;
    for _ in 0..3 {
        assert_eq!(scene.take(&event).await, Taken::Consumed);
    }
    assert_eq!(scene.badges().await, [1]);
    let replayed = LoggedEvent { replay: 1, ..event };
    assert_eq!(scene.take(&replayed).await, Taken::Consumed);
    assert_eq!(scene.badges().await, [1, 1], "an operator wanted it once more");
}

/// Whoever has made the last badge there may be finds that there are enough.
#[tokio::test]
async fn an_effect_that_stumbles_over_itself_was_had_before() {
    let maker = Maker { most: Some(1), ..Maker::default() };
    let scene = Scene::of(maker, |consumer, maker| consumer.on::<RsvpConfirmed>(maker));
    let event = scene.record(RsvpConfirmed::example()).await;
    assert_eq!(scene.take(&event).await, Taken::Consumed);
    assert_eq!(scene.take(&event).await, Taken::Consumed);
    assert_eq!(scene.badges().await, [1]);

    let another = scene.record(RsvpConfirmed::example()).await;
    assert_eq!(scene.take(&another).await, Taken::Postponed);
}

#[tokio::test]
async fn an_effect_that_fails_leaves_no_claim_and_is_tried_again() {
    let scene = Scene::new();
    let event = scene.record(RsvpConfirmed::example()).await;
    *scene.maker.wants.lock().unwrap() = Some(Wish::Fail);
    assert_eq!(scene.take(&event).await, Taken::Postponed);
    assert_eq!((scene.badges().await, scene.is_claimed(&event)), (vec![], false));
    let outcomes = scene.run_retries().await;
    assert!(matches!(outcomes.as_slice(), [Outcome::Retry(_)]), "{outcomes:?}");

    *scene.maker.wants.lock().unwrap() = None;
    assert_eq!(scene.take(&event).await, Taken::Consumed);
    assert_eq!((scene.badges().await, scene.is_claimed(&event)), (vec![1], true));
}

/// Also where it is the commit that fails.
#[tokio::test]
async fn the_claim_and_the_effect_are_there_together_or_not_at_all() {
    let scene = Scene::new();
    let event = scene.record(RsvpConfirmed::example()).await;
    for successes in 0..2 {
        scene.store.0.fail_after(successes);
        assert_eq!(scene.take(&event).await, Taken::Postponed);
        assert_eq!((scene.badges().await, scene.is_claimed(&event)), (vec![], false));
    }
    let outcomes = scene.run_retries().await;
    assert!(matches!(outcomes.as_slice(), [Outcome::Done]), "{outcomes:?}");
    assert_eq!((scene.badges().await, scene.is_claimed(&event)), (vec![1], true));
}

#[tokio::test]
async fn what_is_ignored_writes_nothing_and_is_done_with() {
    let scene = Scene::new();
    let event = scene.record(RsvpConfirmed::example()).await;
    *scene.maker.wants.lock().unwrap() = Some(Wish::Ignore);
    assert_eq!(scene.take(&event).await, Taken::Consumed);
    assert_eq!((scene.badges().await, scene.is_claimed(&event)), (vec![], false));
    assert!(scene.platform.live_jobs().is_empty());
}

#[tokio::test]
async fn poison_is_dead_at_its_first_retry() {
    let scene = Scene::new();
    let event = scene.record(RsvpConfirmed::example()).await;
    *scene.maker.wants.lock().unwrap() = Some(Wish::Poison);
    assert_eq!(scene.take(&event).await, Taken::Postponed);
    let outcomes = scene.run_retries().await;
    assert!(matches!(outcomes.as_slice(), [Outcome::Discard(_)]), "{outcomes:?}");
    assert!(!scene.is_claimed(&event), "it can be handed in again");
}

#[tokio::test]
async fn data_of_another_shape_is_poison_and_never_handled() {
    let scene = Scene::new();
    let event = scene.record(RsvpConfirmed::example()).await;
    let mut envelope: serde_json::Value = serde_json::from_slice(&event.envelope).unwrap();
    envelope["data"]["party_size"] = json!("two");
    let garbled = LoggedEvent { envelope: envelope.to_string().into(), ..event };
    let subscription = scene.intake.subscription(NAME).unwrap();
    assert_eq!(scene.intake.take(subscription, &garbled).await.unwrap(), Taken::Postponed);
    assert!(scene.maker.asked.lock().unwrap().is_empty());

    let consumer = EventConsumer::named(NAME, Arc::new(scene.store.clone()) as Arc<_>)
        .on::<RsvpConfirmed>(scene.maker.clone());
    let Err(NotConsumed::Poison(failure)) = consumer.consume(&garbled).await else {
        panic!("it cannot be read");
    };
    let reason = std::error::Error::source(&failure).unwrap();
    assert_eq!(reason.to_string(), "the event does not read as rsvp.confirmed.v1");
    assert!(std::error::Error::source(reason).unwrap().to_string().contains("expected u32"));
}

/// A breaking change publishes what happened in both versions for a while.
#[tokio::test]
async fn of_two_versions_of_an_occurrence_a_consumer_sees_the_one_that_it_handles() {
    let of_version_1 = Scene::new();
    let of_version_2 =
        Scene::of(Maker::default(), |consumer, maker| consumer.on::<RsvpConfirmedV2>(maker));
    let of_both = Scene::of(Maker::default(), |consumer, maker: Arc<Maker>| {
        consumer.on::<RsvpConfirmed>(maker.clone()).on::<RsvpConfirmedV2>(maker)
    });
    for (scene, seen) in [(of_version_1, vec![1]), (of_version_2, vec![2]), (of_both, vec![1, 2])] {
        let one = scene.record(RsvpConfirmed::example()).await;
        let two = scene.record(RsvpConfirmedV2::example()).await;
        for event in [&one, &two, &two, &one] {
            assert_eq!(scene.take(event).await, Taken::Consumed);
        }
        assert_eq!(scene.badges().await, seen);
        assert!(scene.platform.live_jobs().is_empty());
    }
}

#[tokio::test]
async fn a_consumer_wants_the_types_that_it_handles_and_flows_as_it_says() {
    let scene = Scene::of(Maker::default(), |consumer, maker: Arc<Maker>| {
        consumer
            .on::<RsvpConfirmed>(maker.clone())
            .on::<RsvpConfirmedV2>(maker.clone())
            .on::<RsvpCancelled>(maker)
            .in_any_order()
            .prefetch(8.try_into().unwrap())
    });
    let subscription = scene.intake.subscription(NAME).unwrap();
    let patterns: Vec<_> = subscription.patterns().iter().map(ToString::to_string).collect();
    assert_eq!(patterns, ["rsvp.confirmed", "rsvp.cancelled"]);
    assert!(!subscription.wants("rsvp.waitlisted"));
    let flow = Flow { order: Order::Any, prefetch: 8.try_into().ok() };
    assert_eq!(subscription.flow(), flow);
    assert_eq!(Scene::new().intake.subscriptions()[0].flow(), Flow::default());
}

#[test]
#[should_panic(expected = "badge.count handles rsvp.confirmed.v1 twice")]
fn a_type_is_handled_once() {
    Scene::of(Maker::default(), |consumer, maker: Arc<Maker>| {
        consumer.on::<RsvpConfirmed>(maker.clone()).on::<RsvpConfirmed>(maker)
    });
}
