//! A limiter that counts for one process.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use convene_application::kernel::limits::{Limiter, Quota, Verdict};

/// The most keys that are remembered.
const MAX_KEYS: usize = 200_000;

/// The generic cell rate algorithm over a map. Of each key it remembers one instant: when all that was spent is free
/// again.
#[derive(Debug)]
pub struct InProcessLimiter {
    max_keys: usize,
    free_at: Mutex<HashMap<String, Instant>>,
}

impl Default for InProcessLimiter {
    fn default() -> Self {
        Self::with_capacity(MAX_KEYS)
    }
}

impl InProcessLimiter {
    /// A limiter that remembers so many keys at most. Beyond that it forgets those that are free soonest.
    #[must_use]
    pub fn with_capacity(max_keys: usize) -> Self {
        Self { max_keys: max_keys.max(1), free_at: Mutex::default() }
    }

    fn ask(&self, key: &str, quota: Quota, spend: bool, now: Instant) -> Verdict {
        let mut free_at = self.lock();
        let remembered = free_at.get(key).copied();
        match decide(remembered, quota, now) {
            Ok(then) if spend => {
                if remembered.is_none() && free_at.len() >= self.max_keys {
                    make_room(&mut free_at, now);
                }
                free_at.insert(key.to_owned(), then);
                Verdict::Allowed
            }
            Ok(_) => Verdict::Allowed,
            Err(retry_after) => Verdict::Refused { retry_after },
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.free_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Limiter for InProcessLimiter {
    async fn spend(&self, key: &str, quota: Quota) -> Verdict {
        self.ask(key, quota, true, Instant::now())
    }

    async fn peek(&self, key: &str, quota: Quota) -> Verdict {
        self.ask(key, quota, false, Instant::now())
    }
}

/// When all is free again if one more is spent now, or how long to wait until one may be.
fn decide(free_at: Option<Instant>, quota: Quota, now: Instant) -> Result<Instant, Duration> {
    let then = free_at.map_or(now, |free_at| free_at.max(now)) + quota.every;
    let most = now + quota.every * quota.burst;
    if then > most { Err(then - most) } else { Ok(then) }
}

/// Forgets what is free, and if that is little, the half that will be soonest.
fn make_room(free_at: &mut HashMap<String, Instant>, now: Instant) {
    let full = free_at.len();
    free_at.retain(|_, free_at| *free_at > now);
    if free_at.len() > full / 2 {
        let mut instants: Vec<Instant> = free_at.values().copied().collect();
        let (_, median, _) = instants.select_nth_unstable(full / 2);
        let median = *median;
        free_at.retain(|_, free_at| *free_at > median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota { burst: 3, every: Duration::from_secs(20) };

    /// For how many seconds a limiter refuses, so many seconds after the test began.
    struct Meter {
        limiter: InProcessLimiter,
        began: Instant,
    }

    impl Meter {
        fn new(capacity: usize) -> Self {
            Self { limiter: InProcessLimiter::with_capacity(capacity), began: Instant::now() }
        }

        fn spend(&self, key: &str, second: u64) -> Option<u64> {
            let now = self.began + Duration::from_secs(second);
            match self.limiter.ask(key, QUOTA, true, now) {
                Verdict::Allowed => None,
                Verdict::Refused { retry_after } => Some(retry_after.as_secs()),
            }
        }
    }

    #[test]
    fn a_burst_then_a_steady_rate() {
        let meter = Meter::new(100);
        for _ in 0..3 {
            assert_eq!(meter.spend("a", 0), None);
        }
        assert_eq!(meter.spend("a", 0), Some(20));
        assert_eq!(meter.spend("b", 0), None, "keys are counted apart");
        assert_eq!(meter.spend("a", 15), Some(5), "being refused costs nothing");
        assert_eq!(meter.spend("a", 20), None);
        assert_eq!(meter.spend("a", 20), Some(20));
        for _ in 0..3 {
            assert_eq!(meter.spend("a", 3_600), None, "an idle key has its burst again");
        }
        assert_eq!(meter.spend("a", 3_600), Some(20), "and not more");
    }

    #[test]
    fn asking_costs_nothing() {
        let meter = Meter::new(100);
        for _ in 0..10 {
            assert_eq!(meter.limiter.ask("a", QUOTA, false, meter.began), Verdict::Allowed);
        }
        assert!(meter.limiter.lock().is_empty());
    }

    #[test]
    fn memory_is_bounded_and_the_busiest_are_remembered() {
        let meter = Meter::new(100);
        for _ in 0..3 {
            meter.spend("busy", 0);
        }
        for key in 0..1_000 {
            meter.spend(&key.to_string(), 0);
        }
        assert!(meter.limiter.lock().len() <= 100);
        assert!(meter.spend("busy", 0).is_some());
    }

    #[test]
    fn what_is_free_is_forgotten_first() {
        let meter = Meter::new(4);
        for key in ["a", "b", "c", "d"] {
            meter.spend(key, 0);
        }
        meter.spend("e", 20);
        assert_eq!(meter.limiter.lock().keys().collect::<Vec<_>>(), ["e"]);
    }
}
