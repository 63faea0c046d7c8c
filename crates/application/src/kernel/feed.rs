//! Feeds: what changed lately in the database, read continually into memory, so that a request asks no database.
//!
//! A feed is a table of changes that every process reads again and again. Rows are read again for ten seconds after they
//! were written, because transactions do not commit in the order of their timestamps. A reading that succeeded and began
//! less than a second ago vouches for what is in memory: whatever was committed before it began is known. Without one,
//! because the database was away, nothing in memory is believed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::clock::{Monotonic, SystemMonotonic};
use super::store::StoreError;
use super::wake::Bell;

/// How often a feed is read.
const POLL: Duration = Duration::from_millis(250);
/// How far behind the last reading the next one begins: longer than a row may lie there before its transaction commits.
pub const OVERLAP: SignedDuration = SignedDuration::from_secs(10);
/// How old the last reading may be for the feed to be believed.
const FRESH: Duration = Duration::from_secs(1);
/// From when on a clock that was set back is noticed: more than a reading takes, and less than [`OVERLAP`] makes good.
const SET_BACK: SignedDuration = SignedDuration::from_secs(3);
/// How long a reading may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Something that is kept up to date by reading.
#[async_trait]
pub trait Follow: Send + Sync {
    /// What it is, for the log.
    fn name(&self) -> &'static str;

    /// Reads once what changed since the last reading.
    ///
    /// # Errors
    /// The store's; what was read before stays.
    async fn read(&self) -> Result<(), StoreError>;

    /// Whether the last reading is young enough to be believed.
    fn is_fresh(&self) -> bool;
}

/// Keeps a feed fresh until the shutdown. A ring shortens the wait.
pub async fn follow(feed: &dyn Follow, bell: &Bell, shutdown: CancellationToken) {
    let mut tick = tokio::time::interval(POLL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut rings = bell.listen();
    let mut healthy = true;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => {}
            () = rings.rung() => {}
        }
        match (feed.read().await, healthy) {
            (Ok(()), false) => tracing::info!(feed = feed.name(), "the feed is fresh again"),
            (Err(error), true) => {
                let feed = feed.name();
                tracing::warn!(feed, %error, "the feed cannot be read; each request asks the database");
            }
            _ => {}
        }
        healthy = feed.is_fresh();
    }
}

/// An answer of the store, or `unavailable` if it takes longer than a reading may.
///
/// # Errors
/// The store's.
pub async fn within<T>(
    answer: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(TIMEOUT, answer)
        .await
        .unwrap_or_else(|elapsed| Err(StoreError::Unavailable(Box::new(elapsed))))
}

/// How far a feed has been read. Asked by every request, so it takes no lock.
#[derive(Debug)]
pub struct Progress {
    clock: Arc<dyn Monotonic>,
    base: Instant,
    /// When the last reading that succeeded began, by [`Progress::micros`]; 0 before the first.
    began: AtomicU64,
    /// The store's time in it, in microseconds since 1970.
    as_of: AtomicI64,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new(Arc::new(SystemMonotonic))
    }
}

impl Progress {
    /// Nothing was read yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Monotonic>) -> Self {
        let base = clock.now();
        Self { clock, base, began: AtomicU64::new(0), as_of: AtomicI64::new(0) }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// From when on the next reading reads; none before the first.
    #[must_use]
    pub fn since(&self) -> Option<Timestamp> {
        Some(self.as_of()? - OVERLAP)
    }

    /// Whether the store's clock was set back since the last reading, as one that began then and tells `as_of` shows. What was
    /// written after that may be from before [`Progress::since`], and bears times that have been already.
    #[must_use]
    pub fn is_set_back(&self, began: Instant, as_of: Timestamp) -> bool {
        let Some(last) = self.as_of() else { return false };
        let passed = self.micros(began).saturating_sub(self.began.load(Ordering::Acquire));
        let passed = SignedDuration::try_from(Duration::from_micros(passed));
        passed.is_ok_and(|passed| as_of.duration_since(last) < passed - SET_BACK)
    }

    /// A reading that began then has succeeded; `as_of` is the store's time, taken before anything was read.
    pub fn advance(&self, began: Instant, as_of: Timestamp) {
        // In this order: who sees the new beginning must not take the old time of the store for its own.
        self.as_of.store(as_of.as_microsecond(), Ordering::Release);
        self.began.store(self.micros(began), Ordering::Release);
    }

    /// Whether the last reading is young enough to be believed.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.is_younger_than(FRESH)
    }

    /// Whether the last reading that succeeded began less than this ago.
    #[must_use]
    pub fn is_younger_than(&self, age: Duration) -> bool {
        match self.began.load(Ordering::Acquire) {
            0 => false,
            began => u128::from(self.micros(self.now()).saturating_sub(began)) < age.as_micros(),
        }
    }

    /// The store's time in the last reading: it is not earlier now.
    #[must_use]
    pub fn as_of(&self) -> Option<Timestamp> {
        (self.began.load(Ordering::Acquire) > 0)
            .then(|| Timestamp::from_microsecond(self.as_of.load(Ordering::Acquire)).ok())
            .flatten()
    }

    /// A time that is not before the store's time now.
    #[must_use]
    pub fn not_before_now(&self) -> Timestamp {
        let began = self.began.load(Ordering::Acquire);
        let Some(as_of) = self.as_of() else { return Timestamp::MAX };
        let passed = self.micros(self.now()).saturating_sub(began);
        as_of.saturating_add(Duration::from_micros(passed)).unwrap_or(Timestamp::MAX)
    }

    /// Never 0, which stands for never.
    fn micros(&self, instant: Instant) -> u64 {
        let passed = instant.saturating_duration_since(self.base);
        u64::try_from(passed.as_micros()).unwrap_or(u64::MAX).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Debug)]
    struct Hand(Mutex<Instant>);

    impl Monotonic for Hand {
        fn now(&self) -> Instant {
            *self.0.lock().unwrap()
        }
    }

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn is_believed_for_a_second_after_a_reading_began() {
        let hand = Arc::new(Hand(Mutex::new(Instant::now())));
        let pass = |millis| *hand.0.lock().unwrap() += Duration::from_millis(millis);
        let progress = Progress::new(hand.clone());
        assert!(!progress.is_fresh());
        assert_eq!((progress.since(), progress.not_before_now()), (None, Timestamp::MAX));
        pass(7);
        let began = progress.now();
        pass(400);
        progress.advance(began, second(100));
        assert!(progress.is_fresh());
        pass(599);
        assert!(progress.is_fresh());
        pass(1);
        assert!(!progress.is_fresh(), "counted from the beginning of the reading");
        assert_eq!(progress.since(), Some(second(90)));
        assert_eq!(progress.as_of(), Some(second(100)));
        assert_eq!(progress.not_before_now(), second(101));
    }

    #[test]
    fn notices_that_the_store_was_set_back() {
        let hand = Arc::new(Hand(Mutex::new(Instant::now())));
        let progress = Progress::new(hand.clone());
        let read = |passed, as_of| {
            *hand.0.lock().unwrap() += Duration::from_secs(passed);
            let set_back = progress.is_set_back(progress.now(), second(as_of));
            progress.advance(progress.now(), second(as_of));
            set_back
        };
        assert!(!read(1, 1_000), "nothing is known before the first reading");
        assert!(!read(1, 1_001));
        assert!(!read(1, 1_000), "by less than the overlap makes good");
        assert!(read(1, 940));
        assert!(!read(1, 941));
        assert!(!read(1, 1_002), "forwards");
        // Nothing was read for a minute, in which the clock was set back by less than that.
        assert!(read(60, 1_040));
    }
}
