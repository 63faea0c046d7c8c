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
