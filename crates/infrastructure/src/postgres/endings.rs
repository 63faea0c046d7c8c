//! Idempotency keys whose transaction is being rolled back. The answer of a refused request does not wait for that, so whoever
//! asks again under its key at once, with what was wrong put right, could meet the lock of their own refused request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use convene_application::kernel::idempotency::KeyClaim;
use tokio::sync::watch;

type UnderWay = HashMap<[u8; 32], watch::Receiver<()>>;

/// The endings that are under way in this process.
#[derive(Clone, Debug, Default)]
pub(super) struct Endings(Arc<Mutex<UnderWay>>);

impl Endings {
    /// Notes that the transaction which holds these keys ends, until what is returned is dropped.
    pub(super) fn begin(&self, claims: &[KeyClaim]) -> Ending {
        let (ends, end) = watch::channel(());
        let scopes: Vec<[u8; 32]> = claims.iter().map(|claim| claim.scope).collect();
        self.under_way().extend(scopes.iter().map(|scope| (*scope, end.clone())));
        Ending { endings: self.clone(), scopes, end, _ends: ends }
    }

    /// Returns when no transaction that is ending holds any of these keys.
    pub(super) async fn are_over(&self, claims: &[KeyClaim]) {
        for claim in claims {
            let end = self.under_way().get(&claim.scope).cloned();
            if let Some(mut end) = end {
                // Nothing is ever sent: what is waited for is that nobody could.
                let _ = end.changed().await;
            }
        }
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A transaction that is ending.
#[derive(Debug)]
pub(super) struct Ending {
    endings: Endings,
    scopes: Vec<[u8; 32]>,
    end: watch::Receiver<()>,
    _ends: watch::Sender<()>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let mut under_way = self.endings.under_way();
        for scope in &self.scopes {
            // The next holder of the key may be ending already.
            if under_way.get(scope).is_some_and(|end| end.same_channel(&self.end)) {
                under_way.remove(scope);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;

    use super::*;

    fn claim(number: u8) -> [KeyClaim; 1] {
        [KeyClaim { scope: [number; 32], fingerprint: [0; 32] }]
    }

    #[tokio::test]
    async fn who_claims_a_key_waits_until_its_holder_has_ended() {
        let endings = Endings::default();
        let ending = endings.begin(&claim(1));
        assert_eq!(endings.are_over(&claim(2)).now_or_never(), Some(()), "another key is free");
        assert_eq!(endings.are_over(&[]).now_or_never(), Some(()));
        let waiting = tokio::spawn({
            let endings = endings.clone();
            async move { endings.are_over(&claim(1)).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(ending);
        tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    }

    /// The lock is free a moment before this process hears of it.
    #[tokio::test]
    async fn an_ending_leaves_that_of_the_next_holder_alone() {
        let endings = Endings::default();
        let first = endings.begin(&claim(1));
        let second = endings.begin(&claim(1));
        drop(first);
        assert_eq!(endings.are_over(&claim(1)).now_or_never(), None);
        drop(second);
        assert_eq!(endings.are_over(&claim(1)).now_or_never(), Some(()));
        assert!(endings.under_way().is_empty());
    }
}
