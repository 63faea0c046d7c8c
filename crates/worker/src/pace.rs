//! When to wait a moment for more of the same.

use std::time::{Duration, Instant};

use tokio::time::sleep;

/// Rounds of gathering after which an engine without work counts as idle.
const BUSY: u32 = 10;

/// An engine that worked just now waits a moment after a bell, so that it does many things in one round. One that was
/// idle starts at once: nothing else is on its way, as far as it knows.
pub(crate) struct Pace {
    gather: Duration,
    worked: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(gather: Duration) -> Self {
        Self { gather, worked: None }
    }

    /// There was something to do.
    pub(crate) fn worked(&mut self) {
        self.worked = Some(Instant::now());
    }

    /// To be awaited after a bell.
    pub(crate) async fn gather(&self) {
        if self.is_busy(Instant::now()) {
            sleep(self.gather).await;
        }
    }

    fn is_busy(&self, now: Instant) -> bool {
        self.worked.is_some_and(|then| now.duration_since(then) < self.gather * BUSY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_busy_for_some_rounds_after_it_worked() {
        let gather = Duration::from_secs(3);
        let mut pace = Pace::new(gather);
        assert!(!pace.is_busy(Instant::now()), "nothing was done yet");
        pace.worked();
        let now = Instant::now();
        assert!(pace.is_busy(now));
        assert!(!pace.is_busy(now + gather * BUSY));
    }
}
