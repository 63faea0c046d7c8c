//! One lane an event: requests to the same event are decided together.
//!
//! All RSVPs of an event need its one lock. Taking it for each request makes a popular event as slow as its commits, and
//! fills the connection pool with waiters. So each process keeps a lane for each event with work: one transaction in
//! flight, and the next takes everything that arrived meanwhile, up to a bound. There is no timer: an idle lane is a
//! batch of one. A full lane refuses at once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use convene_domain::ids::EventId;
use convene_domain::rsvp::{Admission, Ask};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::Instrument as _;

use crate::kernel::context::{Principal, RequestContext};
use crate::kernel::error::Failure;
use crate::kernel::idempotency::{Idempotency, Reply};

/// How much a lane holds.
#[derive(Clone, Copy, Debug)]
pub struct LaneOptions {
    /// The most requests decided in one transaction.
    pub batch: usize,
    /// The most requests that wait in one lane.
    pub waiting: usize,
    /// How long a request waits for its answer. Behind a batch whose store does not answer it would wait for that batch's
    /// time-outs and its own.
    pub patience: Duration,
}

impl Default for LaneOptions {
    fn default() -> Self {
        Self { batch: 64, waiting: 1024, patience: Duration::from_millis(4_500) }
    }
}

/// One request in a lane.
pub(super) struct Wish {
    pub(super) context: RequestContext,
    pub(super) principal: Principal,
    pub(super) ask: Ask,
    pub(super) idempotency: Option<Idempotency<Admission>>,
}

/// What a wish comes to.
pub(super) type Answer = Result<Reply<Admission>, Failure>;

/// Decides the wishes of one batch in one unit of work: one answer each, in their order.
#[async_trait]
pub(super) trait Decide: Send + Sync + 'static {
    async fn decide(&self, event: EventId, wishes: &[Wish]) -> Vec<Answer>;
}

struct Waiting {
    wish: Wish,
    answer: oneshot::Sender<Answer>,
}

/// The lanes of this process. An entry exists while its lane is being driven.
pub(super) struct Lanes<D> {
    shared: Arc<Shared<D>>,
}

struct Shared<D> {
    options: LaneOptions,
    decider: D,
    lanes: Mutex<HashMap<EventId, VecDeque<Waiting>>>,
}

impl<D: Decide> Lanes<D> {
    pub(super) fn new(options: LaneOptions, decider: D) -> Self {
        Self { shared: Arc::new(Shared { options, decider, lanes: Mutex::default() }) }
    }

    /// Puts a wish into its event's lane and waits for its answer, with patience. The wish is decided even if nobody waits
    /// any more.
    pub(super) async fn submit(&self, event: EventId, wish: Wish) -> Answer {
        let (answer, answered) = oneshot::channel();
        let entered = Instant::now();
        if self.shared.enqueue(event, Waiting { wish, answer })? {
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move { shared.drive(event).await }.in_current_span());
        }
        let answer = timeout(self.shared.options.patience, answered).await;
        metrics::histogram!("convene_rsvp_lane_seconds").record(entered.elapsed().as_secs_f64());
        match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => {
                Err(Failure::internal("the batch of this request ended without an answer"))
            }
            Err(elapsed) => Err(Failure::unavailable(elapsed)),
        }
    }
}

impl<D: Decide> Shared<D> {
    /// Queues a wish; `true` if the caller is to drive the lane.
    fn enqueue(&self, event: EventId, waiting: Waiting) -> Result<bool, Failure> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = !lanes.contains_key(&event);
        let lane = lanes.entry(event).or_default();
        if lane.len() >= self.options.waiting {
            metrics::counter!("convene_rsvp_lane_refusals_total").increment(1);
            return Err(Failure::overloaded(Duration::from_secs(1)));
        }
        lane.push_back(waiting);
        Ok(idle)
    }

    /// Decides batch after batch until the lane is empty.
    async fn drive(self: Arc<Self>, event: EventId) {
        while let Some(batch) = self.next_batch(event) {
            let shared = Arc::clone(&self);
            // A task of its own: should it panic, its own requests fail and the lane goes on.
            let decided =
                tokio::spawn(async move { shared.decide(event, batch).await }.in_current_span());
            if let Err(error) = decided.await {
                tracing::error!(%event, %error, "a batch of RSVPs ended abruptly");
            }
        }
    }

    fn next_batch(&self, event: EventId) -> Option<Vec<Waiting>> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.get_mut(&event)?;
        if lane.is_empty() {
            lanes.remove(&event);
            return None;
        }
        let size = lane.len().min(self.options.batch);
        Some(lane.drain(..size).collect())
    }

    async fn decide(&self, event: EventId, batch: Vec<Waiting>) {
        metrics::histogram!("convene_rsvp_batch_size").record(batch.len() as f64);
        let (wishes, askers): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|waiting| (waiting.wish, waiting.answer)).unzip();
        let answers = self.decider.decide(event, &wishes).await;
        for (asker, answer) in askers.into_iter().zip(answers) {
            // Nobody may be waiting any more; the wish was decided all the same.
            let _ = asker.send(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use convene_domain::ids::{SessionId, TypedId as _, UserId};
    use convene_testkit::poll::poll_until;
    use uuid::Uuid;

    use super::*;

    /// Records the size of each batch and how many run at once; fails each wish so that no RSVP is needed.
    #[derive(Default)]
    struct Recorder {
        batches: Mutex<Vec<usize>>,
        running: AtomicUsize,
        panics: bool,
    }

    #[async_trait]
    impl Decide for Arc<Recorder> {
        async fn decide(&self, _: EventId, wishes: &[Wish]) -> Vec<Answer> {
            assert!(!self.panics, "a defect");
            assert_eq!(
                self.running.fetch_add(1, Ordering::SeqCst),
                0,
                "two batches of one event at once"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
            self.running.fetch_sub(1, Ordering::SeqCst);
            self.batches.lock().unwrap().push(wishes.len());
            wishes.iter().map(|_| Err(Failure::not_found())).collect()
        }
    }

    fn wish() -> Wish {
        let principal = Principal {
            user: UserId::from_uuid(Uuid::nil()),
            session: SessionId::from_uuid(Uuid::nil()),
        };
        Wish {
            context: RequestContext::system("test"),
            principal,
            ask: Ask::Withdraw,
            idempotency: None,
        }
    }

    fn event(number: u128) -> EventId {
        EventId::from_uuid(Uuid::from_u128(number))
    }

    #[tokio::test]
    async fn what_arrives_meanwhile_is_the_next_batch() {
        let recorder = Arc::new(Recorder::default());
        let lanes = Lanes::new(LaneOptions::default(), Arc::clone(&recorder));
        futures::future::join_all((0..130).map(|_| lanes.submit(event(1), wish()))).await;
        let batches = recorder.batches.lock().unwrap().clone();
        assert_eq!(batches.iter().sum::<usize>(), 130);
        assert!(batches.len() <= 4, "{batches:?}");
        assert!(batches.iter().all(|size| *size <= 64), "{batches:?}");
        assert!(
            lanes.shared.lanes.lock().unwrap().is_empty(),
            "an idle lane leaves nothing behind"
        );
    }

    #[tokio::test]
    async fn a_full_lane_refuses_at_once() {
        let recorder = Arc::new(Recorder::default());
        let lanes = Lanes::new(
            LaneOptions { batch: 2, waiting: 3, ..LaneOptions::default() },
            Arc::clone(&recorder),
        );
        let answers =
            futures::future::join_all((0..10).map(|_| lanes.submit(event(1), wish()))).await;
        let refused = answers
            .iter()
            .filter(|answer| matches!(answer, Err(f) if f.code == crate::kernel::error::Code::Overloaded))
            .count();
        assert_eq!(refused, 7);
    }

    #[tokio::test]
    async fn a_request_that_is_not_answered_in_time_is_decided_all_the_same() {
        let recorder = Arc::new(Recorder::default());
        let impatient =
            LaneOptions { patience: Duration::from_millis(1), ..LaneOptions::default() };
        let lanes = Lanes::new(impatient, Arc::clone(&recorder));
        let failure = lanes.submit(event(1), wish()).await.err().map(|failure| failure.code);
        assert_eq!(failure, Some(crate::kernel::error::Code::Unavailable));
        poll_until(Duration::from_secs(10), "the wish is decided", async || {
            (!recorder.batches.lock().unwrap().is_empty()).then_some(())
        })
        .await;
    }

    #[tokio::test]
    async fn a_panic_fails_its_own_batch_alone() {
        let recorder = Arc::new(Recorder { panics: true, ..Recorder::default() });
        let lanes = Lanes::new(LaneOptions::default(), recorder);
        for _ in 0..2 {
            let failure = lanes.submit(event(1), wish()).await.err().map(|failure| failure.code);
            assert_eq!(failure, Some(crate::kernel::error::Code::Internal));
        }
    }
}
