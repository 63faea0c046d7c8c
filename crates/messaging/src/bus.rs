//! The in-process bus: a sink that hands events to the consumers of its own process.

use std::num::NonZeroUsize;

use async_trait::async_trait;
use convene_application::kernel::consume::{Intake, Subscription};
use convene_application::kernel::events::{LoggedEvent, Order, Sink, SinkError};
use convene_application::kernel::store::StoreError;
use futures::StreamExt as _;
use futures::stream;

use crate::lanes::lane;

/// Few enough that the cursor moves often, since whatever lies behind it is handed out again after a crash; and so many
/// that each lane has some to hand in together.
const IN_FLIGHT: u32 = 256;

/// Feeds the consumers of this process where there is no broker. Whoever leads its cursor feeds them, so each event is
/// consumed in one process; the inbox keeps one that is handed out again from having a second effect.
pub struct BusSink {
    intake: Intake,
    lanes: NonZeroUsize,
}

impl BusSink {
    /// A bus that hands in up to `lanes` batches at once, each of which occupies a connection to the database.
    #[must_use]
    pub fn new(intake: Intake, lanes: NonZeroUsize) -> Self {
        Self { intake, lanes }
    }

    /// The events by their lanes.
    fn spread<'e>(&self, events: &'e [LoggedEvent], order: Order) -> Vec<Vec<&'e LoggedEvent>> {
        let mut lanes = vec![Vec::new(); self.lanes.get()];
        for event in events {
            lanes[lane(event, order, self.lanes.get())].push(event);
        }
        lanes
    }

    /// Hands the events of one lane to one consumer, in order. Ends at the first that is not done with, and returns its
    /// position.
    async fn feed(
        &self,
        subscription: &Subscription,
        lane: &[&LoggedEvent],
    ) -> Result<(), (i64, StoreError)> {
        let taken = self.intake.take_all(subscription, lane).await;
        taken.map_err(|(done, error)| (lane[done].position, error))
    }
}

#[async_trait]
impl Sink for BusSink {
    fn name(&self) -> &'static str {
        "bus"
    }

    fn in_flight(&self) -> u32 {
        IN_FLIGHT
    }

    async fn publish(&self, events: &[LoggedEvent]) -> Result<Option<i64>, SinkError> {
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(None) };
        let by_subject = self.spread(events, Order::OfSubject);
        let anyhow = self.spread(events, Order::Any);
        let feeds = self.intake.subscriptions().iter().flat_map(|subscription| {
            let lanes = match subscription.flow().order {
                Order::OfSubject => &by_subject,
                Order::Any => &anyhow,
            };
            lanes
                .iter()
                .filter(|lane| !lane.is_empty())
                .map(move |lane| self.feed(subscription, lane))
        });
        let first_gap = stream::iter(feeds.collect::<Vec<_>>())
            .buffer_unordered(self.lanes.get())
            .filter_map(async |fed| fed.err())
            .fold(None, async |first: Option<(i64, StoreError)>, gap| match first {
                Some(first) if first.0 <= gap.0 => Some(first),
                _ => Some(gap),
            })
            .await;
        match first_gap {
            None => Ok(Some(last.position)),
            Some((gap, error)) if gap == first.position => Err(SinkError {
                what: "a consumer could not take an event",
                source: Box::new(error),
            }),
            Some((gap, _)) => Ok(Some(gap - 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use bytes::Bytes;
    use convene_application::kernel::consume::{RetryConsumption, Taken};
    use convene_application::kernel::error::Failure;
    use convene_application::kernel::events::{Consumer, EventLog, NewEvent, NotConsumed};
    use convene_application::kernel::jobs::{Claim, Job as _, JobQueue as _, LeasedJob, Outcome};
    use convene_testkit::fake::FakePlatform;
    use uuid::Uuid;

    use super::*;

    /// Keeps what it takes; fails at the positions that the test names, and panics at others.
    #[derive(Default)]
    struct Keeper {
        taken: Mutex<Vec<(i64, Bytes)>>,
        replays: Mutex<Vec<i32>>,
        fails_at: Mutex<Vec<i64>>,
        panics_at: Mutex<Vec<i64>>,
    }

    impl Keeper {
        fn positions(&self) -> Vec<i64> {
            let mut positions: Vec<_> =
                self.taken.lock().unwrap().iter().map(|taken| taken.0).collect();
            positions.sort_unstable();
            positions
        }
    }

    #[async_trait]
    impl Consumer for Keeper {
        fn name(&self) -> &'static str {
            "keeper"
        }

        fn patterns(&self) -> &[&'static str] {
            &["rsvp.*", "event.created"]
        }

        async fn consume(&self, event: &LoggedEvent) -> Result<(), NotConsumed> {
            tokio::task::yield_now().await;
            if self.fails_at.lock().unwrap().contains(&event.position) {
                return Err(Failure::internal("the test wants it").into());
            }
            assert!(!self.panics_at.lock().unwrap().contains(&event.position), "the test wants it");
            self.replays.lock().unwrap().push(event.replay);
            self.taken.lock().unwrap().push((event.position, event.envelope.clone()));
            Ok(())
        }
    }

    fn events(types: &[&'static str]) -> Vec<NewEvent> {
        let event = |(number, event_type): (usize, &&'static str)| NewEvent {
            id: Uuid::from_u128(number as u128 + 1),
            event_type,
            version: 1,
            community: None,
            envelope: Bytes::from(format!(r#"{{"subject":"rsvp_{}"}}"#, number % 3)),
        };
        types.iter().enumerate().map(event).collect()
    }

    async fn bus(
        types: &[&'static str],
    ) -> (FakePlatform, Arc<Keeper>, Intake, BusSink, Vec<LoggedEvent>) {
        let (platform, keeper) = (FakePlatform::default(), Arc::new(Keeper::default()));
        platform.log(events(types));
        let consumers = vec![Arc::clone(&keeper) as Arc<dyn Consumer>];
        let intake = Intake::new(consumers, Arc::new(platform.clone())).unwrap();
        let bus = BusSink::new(intake.clone(), NonZeroUsize::new(4).unwrap());
        let logged = platform.read_after(0, 1_000).await.unwrap();
        (platform, keeper, intake, bus, logged)
    }

    #[tokio::test]
    async fn consumers_get_what_they_want_in_the_order_of_each_subject() {
        let types =
            ["rsvp.confirmed", "event.created", "event.updated", "rsvp.cancelled"].repeat(15);
        let (_, keeper, _, bus, logged) = bus(&types).await;
        assert_eq!(bus.publish(&logged).await.unwrap(), Some(60));
        let wanted = |event: &&LoggedEvent| event.event_type != "event.updated";
        let expected: Vec<_> = logged.iter().filter(wanted).map(|event| event.position).collect();
        assert_eq!(keeper.positions(), expected);
        for subject in 0..3 {
            let envelope = format!(r#"{{"subject":"rsvp_{subject}"}}"#);
            let taken = keeper.taken.lock().unwrap();
            let order: Vec<_> =
                taken.iter().filter(|taken| taken.1 == envelope).map(|taken| taken.0).collect();
            assert!(order.is_sorted(), "{order:?}");
        }
    }

    #[tokio::test]
    async fn a_failed_consumption_becomes_a_job_that_tries_again() {
        let (platform, keeper, intake, bus, logged) = bus(&["rsvp.confirmed"; 5]).await;
        keeper.fails_at.lock().unwrap().push(2);
        keeper.panics_at.lock().unwrap().push(4);
        assert_eq!(
            bus.publish(&logged).await.unwrap(),
            Some(5),
            "what is behind a failure goes on"
        );
        assert_eq!(keeper.positions(), [1, 3, 5]);
        assert_eq!(platform.live_jobs().len(), 2);

        let retries = intake.retries(Arc::new(platform.clone()));
        let still_failing = run_retries(&platform, &*retries).await;
        assert!(still_failing.iter().all(|outcome| matches!(outcome, Outcome::Retry(_))));
        keeper.fails_at.lock().unwrap().clear();
        keeper.panics_at.lock().unwrap().clear();
        for job in platform.live_jobs() {
            let outcome = retries.run(&leased(job.payload)).await;
            assert!(matches!(outcome, Outcome::Done), "{outcome:?}");
        }
        assert_eq!(keeper.positions(), [1, 2, 3, 4, 5]);
    }

    #[tokio::test]
    async fn a_replay_that_fails_is_tried_again_as_that_replay() {
        let (platform, keeper, intake, _, logged) = bus(&["rsvp.confirmed"]).await;
        let subscription = intake.subscription("keeper").unwrap();
        keeper.fails_at.lock().unwrap().push(1);
        let taken = intake.take(subscription, &logged[0]).await.unwrap();
        assert_eq!(taken, Taken::Postponed);
        let replayed = LoggedEvent { replay: 7, ..logged[0].clone() };
        intake.take(subscription, &replayed).await.unwrap();
        assert_eq!(platform.live_jobs().len(), 2, "the replay is a consumption of its own");

        keeper.fails_at.lock().unwrap().clear();
        let retries = intake.retries(Arc::new(platform.clone()));
        run_retries(&platform, &*retries).await;
        assert_eq!(*keeper.replays.lock().unwrap(), [0, 7]);
        assert_eq!(intake.take(subscription, &replayed).await.unwrap(), Taken::Consumed);
    }

    async fn run_retries(
        platform: &FakePlatform,
        retries: &dyn convene_application::kernel::jobs::Handler,
    ) -> Vec<Outcome> {
        let claim = Claim {
            worker: Uuid::nil(),
            kinds: vec![RetryConsumption::KIND],
            free: vec![(RetryConsumption::QUEUE, 10)],
            lease: std::time::Duration::from_secs(30),
        };
        let mut outcomes = Vec::new();
        for job in platform.claim(&claim).await.unwrap() {
            outcomes.push(retries.run(&job).await);
        }
        outcomes
    }

    fn leased(payload: serde_json::Value) -> LeasedJob {
        LeasedJob {
            id: 1,
            kind: RetryConsumption::KIND.to_owned(),
            queue: RetryConsumption::QUEUE.to_owned(),
            group: None,
            payload,
            attempt: 2,
            max_attempts: 20,
            epoch: 2,
            traceparent: None,
            correlation_id: None,
            control: convene_application::kernel::jobs::RunControl::default(),
        }
    }

    #[tokio::test]
    async fn a_retry_of_what_is_gone_is_discarded() {
        let (platform, _, intake, _, _) = bus(&["rsvp.confirmed"]).await;
        let retries = intake.retries(Arc::new(platform));
        for (consumer, position) in [("nobody", 1), ("keeper", 9)] {
            let payload = serde_json::json!({ "consumer": consumer, "position": position });
            assert!(matches!(retries.run(&leased(payload)).await, Outcome::Discard(_)));
        }
    }

    /// Without the database not even the job can be stored: the cursor stays in front of the event.
    #[tokio::test]
    async fn an_event_that_nobody_could_take_holds_the_cursor() {
        let (platform, keeper, _, bus, logged) = bus(&["rsvp.confirmed"; 5]).await;
        keeper.fails_at.lock().unwrap().push(3);
        platform.set_down(true);
        assert_eq!(bus.publish(&logged).await.unwrap(), Some(2));
        assert!(bus.publish(&logged[2..]).await.is_err());
        platform.set_down(false);
        assert_eq!(bus.publish(&logged[2..]).await.unwrap(), Some(5));
    }
}
