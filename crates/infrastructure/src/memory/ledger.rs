//! Accounts by key, of which a bounded number is remembered.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Locks that accounts are spread over, so that requests of different keys hardly meet.
const SHARDS: usize = 64;
/// With less than this a shard, chance would fill one long before the others.
const LEAST_IN_A_SHARD: usize = 64;

/// What is remembered of a key.
pub(crate) trait Account: Default {
    /// When it may be forgotten, because it says no more than a new one would.
    fn free_at(&self) -> Duration;
}

/// All that was spent of a quota is free again then.
impl Account for Duration {
    fn free_at(&self) -> Duration {
        *self
    }
}

type Shard<K, A> = HashMap<K, A, RandomState>;

/// Accounts by key. Time is told as the time since the ledger was made.
#[derive(Debug)]
pub(crate) struct Ledger<K, A> {
    began: Instant,
    hasher: RandomState,
    most_in_a_shard: usize,
    shards: Box<[Mutex<Shard<K, A>>]>,
}

impl<K: Eq + Hash, A: Account> Ledger<K, A> {
    /// A ledger that remembers so many keys at most. Beyond that it forgets those that are free soonest.
    pub(crate) fn with_capacity(most: usize) -> Self {
        let shards = (most / LEAST_IN_A_SHARD).clamp(1, SHARDS);
        let hasher = RandomState::new();
        Self {
            began: Instant::now(),
            most_in_a_shard: (most / shards).max(1),
            shards: (0..shards).map(|_| Mutex::new(Shard::with_hasher(hasher.clone()))).collect(),
            hasher,
        }
    }

    /// What time it is.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Works on the account of a key, a new one if there is none.
    pub(crate) fn with<Q, R>(&self, key: &Q, now: Duration, work: impl FnOnce(&mut A) -> R) -> R
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let mut shard = self.shard(key);
        if let Some(account) = shard.get_mut(key) {
            return work(account);
        }
        if shard.len() >= self.most_in_a_shard {
            make_room(&mut shard, now);
        }
        work(shard.entry(key.to_owned()).or_default())
    }

    /// Looks at the account of a key, a new one if there is none, which is not kept.
    pub(crate) fn look<Q, R>(&self, key: &Q, look: impl FnOnce(&A) -> R) -> R
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        match self.shard(key).get(key) {
            Some(account) => look(account),
            None => look(&A::default()),
        }
    }

    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> MutexGuard<'_, Shard<K, A>> {
        // Other bits than those by which the map finds its place.
        let place = (self.hasher.hash_one(key) >> 32) as usize % self.shards.len();
        self.shards[place].lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }
}

/// Forgets what is free, and if that is little, the half that will be soonest.
fn make_room<K, A: Account>(accounts: &mut Shard<K, A>, now: Duration) {
    let full = accounts.len();
    accounts.retain(|_, account| account.free_at() > now);
    if accounts.len() > full / 2 {
        let mut times: Vec<Duration> = accounts.values().map(Account::free_at).collect();
        let (_, median, _) = times.select_nth_unstable(full / 2);
        let median = *median;
        accounts.retain(|_, account| account.free_at() > median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_over_all_shards() {
        let ledger = Ledger::<u32, Duration>::with_capacity(10_000);
        assert_eq!(ledger.shards.len(), SHARDS);
        for key in 0..100_000 {
            ledger.with(&key, Duration::ZERO, |free_at| *free_at = Duration::from_secs(60));
        }
        assert!((1..=10_000).contains(&ledger.len()), "{}", ledger.len());
    }

    #[test]
    fn looking_keeps_nothing() {
        let ledger = Ledger::<u32, Duration>::with_capacity(10);
        assert!(ledger.look(&1, Duration::is_zero));
        assert_eq!(ledger.len(), 0);
    }
}
