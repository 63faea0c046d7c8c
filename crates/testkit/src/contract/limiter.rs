//! Limits on guessing.

use std::sync::Arc;
use std::time::Duration;

use convene_application::kernel::limits::{Limiter, Quota, Verdict};
use futures::future::BoxFuture;

/// The port under test, with a way to let time pass.
pub struct Port {
    /// A limiter that has counted nothing yet.
    pub limiter: Arc<dyn Limiter>,
    /// Lets so much time pass for it.
    pub pass: Box<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>,
}

/// Makes a test of each part of the contract. The argument is an expression that makes a future of a [`Port`] and of
/// something that is kept until the test ends.
#[macro_export]
macro_rules! limiter_contract {
    ($port:expr) => {
        $crate::limiter_contract! { $port;
            a_burst_is_let_through_and_no_more
            keys_are_counted_apart
            asking_spends_nothing
            one_more_is_free_when_it_was_promised
            parallel_spending_is_counted
        }
    };
    ($port:expr; $($part:ident)+) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $part() {
            let (port, _kept) = $port.await;
            $crate::contract::limiter::$part(&port).await;
        }
    )+};
}

/// Longer than a test lasts.
const SLOW: Quota = Quota { burst: 3, every: Duration::from_secs(3_600) };

fn is_allowed(verdict: Verdict) -> bool {
    verdict == Verdict::Allowed
}

/// The burst of the quota, then a refusal that says for how long.
pub async fn a_burst_is_let_through_and_no_more(port: &Port) {
    for _ in 0..3 {
        assert!(is_allowed(port.limiter.spend("a", SLOW).await));
    }
    for _ in 0..2 {
        let Verdict::Refused { retry_after } = port.limiter.spend("a", SLOW).await else {
            panic!("a fourth was let through");
        };
        assert!(retry_after <= SLOW.every && retry_after > SLOW.every / 2, "{retry_after:?}");
    }
}

/// One key's refusals are no other's.
pub async fn keys_are_counted_apart(port: &Port) {
    for _ in 0..4 {
        port.limiter.spend("a", SLOW).await;
    }
    assert!(is_allowed(port.limiter.spend("b", SLOW).await));
}

/// Asking tells the truth and changes nothing.
pub async fn asking_spends_nothing(port: &Port) {
    for _ in 0..10 {
        assert!(is_allowed(port.limiter.peek("a", SLOW).await));
    }
    for _ in 0..3 {
        assert!(is_allowed(port.limiter.spend("a", SLOW).await));
    }
    assert!(!is_allowed(port.limiter.peek("a", SLOW).await));
}

/// After the time that a refusal names, one goes through.
pub async fn one_more_is_free_when_it_was_promised(port: &Port) {
    let quota = Quota { burst: 1, every: Duration::from_millis(500) };
    assert!(is_allowed(port.limiter.spend("a", quota).await));
    let Verdict::Refused { retry_after } = port.limiter.spend("a", quota).await else {
        panic!("a second was let through at once");
    };
    assert!(retry_after <= quota.every, "{retry_after:?}");
    // A millisecond more than promised: the clocks of two machines round differently.
    (port.pass)(retry_after + Duration::from_millis(1)).await;
    assert!(is_allowed(port.limiter.spend("a", quota).await));
}

/// However many spend at once, the burst is let through and no more.
pub async fn parallel_spending_is_counted(port: &Port) {
    let spent = futures::future::join_all((0..50).map(|_| port.limiter.spend("a", SLOW))).await;
    assert_eq!(spent.into_iter().filter(|verdict| is_allowed(*verdict)).count(), 3);
}
