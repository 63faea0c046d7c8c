//! Limits on guessing.

use std::time::Duration;

use async_trait::async_trait;

/// A quota after the generic cell rate algorithm: a burst, refilled at a steady rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How many may come at once.
    pub burst: u32,
    /// The time in which one more becomes free.
    pub every: Duration,
}

impl Quota {
    /// A burst, then so many in a period.
    #[must_use]
    pub const fn new(burst: u32, per: Duration, then: u32) -> Self {
        Self { burst, every: Duration::from_nanos(per.as_nanos() as u64 / then as u64) }
    }
}

/// What the limiter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Allowed,
    /// Not before this time has passed.
    Refused {
        /// When one more becomes free.
        retry_after: Duration,
    },
}

/// Counts attempts by key over all processes. A limiter that loses its store falls back to a stricter one in the
/// process; it never fails.
#[async_trait]
pub trait Limiter: Send + Sync {
    /// Spends one of the quota of this key.
    async fn spend(&self, key: &str, quota: Quota) -> Verdict;

    /// Asks without spending.
    async fn peek(&self, key: &str, quota: Quota) -> Verdict;
}
