//! What lies in the cache of a process.

use std::any::Any;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// A value that is held by a cache, and what a layer above made of it.
pub struct Held<T> {
    value: T,
    made: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl<T> Held<T> {
    /// A value of which nothing was made yet.
    pub fn new(value: T) -> Self {
        Self { value, made: OnceLock::new() }
    }

    /// What `make` makes of the value, made once however often it is asked for. The first type that is asked for is kept;
    /// another one is made each time.
    pub fn made<M: Clone + Send + Sync + 'static>(&self, make: impl Fn(&T) -> M) -> M {
        let made = self.made.get_or_init(|| Box::new(make(&self.value)));
        made.downcast_ref::<M>().cloned().unwrap_or_else(|| make(&self.value))
    }
}

impl<T> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for Held<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.value.fmt(f)
    }
}

/// A value, or that there is none, with its times.
pub(super) struct Entry<T> {
    pub(super) held: Option<Arc<Held<T>>>,
    /// The key's, from before the loading began.
    pub(super) generation: u64,
    pub(super) times: Times,
    refreshing: AtomicBool,
}

/// Until when an entry is good for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    /// To be loaded anew from here on, while it is still served.
    pub(super) refresh_at: Instant,
    /// Served until here.
    pub(super) expires_at: Instant,
    /// Served until here if the store fails.
    pub(super) gone_at: Instant,
}

impl<T> Entry<T> {
    pub(super) fn new(held: Option<Arc<Held<T>>>, generation: u64, times: Times) -> Self {
        Self { held, generation, times, refreshing: AtomicBool::new(false) }
    }

    /// Whether nobody loads it anew yet although it is time.
    pub(super) fn wants_refresh(&self, now: Instant) -> bool {
        now >= self.times.refresh_at && !self.refreshing.load(Ordering::Relaxed)
    }

    /// Whether the caller is the one to load it anew.
    pub(super) fn claim_refresh(&self, now: Instant) -> bool {
        self.wants_refresh(now) && !self.refreshing.swap(true, Ordering::AcqRel)
    }
}
