//! One loading for each key: who comes while it is under way waits for it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::kernel::error::Failure;

/// What a loading came to, for all who wait.
pub(super) type Outcome<T> = Result<T, Failure>;

/// The loadings that are under way.
pub(super) struct Flights<K, T>(Mutex<Table<K, T>>);

struct Table<K, T> {
    next: u64,
    flights: HashMap<K, Flight<T>>,
}

struct Flight<T> {
    id: u64,
    generation: u64,
    outcome: watch::Receiver<Option<Outcome<T>>>,
}

/// Waits for a loading.
pub(super) struct Passenger<T>(watch::Receiver<Option<Outcome<T>>>);

/// Tells what a loading came to. Without that, because it panicked, those who wait are told of a defect.
pub(super) struct Pilot<T> {
    id: u64,
    outcome: watch::Sender<Option<Outcome<T>>>,
}

/// A key's loading.
pub(super) enum Boarding<T, H> {
    /// It has come meanwhile.
    Here(H),
    /// It is under way.
    Aboard(Passenger<T>),
    /// It is the caller's to begin.
    First(Pilot<T>, Passenger<T>),
}

impl<K: Clone + Eq + Hash, T: Clone> Flights<K, T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Table { next: 0, flights: HashMap::new() }))
    }

    /// Joins the loading of a key, or becomes the one to begin it. One of an earlier generation began before a change
    /// that the caller may know of, and is not for it. `look` is asked again when no other can land.
    pub(super) fn board<H>(
        &self,
        key: &K,
        generation: u64,
        look: impl FnOnce() -> Option<H>,
    ) -> Boarding<T, H> {
        let mut table = self.table();
        if let Some(flight) = table.flights.get(key).filter(|f| f.generation == generation) {
            return Boarding::Aboard(Passenger(flight.outcome.clone()));
        }
        if let Some(here) = look() {
            return Boarding::Here(here);
        }
        let (sender, receiver) = watch::channel(None);
        table.next += 1;
        let id = table.next;
        table.flights.insert(key.clone(), Flight { id, generation, outcome: receiver.clone() });
        Boarding::First(Pilot { id, outcome: sender }, Passenger(receiver))
    }

    /// Ends a loading. Its value must be where it will be looked for before.
    pub(super) fn land(&self, key: &K, pilot: &Pilot<T>, outcome: Option<Outcome<T>>) {
        let mut table = self.table();
        if table.flights.get(key).is_some_and(|flight| flight.id == pilot.id) {
            table.flights.remove(key);
        }
        drop(table);
        if outcome.is_some() {
            pilot.outcome.send_replace(outcome);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table<K, T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Passenger<T> {
    pub(super) async fn arrived(mut self) -> Outcome<T> {
        match self.0.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or_else(|| Err(lost())),
            Err(_) => Err(lost()),
        }
    }
}

fn lost() -> Failure {
    Failure::internal("what was to be loaded into a cache was lost on the way")
}
