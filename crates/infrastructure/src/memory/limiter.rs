//! A limiter that counts for one process.

use std::time::Duration;

use async_trait::async_trait;
use convene_application::kernel::limits::{Limiter, Quota, Verdict};

use super::ledger::Ledger;

/// The most keys that are remembered.
const MAX_KEYS: usize = 200_000;

/// The generic cell rate algorithm over a map. Of each key it remembers one instant: when all that was spent is free
/// again.
#[derive(Debug)]
pub struct InProcessLimiter {
    spent: Ledger<String, Duration>,
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
        Self { spent: Ledger::with_capacity(max_keys) }
    }

    fn spend_at(&self, key: &str, quota: Quota, now: Duration) -> Verdict {
        self.spent.with(key, now, |free_at| match decide(*free_at, quota, now) {
            Ok(then) => {
                *free_at = then;
                Verdict::Allowed
            }
            Err(retry_after) => Verdict::Refused { retry_after },
        })
    }

    fn peek_at(&self, key: &str, quota: Quota, now: Duration) -> Verdict {
        match self.spent.look(key, |free_at| decide(*free_at, quota, now)) {
            Ok(_) => Verdict::Allowed,
            Err(retry_after) => Verdict::Refused { retry_after },
        }
    }
}

#[async_trait]
impl Limiter for InProcessLimiter {
    async fn spend(&self, key: &str, quota: Quota) -> Verdict {
        self.spend_at(key, quota, self.spent.now())
    }

    async fn peek(&self, key: &str, quota: Quota) -> Verdict {
        self.peek_at(key, quota, self.spent.now())
    }
}

/// When all is free again if one more is spent now, or how long to wait until one may be.
fn decide(free_at: Duration, quota: Quota, now: Duration) -> Result<Duration, Duration> {
    quota.spend(free_at.saturating_sub(now), 1).map(|busy| now + busy)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota { burst: 3, every: Duration::from_secs(20) };

    /// For how many seconds a limiter refuses, so many seconds after the test began.
    struct Meter(InProcessLimiter);

    impl Meter {
        fn new(capacity: usize) -> Self {
            Self(InProcessLimiter::with_capacity(capacity))
        }

        fn spend(&self, key: &str, second: u64) -> Option<u64> {
            match self.0.spend_at(key, QUOTA, Duration::from_secs(second)) {
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
            assert_eq!(meter.0.peek_at("a", QUOTA, Duration::ZERO), Verdict::Allowed);
        }
        assert_eq!(meter.0.spent.len(), 0);
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
        assert!(meter.0.spent.len() <= 100);
        assert!(meter.spend("busy", 0).is_some());
    }

    #[test]
    fn what_is_free_is_forgotten_first() {
        let meter = Meter::new(4);
        for key in ["a", "b", "c", "d"] {
            meter.spend(key, 0);
        }
        meter.spend("e", 20);
        assert_eq!(meter.0.spent.len(), 1);
        assert_eq!(meter.0.spent.look("e", |free_at| *free_at), Duration::from_secs(40));
    }
}
