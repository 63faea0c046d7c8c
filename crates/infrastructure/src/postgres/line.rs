//! Who waits for a connection, who gets one next, and who is told to come again.
//!
//! First come, first served, while the line is a burst that is being worked off. One that is long and was never empty for a
//! while is not: then changes go before reads and the newest first, so that those who are served are served in time, and
//! those who have waited too long are refused.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// A line that was never empty for so long is not a burst that is being worked off (`CoDel`, RFC 8289).
const STANDS: Duration = Duration::from_millis(100);

/// Whoever is not refused when it was time looks again so often.
const AGAIN: Duration = Duration::from_millis(20);

/// What somebody wants a connection for, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// What no request asks for, or what all of them need: it is never refused.
    Upkeep,
    /// A unit of work of a request.
    Change,
    /// A read of a request.
    Read,
}

/// Why somebody's turn does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoTurn {
    #[error("too many wait for a connection for too long")]
    Refused,
    #[error("no connection was free in time")]
    TimedOut,
}

/// The line before a pool.
#[derive(Debug)]
pub(super) struct Line {
    /// More than so many wait before anybody is refused: fewer take the time that they take.
    crowd: usize,
    target: Option<Duration>,
    longest: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    came: u64,
    /// Whom to wake, by purpose, in the order of their coming.
    waiting: [BTreeMap<u64, oneshot::Sender<Turn>>; 3],
    /// When nobody waited last.
    empty_at: Instant,
}

/// The right to a connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn(Arc<Line>);

/// A place in the line, until it is dropped.
struct Place<'a> {
    line: &'a Line,
    purpose: Purpose,
    number: u64,
    turn: oneshot::Receiver<Turn>,
}

impl Line {
    /// The line before a pool of this size, in which nobody waits longer than the longest. Without a target nobody is
    /// refused, and everybody's turn comes in the order of their coming.
    pub(super) fn new(size: usize, longest: Duration, target: Option<Duration>) -> Arc<Self> {
        let state =
            State { free: size, came: 0, waiting: Default::default(), empty_at: Instant::now() };
        Arc::new(Self { crowd: 2 * size, target, longest, state: Mutex::new(state) })
    }

    /// Waits for a turn.
    pub(super) async fn turn(self: &Arc<Self>, purpose: Purpose) -> Result<Turn, NoTurn> {
        let mut place = match self.enter(purpose) {
            Ok(turn) => return Ok(turn),
            Err(place) => place,
        };
        let last = Instant::now() + self.longest;
        let mut until = match (self.target, purpose) {
            (None, _) | (_, Purpose::Upkeep) => last,
            (Some(target), _) => last.min(Instant::now() + 2 * target),
        };
        loop {
            if let Ok(turn) = timeout_at(until, &mut place.turn).await {
                return Ok(turn.expect("a place is kept until its turn has come"));
            }
            if until == last {
                return Err(NoTurn::TimedOut);
            }
            if self.is_too_much(&self.lock()) {
                return Err(NoTurn::Refused);
            }
            until = last.min(Instant::now() + AGAIN);
        }
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting()
    }

    fn enter(self: &Arc<Self>, purpose: Purpose) -> Result<Turn, Place<'_>> {
        let mut state = self.lock();
        if state.free > 0 {
            state.free -= 1;
            return Ok(Turn(Arc::clone(self)));
        }
        if state.waiting() == 0 {
            state.empty_at = Instant::now();
        }
        let (sender, turn) = oneshot::channel();
        let number = state.came;
        state.came += 1;
        state.waiting[purpose as usize].insert(number, sender);
        Err(Place { line: self, purpose, number, turn })
    }

    fn pass_on(self: &Arc<Self>) {
        let mut state = self.lock();
        let too_much = self.is_too_much(&state);
        let Some(next) = state.next(too_much) else {
            state.free += 1;
            return;
        };
        drop(state);
        // Whoever has gone meanwhile passes it on: the turn comes back, and is dropped.
        let _ = next.send(Turn(Arc::clone(self)));
    }

    fn is_too_much(&self, state: &State) -> bool {
        self.target.is_some() && state.waiting() > self.crowd && state.empty_at.elapsed() >= STANDS
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.waiting.iter().map(BTreeMap::len).sum()
    }

    fn next(&mut self, too_much: bool) -> Option<oneshot::Sender<Turn>> {
        let [upkeep, change, read] = &mut self.waiting;
        let (_, next) = if too_much {
            upkeep.pop_first().or_else(|| change.pop_last()).or_else(|| read.pop_last())?
        } else {
            let came = |queue: &&mut BTreeMap<u64, _>| queue.keys().next().copied();
            let queues = [upkeep, change, read].into_iter().filter(|queue| !queue.is_empty());
            queues.min_by_key(came)?.pop_first()?
        };
        Some(next)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.line.lock().waiting[self.purpose as usize].remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;
    use tokio::time::sleep;

    use super::*;

    const TARGET: Duration = Duration::from_millis(20);
    const LONGEST: Duration = Duration::from_secs(2);
    const SIZE: usize = 4;
    /// Of one request, so the pool serves 400 a second.
    const SERVICE: Duration = Duration::from_millis(10);

    struct Outcome {
        purpose: Purpose,
        came: Duration,
        waited: Duration,
        refused: Option<NoTurn>,
    }

    /// Lets requests come to a pool at a rate, one change in ten and reads else, by the clock of the test.
    async fn load(target: Option<Duration>, rate: f64, length: Duration) -> Vec<Outcome> {
        let line = Line::new(SIZE, LONGEST, target);
        let (began, mut requests) = (Instant::now(), JoinSet::new());
        for number in 0.. {
            let came = Duration::from_secs_f64(f64::from(number) / rate);
            if came >= length {
                break;
            }
            tokio::time::sleep_until(began + came).await;
            let purpose = if number % 10 == 0 { Purpose::Change } else { Purpose::Read };
            let line = Arc::clone(&line);
            requests.spawn(async move {
                let entered = Instant::now();
                let turn = line.turn(purpose).await;
                let waited = entered.elapsed();
                if turn.is_ok() {
                    sleep(SERVICE).await;
                }
                Outcome { purpose, came, waited, refused: turn.err() }
            });
        }
        let outcomes = requests.join_all().await;
        assert_eq!((line.waiting(), line.lock().free), (0, SIZE), "all turns came back");
        outcomes
    }

    fn refused(outcomes: &[Outcome]) -> usize {
        outcomes.iter().filter(|outcome| outcome.refused.is_some()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_refused_by_a_pool_that_keeps_up() {
        let outcomes = load(Some(TARGET), 380.0, Duration::from_secs(5)).await;
        assert_eq!(refused(&outcomes), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_that_is_worked_off_costs_nobody_an_answer() {
        // 36 at once need 90 ms.
        let outcomes = load(Some(TARGET), 36e6, Duration::from_micros(1)).await;
        assert_eq!((outcomes.len(), refused(&outcomes)), (36, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn four_times_of_what_can_be_done_is_served_at_capacity_at_once_and_changes_first() {
        let outcomes = load(Some(TARGET), 1_600.0, Duration::from_secs(10)).await;
        let settled = || outcomes.iter().filter(|o| o.came > Duration::from_millis(200));
        let mut waits: Vec<_> =
            settled().filter(|o| o.refused.is_none()).map(|o| o.waited).collect();
        assert!((3_800..=4_000).contains(&waits.len()), "{}", waits.len());
        waits.sort_unstable();
        let slow = waits[waits.len() * 99 / 100];
        assert!(slow <= SERVICE, "{slow:?}");
        let given_up = settled().filter(|o| o.refused.is_some()).map(|o| o.waited).max();
        assert!(given_up.unwrap() <= 3 * TARGET, "{given_up:?}");
        let changes = || settled().filter(|o| o.purpose == Purpose::Change);
        assert_eq!(changes().filter(|change| change.refused.is_some()).count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_target_everybody_waits_in_turn_until_the_longest_wait() {
        let outcomes = load(None, 1_600.0, Duration::from_secs(1)).await;
        // A second of four times of what can be done, of which the last would wait three.
        let late = outcomes.iter().filter(|o| o.refused == Some(NoTurn::TimedOut));
        let (late, all) = (late.count(), refused(&outcomes));
        assert!(late == all && late > 0, "{late} of {all}");
        let served = outcomes.iter().filter(|o| o.refused.is_none());
        let longest = served.map(|o| (o.came, o.waited)).max_by_key(|(_, waited)| *waited);
        assert!(longest.unwrap().1 <= LONGEST, "{longest:?}");
    }

    /// Takes the only turn, and asks for others.
    async fn asked(line: &Arc<Line>, purposes: &[Purpose]) -> (Turn, JoinSet<(usize, Turn)>) {
        let turn = line.turn(Purpose::Read).await.unwrap();
        let mut places = JoinSet::new();
        for (number, purpose) in purposes.iter().copied().enumerate() {
            let line = Arc::clone(line);
            places.spawn(async move { (number, line.turn(purpose).await.unwrap()) });
            tokio::task::yield_now().await;
        }
        (turn, places)
    }

    async fn order(turn: Turn, mut places: JoinSet<(usize, Turn)>) -> Vec<usize> {
        drop(turn);
        let mut order = Vec::new();
        while let Some(place) = places.join_next().await {
            order.push(place.unwrap().0);
        }
        order
    }

    #[tokio::test(start_paused = true)]
    async fn first_come_first_served_until_it_is_too_much() {
        use Purpose::{Change, Read, Upkeep};
        let wanted = [Read, Change, Read, Upkeep, Change, Upkeep];
        let line = Line::new(1, LONGEST, Some(Duration::from_millis(200)));
        let (turn, places) = asked(&line, &wanted).await;
        assert_eq!(order(turn, places).await, [0, 1, 2, 3, 4, 5]);
        let (turn, places) = asked(&line, &wanted).await;
        sleep(STANDS).await;
        // With two left it is no crowd any more.
        assert_eq!(order(turn, places).await, [3, 5, 4, 1, 0, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_leaves_the_line_keeps_nobody_waiting() {
        let line = Line::new(1, LONGEST, Some(TARGET));
        let turn = line.turn(Purpose::Read).await.unwrap();
        let gone = tokio::time::timeout(TARGET, line.turn(Purpose::Change)).await;
        assert!(gone.is_err() && line.waiting() == 0);
        drop(turn);
        assert!(line.turn(Purpose::Read).await.is_ok());
        assert_eq!(line.lock().free, 1);
    }
}
