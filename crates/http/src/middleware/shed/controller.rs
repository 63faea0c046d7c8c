//! How much to let in, decided anew for each window of time. No clock, no I/O.
//!
//! A process has more to do than it can where even the shortest wait in a queue is long (`CoDel`, RFC 8289): then the queue is
//! not a burst that is being worked off. What it can do is what it did meanwhile. So much is let in from then on, a
//! little less as long as the queue is still long, the most important first; and step by step more while queues are short,
//! until nothing has to be refused.

use std::time::Duration;

/// How many classes are let go, in the order of their importance.
pub(super) const CLASSES: usize = 3;

/// How fast the idea of what can be done follows what is done.
const SMOOTHING: f64 = 0.3;
/// How much more is tried in each window: a part of what is let in, and a part of the most that was done; the less, the
/// nearer waits are to the target.
const GROWTH: (f64, f64) = (0.05, 0.05);
/// What was done most is forgotten so slowly.
const FORGETTING: f64 = 0.99;
/// After so long without a request nothing is known any more.
const STALE: Duration = Duration::from_secs(1);

/// What happened in a window. Work is counted in units of cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// How long it was.
    pub(super) length: Duration,
    /// The shortest wait in the slowest queue that is worth looking at.
    pub(super) delay: Duration,
    /// What came, by class.
    pub(super) offered: [u64; CLASSES],
    /// What was done.
    pub(super) done: u64,
}

/// Remembers what can be done.
#[derive(Debug)]
pub(super) struct Controller {
    target: Duration,
    /// What is let in, in units a second; everything where nothing is known to be too much.
    admitted: Option<f64>,
    /// What is done, in units a second.
    done: f64,
    /// The most that was done lately.
    most_done: f64,
}

impl Controller {
    /// A controller that keeps the shortest wait below this.
    pub(super) fn new(target: Duration) -> Self {
        Self { target, admitted: None, done: 0.0, most_done: 0.0 }
    }

    /// Looks at a window. Returns by class which part to refuse from now on.
    pub(super) fn step(&mut self, window: Window) -> [f64; CLASSES] {
        if window.length > STALE {
            *self = Self::new(self.target);
            return [0.0; CLASSES];
        }
        let seconds = window.length.as_secs_f64();
        let offered = window.offered.map(|units| units as f64 / seconds);
        let done = window.done as f64 / seconds;
        self.done =
            if self.done == 0.0 { done } else { self.done + SMOOTHING * (done - self.done) };
        self.most_done = (self.most_done * FORGETTING).max(self.done);
        if window.delay > self.target {
            // Less than what is done, so that the queue gets shorter: the longer it is, the less.
            let excess = (window.delay.as_secs_f64() / self.target.as_secs_f64()).min(4.0);
            let admitted = self.done * (1.05 - 0.1 * excess);
            self.admitted = Some(self.admitted.map_or(admitted, |before| before.min(admitted)));
        } else if let Some(admitted) = &mut self.admitted {
            let near = window.delay.as_secs_f64() / self.target.as_secs_f64();
            *admitted += (1.0 - near) * (GROWTH.0 * *admitted + GROWTH.1 * self.most_done);
            if *admitted > 1.5 * offered.iter().sum::<f64>() && *admitted > self.most_done {
                self.admitted = None;
            }
        }
        self.refused(offered)
    }

    /// What is let in goes to the most important first.
    fn refused(&self, offered: [f64; CLASSES]) -> [f64; CLASSES] {
        let Some(mut left) = self.admitted else { return [0.0; CLASSES] };
        offered.map(|offered| {
            let taken = offered.min(left);
            left -= taken;
            if offered > taken { 1.0 - taken / offered } else { 0.0 }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(20);
    const WINDOW: Duration = Duration::from_millis(100);
    /// Units a second.
    const CAPACITY: f64 = 5_000.0;

    /// A server that does so much a second, first come, first served, by a clock of the test's own.
    struct Server {
        controller: Controller,
        refused: [f64; CLASSES],
        queued: f64,
    }

    /// What became of a window's requests.
    struct Outcome {
        let_in: [f64; CLASSES],
        /// How long the last of them waits.
        wait: Duration,
    }

    impl Server {
        fn new() -> Self {
            Self { controller: Controller::new(TARGET), refused: [0.0; CLASSES], queued: 0.0 }
        }

        /// Lets a window pass in which so much comes, in parts of the capacity.
        fn pass(&mut self, offered: [f64; CLASSES]) -> Outcome {
            let seconds = WINDOW.as_secs_f64();
            let offered = offered.map(|part| part * CAPACITY * seconds);
            let mut let_in = offered;
            for (units, refused) in let_in.iter_mut().zip(self.refused) {
                *units *= 1.0 - refused;
            }
            let before = self.queued;
            let came = let_in.iter().sum::<f64>();
            let done = (before + came).min(CAPACITY * seconds);
            self.queued = before + came - done;
            let delay = Duration::from_secs_f64(before.min(self.queued) / CAPACITY);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
            let window = Window {
                length: WINDOW,
                delay,
                offered: offered.map(|units| units as u64),
                done: done as u64,
            };
            self.refused = self.controller.step(window);
            Outcome { let_in, wait: Duration::from_secs_f64(self.queued / CAPACITY) }
        }
    }

    #[test]
    fn a_server_that_keeps_up_refuses_nobody() {
        let mut server = Server::new();
        for _ in 0..100 {
            server.pass([0.3, 0.4, 0.2]);
            assert_eq!(server.refused, [0.0; CLASSES]);
        }
    }

    #[test]
    fn a_burst_that_is_worked_off_costs_nobody_an_answer() {
        let mut server = Server::new();
        server.pass([0.3, 0.3, 0.5]);
        for _ in 0..20 {
            server.pass([0.3, 0.3, 0.1]);
            assert_eq!(server.refused, [0.0; CLASSES]);
        }
    }

    #[test]
    fn four_times_the_capacity_is_served_at_capacity_with_short_waits() {
        let mut server = Server::new();
        let mut let_in = 0.0;
        let mut waits = Vec::new();
        for window in 0..300 {
            let outcome = server.pass([0.2, 2.8, 1.0]);
            if window >= 20 {
                let_in += outcome.let_in.iter().sum::<f64>();
                waits.push(outcome.wait);
            }
        }
        let part = let_in / (CAPACITY * 28.0);
        assert!((0.85..=1.02).contains(&part), "{part} of the capacity is used");
        waits.sort_unstable();
        let slow = waits[waits.len() * 99 / 100];
        assert!(slow < Duration::from_millis(80), "{slow:?}");
    }

    #[test]
    fn the_least_important_goes_first_and_the_most_important_last() {
        let mut server = Server::new();
        let mut let_in = [0.0; CLASSES];
        for window in 0..300 {
            let outcome = server.pass([0.5, 0.6, 2.9]);
            if window >= 20 {
                for (sum, units) in let_in.iter_mut().zip(outcome.let_in) {
                    *sum += units;
                }
            }
        }
        let part = |class: usize, offered: f64| let_in[class] / (offered * CAPACITY * 28.0);
        let [high, middle, low] = [part(0, 0.5), part(1, 0.6), part(2, 2.9)];
        assert!(high > 0.99, "{high}");
        assert!((0.5..0.99).contains(&middle), "{middle}");
        assert!(low < 0.1, "{low}");
    }

    #[test]
    fn when_the_load_ends_everybody_is_served_within_two_seconds() {
        let mut server = Server::new();
        for _ in 0..300 {
            server.pass([0.5, 2.5, 1.0]);
        }
        assert!(server.refused[2] > 0.9);
        let normal = [0.1, 0.4, 0.3];
        let windows = (0..).find(|_| {
            server.pass(normal);
            server.refused == [0.0; CLASSES]
        });
        assert!(windows.is_some_and(|windows| windows < 20), "{windows:?}");
    }

    #[test]
    fn a_stall_is_forgotten_soon() {
        let mut server = Server::new();
        for _ in 0..50 {
            server.pass([0.2, 0.4, 0.2]);
        }
        for _ in 0..5 {
            let stalled =
                Window { length: WINDOW, delay: WINDOW, offered: [100, 200, 100], done: 0 };
            server.refused = server.controller.step(stalled);
        }
        assert!(server.refused[2] > 0.9);
        let windows = (0..).find(|_| {
            server.pass([0.2, 0.4, 0.2]);
            server.refused == [0.0; CLASSES]
        });
        assert!(windows.is_some_and(|windows| windows < 20), "{windows:?}");
    }

    #[test]
    fn after_silence_nothing_is_held_against_anybody() {
        let mut controller = Controller::new(TARGET);
        let window = Window { length: WINDOW, delay: WINDOW, offered: [900; 3], done: 100 };
        assert!(controller.step(window)[2] > 0.9);
        let long = Window { length: STALE * 2, ..window };
        assert_eq!(controller.step(long), [0.0; CLASSES]);
    }
}
