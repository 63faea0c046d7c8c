//! How many jobs of each queue run in this process, and which wait here for their turn.
//!
//! A slot that ends a run should find the next job beside it instead of waiting for a claim to be committed. So a queue
//! holds, leased, what its slots are going to start within [`HORIZON`], judged by how long its runs take: hundreds of jobs
//! that take a tenth of a millisecond, none of jobs that take a second. What waits longer after all, because runs became
//! slow, is handed back for other workers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use convene_application::kernel::jobs::{Handler, LeasedJob};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How far ahead of its slots a queue claims.
const HORIZON: Duration = Duration::from_millis(20);
/// The most jobs that wait in a queue.
const MOST: usize = 500;
/// How long a job may wait before it is handed back.
const PATIENCE: Duration = Duration::from_millis(500);
/// The part that one run has in the mean: an eighth.
const WEIGHT: u32 = 8;

/// A job whose lease is kept.
pub(super) struct Held {
    pub(super) job: LeasedJob,
    pub(super) handler: Arc<dyn Handler>,
    /// Cancelled when the lease is lost.
    pub(super) lost: CancellationToken,
}

/// The slots of all queues.
pub(super) struct Slots {
    queues: BTreeMap<&'static str, Arc<Queue>>,
    room: Arc<Notify>,
}

/// The slots of a queue, and what waits for them.
pub(super) struct Queue {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: usize,
    waiting: VecDeque<(Instant, Held)>,
    /// How long a run takes; none before the first has ended.
    mean: Option<Duration>,
}

/// A slot that is taken until it finds no next job, or is dropped.
pub(super) struct Slot {
    queue: Arc<Queue>,
    room: Arc<Notify>,
    taken: bool,
}

impl Slots {
    pub(super) fn new(limits: impl IntoIterator<Item = (&'static str, usize)>) -> Self {
        let queues = limits
            .into_iter()
            .map(|(queue, limit)| (queue, Arc::new(Queue { limit, state: Mutex::default() })))
            .collect();
        Self { queues, room: Arc::new(Notify::new()) }
    }

    /// The queues of which more is to be claimed, and how much.
    pub(super) fn room(&self) -> Vec<(&'static str, i32)> {
        self.queues
            .iter()
            .map(|(name, queue)| (*name, queue.room()))
            .filter(|(_, room)| *room > 0)
            .map(|(name, room)| (name, i32::try_from(room).unwrap_or(i32::MAX)))
            .collect()
    }

    /// The slots of a queue; none of one that is not worked here.
    pub(super) fn of(&self, queue: &str) -> Option<&Arc<Queue>> {
        self.queues.get(queue)
    }

    /// Takes in a claimed job of the queue: it gets a slot and is returned, or waits for one.
    pub(super) fn admit(&self, queue: &Arc<Queue>, held: Held) -> Option<(Slot, Held)> {
        let mut state = queue.lock();
        if state.running >= queue.limit {
            state.waiting.push_back((Instant::now(), held));
            return None;
        }
        state.running += 1;
        drop(state);
        let (queue, room) = (Arc::clone(queue), Arc::clone(&self.room));
        Some((Slot { queue, room, taken: true }, held))
    }

    /// Takes out what has waited too long.
    pub(super) fn overdue(&self) -> Vec<Held> {
        self.take_waiting(PATIENCE)
    }

    /// Takes out all that waits.
    pub(super) fn waiting(&self) -> Vec<Held> {
        self.take_waiting(Duration::ZERO)
    }

    fn take_waiting(&self, longer_than: Duration) -> Vec<Held> {
        let mut taken = Vec::new();
        for queue in self.queues.values() {
            let mut state = queue.lock();
            while let Some((since, _)) = state.waiting.front()
                && since.elapsed() >= longer_than
            {
                // It would be claimed again at once.
                let waited = since.elapsed();
                state.mean = state.mean.max(Some(waited));
                taken.extend(state.waiting.pop_front().map(|(_, held)| held));
            }
        }
        taken
    }

    /// Waits until there is room that was not there at the last call.
    pub(super) async fn freed(&self) {
        self.room.notified().await;
    }
}

impl Slot {
    /// The job that is to run here next, after a run that took so long. Without one the slot is free from this moment on:
    /// a job that comes between the question and the end of its lane would wait for nobody.
    pub(super) fn next(&mut self, took: Duration) -> Option<Held> {
        let mut state = self.queue.lock();
        let mean = state.mean.map_or(took, |mean| (mean * (WEIGHT - 1) + took) / WEIGHT);
        state.mean = Some(mean);
        let next = state.waiting.pop_front();
        if next.is_none() {
            state.running -= 1;
            self.taken = false;
        }
        if self.queue.wants_more(&state) {
            self.room.notify_one();
        }
        next.map(|(_, held)| held)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.taken {
            self.queue.lock().running -= 1;
            self.room.notify_one();
        }
    }
}

impl Queue {
    fn room(&self) -> usize {
        let state = self.lock();
        if !self.wants_more(&state) {
            return 0;
        }
        let held = state.running + state.waiting.len();
        (self.limit + self.ahead(&state)).saturating_sub(held)
    }

    /// Claims are for many: half of what may wait is to have gone.
    fn wants_more(&self, state: &State) -> bool {
        state.waiting.len() * 2 <= self.ahead(state)
    }

    /// How many jobs the slots are going to start within the horizon.
    fn ahead(&self, state: &State) -> usize {
        let Some(mean) = state.mean else { return 0 };
        let runs = HORIZON.as_nanos() / mean.as_nanos().max(1);
        usize::try_from(runs).unwrap_or(MOST).saturating_mul(self.limit).min(MOST)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use convene_application::kernel::jobs::{Outcome, RunControl};

    use super::*;

    struct Nobody;

    #[async_trait]
    impl Handler for Nobody {
        fn kind(&self) -> &'static str {
            "some.kind"
        }

        fn queue(&self) -> &'static str {
            "default"
        }

        async fn run(&self, _: &LeasedJob) -> Outcome {
            Outcome::Done
        }
    }

    fn admit(slots: &Slots, queue: &str, id: i64) -> Option<(Slot, Held)> {
        slots.admit(slots.of(queue).expect("it is worked"), held(queue, id))
    }

    fn held(queue: &str, id: i64) -> Held {
        let job = LeasedJob {
            id,
            kind: "some.kind".to_owned(),
            queue: queue.to_owned(),
            group: None,
            payload: serde_json::Value::Null,
            attempt: 1,
            max_attempts: 20,
            epoch: 1,
            traceparent: None,
            correlation_id: None,
            control: RunControl::default(),
        };
        Held { job, handler: Arc::new(Nobody), lost: CancellationToken::new() }
    }

    fn slot(slots: &Slots, queue: &str) -> Slot {
        admit(slots, queue, 0).expect("there is a slot").0
    }

    #[test]
    fn a_full_queue_is_left_out_until_a_slot_is_dropped() {
        let slots = Slots::new([("default", 2), ("mail", 1)]);
        let mail = slot(&slots, "mail");
        let _other = slot(&slots, "default");
        assert_eq!(slots.room(), [("default", 1)]);
        drop(mail);
        assert_eq!(slots.room(), [("default", 1), ("mail", 1)]);
    }

    #[test]
    fn as_much_is_claimed_ahead_as_starts_soon() {
        let room = |took| {
            let slots = Slots::new([("default", 2)]);
            let mut slot = slot(&slots, "default");
            assert!(slot.next(took).is_none());
            slots.room()[0].1
        };
        assert_eq!(room(Duration::from_micros(10)), 2 + 500, "never more than this");
        assert_eq!(room(Duration::from_millis(2)), 2 + 2 * 10);
        assert_eq!(room(Duration::from_secs(1)), 2, "slow jobs are not taken ahead");
    }

    #[test]
    fn what_waits_runs_in_its_order_and_more_is_claimed_when_half_of_it_has_gone() {
        let slots = Slots::new([("default", 1)]);
        let mut first = slot(&slots, "default");
        assert!(first.next(Duration::from_millis(2)).is_none());
        let mut first = slot(&slots, "default");
        for id in 1..=10 {
            assert!(admit(&slots, "default", id).is_none());
        }
        for id in 1..=5 {
            assert_eq!(slots.room(), [], "{id}");
            assert_eq!(first.next(Duration::from_millis(2)).map(|held| held.job.id), Some(id));
        }
        assert_eq!(slots.room(), [("default", 5)]);
    }

    #[test]
    fn a_slot_without_a_next_job_is_free_at_once() {
        let slots = Slots::new([("default", 1)]);
        let mut lane = slot(&slots, "default");
        assert!(lane.next(Duration::from_secs(1)).is_none());
        let other = admit(&slots, "default", 1);
        assert!(other.is_some(), "the lane has not ended yet");
        drop(other);
        drop(lane);
        assert_eq!(slots.room(), [("default", 1)], "its slot is given back once");
    }

    #[test]
    fn what_waits_is_handed_out_and_not_claimed_again() {
        let slots = Slots::new([("default", 1)]);
        let mut lane = slot(&slots, "default");
        assert!(lane.next(Duration::from_micros(1)).is_none());
        let _lane = slot(&slots, "default");
        assert!(admit(&slots, "default", 1).is_none());
        assert!(slots.overdue().is_empty(), "it has only come");
        assert_eq!(slots.waiting().len(), 1);
        assert!(slots.waiting().is_empty());
    }

    #[test]
    fn a_queue_that_is_not_worked_here_is_told() {
        assert!(Slots::new([("default", 1)]).of("other").is_none());
    }
}
