//! The cache of the platform: values in this process, behind them values that all processes share, behind them the
//! database.
//!
//! A [`Cached`] is asked for a key in one of two ways. [`Cached::peek`] answers at once or not at all, and costs neither a
//! task nor a lock; [`Cached::get`] goes on to the shared layer and to the database. What is found is believed as follows.
//!
//! - Every commit that changes what is cached writes *invalidations* beside its rows, and [`InvalidationFeed`] tells every
//!   process of them within a second, this one at once. While the feed is older than a second nothing is believed, and the
//!   database is asked. So whoever writes reads the new value here at once and elsewhere within a second.
//! - An invalidation raises the *generation* of its key. What was loaded carries the generation from before its loading
//!   began, and counts only while that is the present one: a loading that overlaps a change is void, however late it ends.
//! - What is shared carries the store's time from before its loading began. It counts only if that is later than the last
//!   invalidation of its key by more than a transaction may take to commit ([`feed::OVERLAP`](super::feed::OVERLAP)):
//!   a loading that did not see a change began before that. So no process can spoil it for others, and nothing in it needs
//!   to be deleted.
//!
//! One loading for each key is under way in a process, and a bounded number of them at all. A value is loaded anew in the
//! background when four fifths of its time are over. If the database fails, a value that the feed still vouches for
//! lives on for a while.

mod cached;
mod entry;
mod flight;
mod invalidation;
mod shared;

pub use cached::{Cached, Caches, Load, Policy};
pub use entry::Held;
pub use invalidation::{Generations, Invalidation, InvalidationFeed, Invalidations, News, Stale};
pub use shared::{Record, SharedLayer};

use std::hash::Hash;

/// What a value is found by.
pub trait Key: Clone + Eq + Hash + Send + Sync + 'static {
    /// What is invalidated when the value changes.
    fn stale(&self) -> Stale;
}
