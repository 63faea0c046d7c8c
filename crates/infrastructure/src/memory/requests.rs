//! A limiter of requests that counts for one process.

use std::time::Duration;

use async_trait::async_trait;
use convene_application::kernel::limits::{Quota, RequestLimiter, Standing, Subject, Verdict};

use super::ledger::Ledger;

/// The most subjects that are remembered.
const MAX_SUBJECTS: usize = 200_000;

/// Counts requests where no other process shares their quotas.
#[derive(Debug)]
pub struct InProcessRequestLimiter {
    spent: Ledger<Subject, Duration>,
}

impl Default for InProcessRequestLimiter {
    fn default() -> Self {
        Self { spent: Ledger::with_capacity(MAX_SUBJECTS) }
    }
}

impl InProcessRequestLimiter {
    fn spend_at(&self, subject: Subject, quota: Quota, cost: u32, now: Duration) -> Standing {
        self.spent.with(&subject, now, |free_at| spend(free_at, quota, cost, now))
    }
}

/// Spends of what is free again at this time.
pub(crate) fn spend(free_at: &mut Duration, quota: Quota, cost: u32, now: Duration) -> Standing {
    let busy = free_at.saturating_sub(now);
    match quota.spend(busy, cost) {
        Ok(then) => {
            *free_at = now + then;
            Standing { verdict: Verdict::Allowed, remaining: quota.room(then), reset: then }
        }
        Err(retry_after) => Standing {
            verdict: Verdict::Refused { retry_after },
            remaining: quota.room(busy),
            reset: busy,
        },
    }
}

#[async_trait]
impl RequestLimiter for InProcessRequestLimiter {
    fn try_spend(&self, subject: Subject, quota: Quota, cost: u32) -> Option<Standing> {
        Some(self.spend_at(subject, quota, cost, self.spent.now()))
    }

    async fn spend(&self, subject: Subject, quota: Quota, cost: u32) -> Standing {
        self.spend_at(subject, quota, cost, self.spent.now())
    }

    fn charge(&self, subject: Subject, quota: Quota, cost: u32) {
        let now = self.spent.now();
        self.spent.with(&subject, now, |free_at| {
            *free_at = (*free_at).max(now) + quota.every * cost;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota { burst: 10, every: Duration::from_secs(1) };
    const SUBJECT: Subject = Subject::Community(1);

    #[test]
    fn counts_by_cost_and_tells_what_is_left() {
        let limiter = InProcessRequestLimiter::default();
        let at =
            |seconds, cost| limiter.spend_at(SUBJECT, QUOTA, cost, Duration::from_secs(seconds));
        let allowed = |remaining, reset| Standing {
            verdict: Verdict::Allowed,
            remaining,
            reset: Duration::from_secs(reset),
        };
        assert_eq!(at(100, 4), allowed(6, 4));
        assert_eq!(at(100, 5), allowed(1, 9));
        let refused = at(100, 3);
        assert_eq!(refused.verdict, Verdict::Refused { retry_after: Duration::from_secs(2) });
        assert_eq!(refused.remaining, 1);
        assert_eq!(at(102, 3), allowed(0, 10));
    }

    #[test]
    fn what_is_charged_is_paid_by_the_next() {
        let limiter = InProcessRequestLimiter::default();
        limiter.charge(SUBJECT, QUOTA, 15);
        let refused = limiter.try_spend(SUBJECT, QUOTA, 1).unwrap();
        let Verdict::Refused { retry_after } = refused.verdict else {
            panic!("it is in debt");
        };
        assert!(retry_after > Duration::from_secs(5) && retry_after <= Duration::from_secs(6));
        assert_eq!(refused.remaining, 0);
    }
}
