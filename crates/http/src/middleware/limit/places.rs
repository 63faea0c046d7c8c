//! Requests in flight by subject.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use convene_application::kernel::limits::Subject;

const SHARDS: usize = 32;

/// Counts the requests in flight of each subject that has any, so it never holds more than there are requests.
#[derive(Debug, Default)]
pub(super) struct Places {
    hasher: RandomState,
    shards: [Mutex<HashMap<Subject, u32>>; SHARDS],
}

impl Places {
    /// Takes one of so many places of a subject, unless all are taken.
    pub(super) fn take(self: &Arc<Self>, subject: Subject, most: u32) -> Option<Place> {
        let mut shard = self.shard(subject);
        let taken = shard.entry(subject).or_default();
        if *taken >= most {
            return None;
        }
        *taken += 1;
        drop(shard);
        Some(Place { places: Arc::clone(self), subject })
    }

    fn shard(&self, subject: Subject) -> MutexGuard<'_, HashMap<Subject, u32>> {
        let place = (self.hasher.hash_one(subject) >> 32) as usize % SHARDS;
        self.shards[place].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    subject: Subject,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut shard = self.places.shard(self.subject);
        if let Some(taken) = shard.get_mut(&self.subject) {
            *taken -= 1;
            if *taken == 0 {
                shard.remove(&self.subject);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back_and_leave_nothing_behind() {
        let places = Arc::new(Places::default());
        let (ada, eve) = (Subject::Community(1), Subject::Community(2));
        let first = places.take(ada, 2);
        let second = places.take(ada, 2);
        assert!(first.is_some() && second.is_some());
        assert!(places.take(ada, 2).is_none());
        assert!(places.take(eve, 2).is_some(), "each has its own");
        drop(first);
        assert!(places.take(ada, 2).is_some());
        drop(second);
        assert!(places.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }
}
