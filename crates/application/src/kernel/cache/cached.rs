//! The cache of one kind of value.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::SignedDuration;
use metrics::Counter;
use moka::sync::Cache;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::entry::{Entry, Held, Times};
use super::flight::{Boarding, Flights, Pilot};
use super::shared::{Parcel, shared_key};
use super::{Generations, Key, Record, SharedLayer};
use crate::kernel::error::Failure;
use crate::kernel::random::Random;
use crate::kernel::store::StoreError;

/// Loadings of one process that are under way at once, of all kinds: whatever else fails, the database is asked no more
/// than this.
const LOADS: usize = 16;
/// How much later by the store's clock another process may have loaded what it shares than this one has read the feed. What
/// is later still was loaded before the clock was set back, and may be older than a change from after that.
const AHEAD: SignedDuration = SignedDuration::from_secs(5);
/// How long a loading may wait for its place among them.
const PATIENCE: Duration = Duration::from_secs(1);
/// For how long after the feed was heard last everybody is still answered from memory. Five seconds after the database has
/// gone, clients are told so.
const OUTAGE: Duration = Duration::from_secs(4);
/// About what an entry takes beside its value.
const OVERHEAD: u32 = 200;

/// Loads what is not cached.
#[async_trait]
pub trait Load<K, T>: Send + Sync {
    /// The value of a key as it is now; none if there is none.
    ///
    /// # Errors
    /// The store's.
    async fn load(&self, key: &K) -> Result<Option<T>, StoreError>;
}

/// For how long and how much of it a kind is cached. Each time is varied by a tenth, so that what came together does not
/// go together.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// What the metrics call it.
    pub name: &'static str,
    /// How long a value is served from the memory of a process.
    pub local: Duration,
    /// How long it is known there that there is no value. That is not shared: anybody can ask for what there is not.
    pub absent: Duration,
    /// How long a value is shared.
    pub shared: Duration,
    /// For how long after that a value is served while the database fails.
    pub stale: Duration,
    /// The most bytes that values take in a process, about.
    pub bytes: u64,
}

impl Policy {
    /// Usual times.
    #[must_use]
    pub const fn new(name: &'static str, bytes: u64) -> Self {
        Self {
            name,
            local: Duration::from_millis(4_500),
            absent: Duration::from_secs(2),
            shared: Duration::from_secs(60),
            stale: Duration::from_secs(30),
            bytes,
        }
    }
}

/// What the caches of a process have in common.
#[derive(Clone)]
pub struct Caches {
    generations: Arc<Generations>,
    epoch: Arc<OnceLock<Uuid>>,
    shared: Option<Arc<dyn SharedLayer>>,
    random: Arc<dyn Random>,
    loads: Arc<Semaphore>,
}

impl Caches {
    /// Caches that believe what these generations do. `epoch` becomes known with the feed; nothing is shared before.
    #[must_use]
    pub fn new(
        generations: Arc<Generations>,
        epoch: Arc<OnceLock<Uuid>>,
        shared: Option<Arc<dyn SharedLayer>>,
        random: Arc<dyn Random>,
    ) -> Self {
        Self { generations, epoch, shared, random, loads: Arc::new(Semaphore::new(LOADS)) }
    }

    /// Caches that no feed vouches for: they always ask the store.
    #[must_use]
    pub fn none(random: Arc<dyn Random>) -> Self {
        Self::new(Arc::default(), Arc::default(), None, random)
    }

    /// Whether what is cached is believed at the moment.
    #[must_use]
    pub fn are_believed(&self) -> bool {
        self.generations.are_known()
    }

    /// The cache of one kind.
    #[must_use]
    pub fn of<K: Key, T: Record>(&self, policy: Policy, load: Arc<dyn Load<K, T>>) -> Cached<K, T> {
        let weight = |_: &K, entry: &Arc<Entry<T>>| {
            OVERHEAD + entry.held.as_ref().map_or(0, |held| held.weight())
        };
        let local = Cache::builder()
            .weigher(weight)
            .max_capacity(policy.bytes)
            .time_to_live(varied_at_most(policy.local) + policy.stale)
            .build();
        let (caches, flights, counts) = (self.clone(), Flights::new(), Counts::of(policy.name));
        Cached(Arc::new(Inner { caches, policy, load, local, flights, counts }))
    }
}

/// What is held of a key: a value, or that there is none.
type Found<T> = Option<Arc<Held<T>>>;

/// The cache of one kind of value. Cheap to clone.
pub struct Cached<K: Key, T: Record>(Arc<Inner<K, T>>);

impl<K: Key, T: Record> Clone for Cached<K, T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<K: Key, T: Record> {
    caches: Caches,
    policy: Policy,
    load: Arc<dyn Load<K, T>>,
    local: Cache<K, Arc<Entry<T>>>,
    flights: Flights<K, Found<T>>,
    counts: Counts,
}

/// How often the cache was asked, and what came of it.
struct Counts {
    /// Served from the memory of this process.
    hit: Counter,
    /// Found in the shared layer.
    shared: Counter,
    /// Loaded from the store.
    loaded: Counter,
    /// Asked of the store, because the feed vouches for nothing.
    unvouched: Counter,
    /// Served past its time, because the store failed.
    stale: Counter,
}

impl Counts {
    fn of(cache: &'static str) -> Self {
        let counter = |outcome: &'static str| metrics::counter!("convene_cache_total", "cache" => cache, "outcome" => outcome);
        Self {
            hit: counter("hit"),
            shared: counter("shared"),
            loaded: counter("loaded"),
            unvouched: counter("unvouched"),
            stale: counter("stale"),
        }
    }
}

impl<K: Key, T: Record> Cached<K, T> {
    /// What this process holds and believes, now and without waiting. None says nothing: ask [`Cached::get`].
    #[must_use]
    pub fn peek(&self, key: &K) -> Option<Found<T>> {
        let now = self.0.caches.generations.now();
        let entry = self.0.believed(key, now)?;
        (!entry.wants_refresh(now)).then(|| {
            self.0.counts.hit.increment(1);
            entry.held.clone()
        })
    }

    /// The value of a key; none if there is none. To be called in the runtime of the store's connections.
    ///
    /// # Errors
    /// `unavailable` if neither the caches nor the store know.
    pub async fn get(&self, key: &K) -> Result<Found<T>, Failure> {
        let Inner { caches, flights, .. } = &*self.0;
        if !caches.are_believed() {
            self.0.counts.unvouched.increment(1);
            return Ok(self.0.load(key).await?.map(|value| Arc::new(Held::new(value))));
        }
        let now = caches.generations.now();
        if let Some(entry) = self.0.believed(key, now) {
            self.0.counts.hit.increment(1);
            if entry.claim_refresh(now) {
                let generation = caches.generations.of(&key.stale());
                if let Boarding::First(pilot, _) = flights.board(key, generation, || None::<()>) {
                    self.fly(key, generation, pilot);
                }
            }
            return Ok(entry.held.clone());
        }
        let generation = caches.generations.of(&key.stale());
        match flights.board(key, generation, || self.0.believed(key, now)) {
            Boarding::Here(entry) => Ok(entry.held.clone()),
            Boarding::Aboard(passenger) => passenger.arrived().await,
            Boarding::First(pilot, passenger) => {
                self.fly(key, generation, pilot);
                passenger.arrived().await
            }
        }
    }

    /// What was held last, in the first four seconds of a database that has gone away: a failover is shorter than that. For
    /// what everybody may see.
    #[must_use]
    pub fn last_known(&self, key: &K) -> Option<Arc<Held<T>>> {
        let (generations, entry) = (&self.0.caches.generations, self.0.local.get(key)?);
        let usable = generations.were_known_within(OUTAGE)
            && entry.generation == generations.of(&key.stale())
            && generations.now() < entry.times.gone_at;
        usable.then(|| entry.held.clone()).flatten()
    }

    /// Loads a key in a task of its own, which ends whoever goes away meanwhile.
    fn fly(&self, key: &K, generation: u64, pilot: Pilot<Found<T>>) {
        let (inner, key) = (Arc::clone(&self.0), key.clone());
        tokio::spawn(async move {
            let flight = Landing { inner: &inner, key: &key, pilot: &pilot };
            let (outcome, parcel) = inner.fetch(&key, generation).await;
            inner.flights.land(flight.key, flight.pilot, Some(outcome));
            if let (Some((name, bytes)), Some(shared)) = (parcel, &inner.caches.shared) {
                shared.put(&name, bytes, inner.caches.varied(inner.policy.shared)).await;
            }
        });
    }
}

/// Lets others begin when a loading ends, also by a panic.
struct Landing<'a, K: Key, T: Record> {
    inner: &'a Inner<K, T>,
    key: &'a K,
    pilot: &'a Pilot<Found<T>>,
}

impl<K: Key, T: Record> Drop for Landing<'_, K, T> {
    fn drop(&mut self) {
        self.inner.flights.land(self.key, self.pilot, None);
    }
}

/// Something to be shared, and under which name.
type Outbound = Option<(String, bytes::Bytes)>;

impl<K: Key, T: Record> Inner<K, T> {
    /// The entry that may be served now.
    fn believed(&self, key: &K, now: Instant) -> Option<Arc<Entry<T>>> {
        if !self.caches.are_believed() {
            return None;
        }
        let entry = self.local.get(key)?;
        let present = entry.generation == self.caches.generations.of(&key.stale());
        (present && now < entry.times.expires_at).then_some(entry)
    }

    /// Finds a value behind this process, and keeps it here.
    async fn fetch(&self, key: &K, generation: u64) -> (Result<Found<T>, Failure>, Outbound) {
        let (generations, stale) = (&self.caches.generations, key.stale());
        let loaded_at = generations.as_of();
        let name = self.caches.epoch.get().map(|epoch| shared_key(*epoch, T::FORM, &stale));
        if let (Some(name), Some(shared), Some(now)) = (&name, &self.caches.shared, loaded_at)
            && let Some(parcel) = shared.get(name).await.and_then(|bytes| Parcel::open(&bytes))
            && !generations.outdates(&stale, parcel.loaded_at)
            && self.is_young(now.duration_since(parcel.loaded_at))
        {
            self.counts.shared.increment(1);
            return (Ok(self.keep(key, Some(parcel.value), generation)), None);
        }
        match self.load(key).await {
            Ok(value) => {
                self.counts.loaded.increment(1);
                // What has changed meanwhile would be believed by nobody.
                let current = generations.of(&stale) == generation;
                let parcel = match (&value, name, loaded_at) {
                    (Some(value), Some(name), Some(loaded_at)) if current => {
                        Parcel::pack(loaded_at, value).map(|bytes| (name, bytes))
                    }
                    _ => None,
                };
                (Ok(self.keep(key, value, generation)), parcel)
            }
            Err(error) => (self.instead(key, Failure::from(error)), None),
        }
    }

    /// Whether what is shared is young enough to be kept, and not from a time that is still to come.
    fn is_young(&self, age: SignedDuration) -> bool {
        age > -AHEAD && age.unsigned_abs() < self.caches.early(self.policy.shared)
    }

    /// One of a bounded number of loadings.
    async fn load(&self, key: &K) -> Result<Option<T>, StoreError> {
        let place = tokio::time::timeout(PATIENCE, self.caches.loads.acquire()).await;
        let _place = place.map_err(|elapsed| StoreError::Unavailable(Box::new(elapsed)))?;
        self.load.load(key).await
    }

    fn keep(&self, key: &K, value: Option<T>, generation: u64) -> Found<T> {
        let Policy { local, absent, stale, .. } = self.policy;
        let held = value.map(|value| Arc::new(Held::new(value)));
        let life = self.caches.varied(if held.is_some() { local } else { absent });
        let now = self.caches.generations.now();
        let times = Times {
            refresh_at: now + life * 4 / 5,
            expires_at: now + life,
            gone_at: now + life + stale,
        };
        // What is void already must not take the place of what is not.
        if self.caches.generations.of(&key.stale()) == generation {
            self.local.insert(key.clone(), Arc::new(Entry::new(held.clone(), generation, times)));
        }
        held
    }

    /// What is answered instead of a failure of the store: the value from before, if it has not changed as far as is
    /// known. The next attempt waits for a second.
    fn instead(&self, key: &K, failure: Failure) -> Result<Found<T>, Failure> {
        let now = self.caches.generations.now();
        let usable = |entry: &Arc<Entry<T>>| {
            self.caches.are_believed()
                && entry.generation == self.caches.generations.of(&key.stale())
                && now < entry.times.gone_at
        };
        let Some(entry) = self.local.get(key).filter(usable) else { return Err(failure) };
        if !failure.is_temporary() {
            return Err(failure);
        }
        self.counts.stale.increment(1);
        let again = (now + Duration::from_secs(1)).min(entry.times.gone_at);
        let times = Times { refresh_at: again, expires_at: again, ..entry.times };
        let kept = Entry::new(entry.held.clone(), entry.generation, times);
        self.local.insert(key.clone(), Arc::new(kept));
        Ok(entry.held.clone())
    }
}

impl Caches {
    /// A time, more or less by up to a tenth.
    fn varied(&self, time: Duration) -> Duration {
        time.mul_f64(0.9 + 0.2 * self.chance())
    }

    /// Some point behind four fifths of a time: processes that share a value do not all load it anew at the same moment.
    fn early(&self, time: Duration) -> Duration {
        time.mul_f64(0.8 + 0.1 * self.chance())
    }

    /// A number from 0 to 1.
    fn chance(&self) -> f64 {
        f64::from(u32::from_be_bytes(self.random.bytes())) / f64::from(u32::MAX)
    }
}

fn varied_at_most(time: Duration) -> Duration {
    time.mul_f64(1.1)
}
