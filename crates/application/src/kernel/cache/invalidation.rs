//! What has changed since it was remembered.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::kernel::clock::{Monotonic, SystemMonotonic};
use crate::kernel::feed::{self, Follow, OVERLAP, Progress, within};
use crate::kernel::store::StoreError;
use crate::kernel::wake::Wake;

/// Keys share this many counters. Two that meet in one only cost each other a loading.
const STRIPES: usize = 1 << 14;
/// The most invalidations that one reading takes; beyond it everything is void.
const MOST: usize = 20_000;
/// How long the feed may have been away and still know what it missed: less than its rows are kept.
const MISSED: SignedDuration = SignedDuration::from_mins(15);

/// The key of something that has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stale<K = &'static str> {
    /// What kind of thing.
    pub kind: K,
    /// Which.
    pub subject: Uuid,
    /// The second part of a key that has two.
    pub part: Option<Uuid>,
}

impl Stale {
    /// A thing with one id.
    #[must_use]
    pub const fn of(kind: &'static str, subject: Uuid) -> Self {
        Self { kind, subject, part: None }
    }

    /// Something between two.
    #[must_use]
    pub const fn between(kind: &'static str, subject: Uuid, part: Uuid) -> Self {
        Self { kind, subject, part: Some(part) }
    }
}

impl<K: AsRef<str>> Stale<K> {
    /// Spreads keys over the stripes, alike in each process and fast: nobody chooses these ids.
    fn stripe(&self) -> usize {
        const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut hash = self
            .kind
            .as_ref()
            .bytes()
            .fold(0_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        for uuid in [self.subject, self.part.unwrap_or_default()] {
            let (high, low) = uuid.as_u64_pair();
            for half in [high, low] {
                hash = (hash ^ half).wrapping_mul(FACTOR).rotate_left(31);
            }
        }
        usize::try_from(hash >> 32).unwrap_or_default() % STRIPES
    }
}

/// What a process knows about changes: a generation for each key, and when the key changed last.
#[derive(Debug)]
pub struct Generations {
    stripes: Box<[Stripe]>,
    /// Counts for every key.
    all: Stripe,
    progress: Progress,
}

#[derive(Debug)]
struct Stripe {
    generation: AtomicU64,
    /// When the last change was written, in the store's microseconds since 1970.
    changed_at: AtomicI64,
}

impl Default for Stripe {
    fn default() -> Self {
        Self { generation: AtomicU64::new(0), changed_at: AtomicI64::new(i64::MIN) }
    }
}

impl Stripe {
    /// In this order: who sees the old generation may see the new time, but never the other way round.
    fn change(&self, at: Timestamp) {
        self.changed_at.fetch_max(at.as_microsecond(), Ordering::AcqRel);
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}

impl Default for Generations {
    fn default() -> Self {
        Self::new(Arc::new(SystemMonotonic))
    }
}

impl Generations {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Monotonic>) -> Self {
        let stripes = std::iter::repeat_with(Stripe::default).take(STRIPES).collect();
        Self { stripes, all: Stripe::default(), progress: Progress::new(clock) }
    }

    /// Now.
    pub(super) fn now(&self) -> Instant {
        self.progress.now()
    }

    /// The generation of a key. It never returns to an earlier one.
    #[must_use]
    pub fn of<K: AsRef<str>>(&self, key: &Stale<K>) -> u64 {
        let own = self.stripe(key).generation.load(Ordering::Acquire);
        own.wrapping_add(self.all.generation.load(Ordering::Acquire))
    }

    /// Whether a value whose loading began at this time of the store has seen every change of its key that is known.
    #[must_use]
    pub fn outdates<K: AsRef<str>>(&self, key: &Stale<K>, loaded_at: Timestamp) -> bool {
        let changed_at = |stripe: &Stripe| stripe.changed_at.load(Ordering::Acquire);
        let changed_at = changed_at(self.stripe(key)).max(changed_at(&self.all));
        let committed_by =
            changed_at.saturating_add(i64::try_from(OVERLAP.as_micros()).unwrap_or(i64::MAX));
        loaded_at.as_microsecond() <= committed_by
    }

    /// This process has committed a change of these keys.
    pub fn changed_here(&self, keys: &[Stale]) {
        let now = self.progress.not_before_now();
        for key in keys {
            self.stripe(key).change(now);
        }
    }

    /// Whether all changes are known that were committed more than a second ago.
    #[must_use]
    pub fn are_known(&self) -> bool {
        self.progress.is_fresh()
    }

    /// Whether that was so less than this ago.
    pub(super) fn were_known_within(&self, age: Duration) -> bool {
        self.progress.is_younger_than(age)
    }

    /// A time of the store that is not later than its present one.
    pub(super) fn as_of(&self) -> Option<Timestamp> {
        self.progress.as_of()
    }

    fn stripe<K: AsRef<str>>(&self, key: &Stale<K>) -> &Stripe {
        &self.stripes[key.stripe()]
    }
}

/// Tells what was changed, by whichever process.
#[async_trait]
pub trait Invalidations: Send + Sync {
    /// Invalidations that were written at this time of the store or later, without it those of the last 20 minutes; at
    /// most so many.
    ///
    /// # Errors
    /// The store's.
    async fn invalidated_since(
        &self,
        since: Option<Timestamp>,
        most: usize,
    ) -> Result<News, StoreError>;
}

/// What a reading found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// In any order.
    pub invalidations: Vec<Invalidation>,
    /// The store's time, taken before they were read.
    pub as_of: Timestamp,
    /// Which store it is: another one after it was made anew.
    pub epoch: Uuid,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalidation {
    /// Tells it from others.
    pub number: i64,
    /// What changed.
    pub key: Stale<String>,
    /// When it was written.
    pub at: Timestamp,
}

/// The feed of invalidations.
pub struct InvalidationFeed {
    source: Arc<dyn Invalidations>,
    wake: Arc<Wake>,
    generations: Arc<Generations>,
    /// Those that the next readings will find again, and when they were written.
    seen: Mutex<HashMap<i64, Timestamp>>,
    epoch: Arc<OnceLock<Uuid>>,
}

impl InvalidationFeed {
    /// A feed into these generations, which believe nothing until [`InvalidationFeed::run`] reads it.
    #[must_use]
    pub fn new(
        source: Arc<dyn Invalidations>,
        wake: Arc<Wake>,
        generations: Arc<Generations>,
    ) -> Self {
        Self { source, wake, generations, seen: Mutex::default(), epoch: Arc::default() }
    }

    /// Keeps the feed fresh until the shutdown.
    pub async fn run(&self, shutdown: CancellationToken) {
        feed::follow(self, &self.wake.caches, shutdown).await;
    }

    /// Which store the feed reads; unknown before the first reading.
    #[must_use]
    pub fn epoch(&self) -> Arc<OnceLock<Uuid>> {
        Arc::clone(&self.epoch)
    }

    fn learn(&self, news: News) {
        let known_until = self.generations.as_of();
        let missed = known_until.is_some_and(|known| news.as_of.duration_since(known) > MISSED);
        if missed || news.invalidations.len() >= MOST {
            metrics::counter!("convene_cache_emptied_total").increment(1);
            self.generations.all.change(news.as_of);
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for Invalidation { number, key, at } in news.invalidations {
            if seen.insert(number, at).is_none() {
                self.generations.stripe(&key).change(at);
            }
        }
        let forget = news.as_of - OVERLAP - OVERLAP;
        seen.retain(|_, at| *at >= forget);
    }
}

#[async_trait]
impl Follow for InvalidationFeed {
    fn name(&self) -> &'static str {
        "invalidations"
    }

    async fn read(&self) -> Result<(), StoreError> {
        let began = self.generations.now();
        let since = self.generations.progress.since();
        let mut news = within(self.source.invalidated_since(since, MOST)).await?;
        if *self.epoch.get_or_init(|| news.epoch) != news.epoch {
            return Err(StoreError::other("the database was made anew under a running process"));
        }
        if self.generations.progress.is_set_back(began, news.as_of) {
            // Times tell nothing of what came first until they have been reached again.
            metrics::counter!("convene_cache_emptied_total").increment(1);
            self.generations.all.change(self.generations.progress.not_before_now());
            news = within(self.source.invalidated_since(None, MOST)).await?;
        }
        let as_of = news.as_of;
        self.learn(news);
        self.generations.progress.advance(began, as_of);
        Ok(())
    }

    fn is_fresh(&self) -> bool {
        self.generations.are_known()
    }
}
