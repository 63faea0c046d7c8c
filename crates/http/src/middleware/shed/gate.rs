//! Who is let in: a cap on the requests in flight for each class, and under it what the controller decides by the queues.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use convene_application::kernel::queueing::{Queue, Waiting};

use super::controller::{CLASSES, Controller, Window};
use crate::class::{Class, Priority};

/// How often the controller looks at the queues.
const WINDOW: Duration = Duration::from_millis(100);
/// Waits matter only where so many requests, or connections, share them: below, the time that each takes is what it
/// takes, and to refuse some would help nobody.
const CROWD: usize = 32;
/// 2³² by the golden ratio: the multiples of it are spread evenly, so that a part of them is a part of any few of them.
const SPREAD: u32 = 0x9E37_79B9;

/// What decides who is let in.
#[derive(Debug)]
pub(crate) struct Gate {
    most: usize,
    in_flight: AtomicUsize,
    connections: AtomicUsize,
    control: Option<Control>,
}

/// What the decision by queues needs.
#[derive(Debug)]
struct Control {
    began: Instant,
    /// When the window ends, in nanoseconds since the beginning.
    ends: AtomicU64,
    controller: Mutex<(Controller, Instant)>,
    /// Tasks that wait for the main runtime.
    turns: Arc<Queue>,
    /// Tasks that wait for the thread that reads requests and writes replies.
    threads: Arc<Queue>,
    offered: [AtomicU64; CLASSES],
    done: AtomicU64,
    /// Which part of each class to refuse, in parts of 2³².
    refused: [AtomicU32; CLASSES],
    counted: AtomicU32,
}

/// Why somebody is not let in, as metrics see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Refusal {
    /// As many are in flight as may be of this class.
    Cap,
    /// Queues are long.
    Queue,
}

impl Gate {
    /// A gate for at most so many in flight. With a target, queues in which even the shortest wait is longer are kept short.
    pub(crate) fn new(most: usize, target: Option<Duration>, turns: Arc<Queue>) -> Self {
        let control = target.map(|target| {
            let now = Instant::now();
            Control {
                began: now,
                ends: AtomicU64::new(0),
                controller: Mutex::new((Controller::new(target), now)),
                turns,
                threads: Arc::default(),
                offered: Default::default(),
                done: AtomicU64::new(0),
                refused: Default::default(),
                counted: AtomicU32::new(0),
            }
        });
        Self { most, in_flight: AtomicUsize::new(0), connections: AtomicUsize::new(0), control }
    }

    /// Counts a connection until what is returned is dropped.
    pub(crate) fn connected(self: &Arc<Self>) -> Connected {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Connected(Arc::clone(self))
    }

    /// Lets a request in, or tells why not.
    pub(super) fn admit(self: &Arc<Self>, class: Class) -> Result<InFlight, Refusal> {
        if let Some(control) = &self.control {
            control.turn(self);
            control.probe_thread();
            if let Some(place) = place(class.priority) {
                control.offered[place].fetch_add(u64::from(class.cost), Ordering::Relaxed);
                if control.refuses(place) && self.in_flight.load(Ordering::Relaxed) > CROWD {
                    return Err(Refusal::Queue);
                }
            }
        }
        if self.in_flight.fetch_add(1, Ordering::Relaxed) < self.cap(class.priority) {
            return Ok(InFlight { gate: Arc::clone(self), cost: class.cost });
        }
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        Err(Refusal::Cap)
    }

    /// Lists cannot take the places of changes.
    fn cap(&self, priority: Priority) -> usize {
        match (priority, &self.control) {
            (Priority::Operations, _) => usize::MAX,
            (Priority::High, _) | (_, None) => self.most,
            (Priority::Middle, Some(_)) => self.most.div_ceil(2),
            (Priority::Low, Some(_)) => self.most.div_ceil(4),
        }
    }
}

impl Control {
    /// Ends the window if it is over: one of the requests that come then does.
    fn turn(&self, gate: &Gate) {
        let now = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let ends = self.ends.load(Ordering::Relaxed);
        let next = now + WINDOW.as_nanos() as u64;
        let is_over = now >= ends;
        if !is_over
            || self.ends.compare_exchange(ends, next, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return;
        }
        let Ok(mut controller) = self.controller.try_lock() else { return };
        let (controller, since) = &mut *controller;
        let length = since.elapsed();
        if length < WINDOW / 2 {
            return;
        }
        *since = Instant::now();
        let window = Window {
            length,
            delay: self.delay(gate),
            offered: std::array::from_fn(|class| self.offered[class].swap(0, Ordering::Relaxed)),
            done: self.done.swap(0, Ordering::Relaxed),
        };
        let parts = controller.step(window);
        for (refused, part) in self.refused.iter().zip(parts) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1")]
            let part = (part.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32;
            refused.store(part, Ordering::Relaxed);
        }
        metrics::gauge!("convene_queue_delay_seconds").set(window.delay.as_secs_f64());
    }

    /// The shortest wait in the slowest queue that many share. Where nobody's turn came, it is at least a window.
    fn delay(&self, gate: &Gate) -> Duration {
        let many = gate.in_flight.load(Ordering::Relaxed) > CROWD;
        let crowded = gate.connections.load(Ordering::Relaxed) > CROWD;
        let delay = |queue: &Queue, many| {
            let delay = queue.look().unwrap_or(WINDOW);
            if many { delay } else { Duration::ZERO }
        };
        delay(&self.turns, many).max(delay(&self.threads, crowded))
    }

    fn refuses(&self, class: usize) -> bool {
        let part = self.refused[class].load(Ordering::Relaxed);
        part > 0 && {
            let counted = self.counted.fetch_add(1, Ordering::Relaxed);
            counted.wrapping_mul(SPREAD) < part
        }
    }

    /// Measures how long a task waits for its turn on this thread, one at a time.
    fn probe_thread(&self) {
        thread_local! {
            static PROBING: Cell<bool> = const { Cell::new(false) };
        }
        /// Also dropped with a runtime that ends before the task's turn.
        struct Probe {
            _turn: Waiting<Arc<Queue>>,
        }
        impl Drop for Probe {
            fn drop(&mut self) {
                PROBING.set(false);
            }
        }
        if !PROBING.replace(true) {
            let probe = Probe { _turn: Waiting::begin(Arc::clone(&self.threads)) };
            actix_web::rt::spawn(async move { drop(probe) });
        }
    }
}

fn place(priority: Priority) -> Option<usize> {
    match priority {
        Priority::Operations => None,
        Priority::High => Some(0),
        Priority::Middle => Some(1),
        Priority::Low => Some(2),
    }
}

/// A request in flight, until it is dropped.
#[derive(Debug)]
pub(super) struct InFlight {
    gate: Arc<Gate>,
    cost: u32,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.gate.in_flight.fetch_sub(1, Ordering::Relaxed);
        if let Some(control) = &self.gate.control {
            control.done.fetch_add(u64::from(self.cost), Ordering::Relaxed);
        }
    }
}

/// An open connection, until it is dropped.
#[derive(Debug)]
pub struct Connected(Arc<Gate>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(priority: Priority) -> Class {
        Class { cost: 1, priority }
    }

    #[actix_web::test]
    async fn the_cap_leaves_places_for_what_matters_more() {
        let gate = Arc::new(Gate::new(8, Some(Duration::from_millis(20)), Arc::default()));
        let mut taken = Vec::new();
        for (priority, places) in [(Priority::Low, 2), (Priority::Middle, 4), (Priority::High, 8)] {
            while let Ok(place) = gate.admit(class(priority)) {
                taken.push(place);
            }
            assert_eq!(taken.len(), places, "{priority:?}");
        }
        assert!(gate.admit(class(Priority::Operations)).is_ok());
        taken.clear();
        assert!(gate.admit(class(Priority::Low)).is_ok());
    }

    #[actix_web::test]
    async fn without_a_target_there_is_one_cap() {
        let gate = Arc::new(Gate::new(2, None, Arc::default()));
        let _taken = [gate.admit(class(Priority::Low)), gate.admit(class(Priority::Low))];
        assert_eq!(gate.admit(class(Priority::High)).err(), Some(Refusal::Cap));
    }

    #[actix_web::test]
    async fn a_part_of_a_class_is_refused_evenly_and_only_in_a_crowd() {
        let gate = Arc::new(Gate::new(10_000, Some(Duration::from_secs(1)), Arc::default()));
        let control = gate.control.as_ref().unwrap();
        // No window ends in this test.
        control.ends.store(u64::MAX, Ordering::Relaxed);
        control.refused[2].store(u32::MAX / 4, Ordering::Relaxed);
        let mut taken = Vec::new();
        while taken.len() <= CROWD {
            taken.push(gate.admit(class(Priority::Low)).unwrap());
        }
        let refused = (0..100).filter(|_| gate.admit(class(Priority::Low)).is_err()).count();
        assert!((24..=26).contains(&refused), "{refused}");
        assert!((0..100).all(|_| gate.admit(class(Priority::Middle)).is_ok()));
    }

    #[actix_web::test]
    async fn a_queue_in_which_nobodys_turn_comes_is_long() {
        let queue = Arc::new(Queue::default());
        let gate = Arc::new(Gate::new(10_000, Some(Duration::from_millis(1)), Arc::clone(&queue)));
        let control = gate.control.as_ref().unwrap();
        let _stuck = queue.wait();
        assert_eq!(control.delay(&gate), Duration::ZERO, "nobody shares it");
        gate.in_flight.store(CROWD + 1, Ordering::Relaxed);
        assert_eq!(control.delay(&gate), WINDOW);
    }
}
