//! How a store can fail: a closed list, so that a use case can decide without knowing the store.

use std::borrow::Cow;

/// A store's failure.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A row would break the named unique constraint.
    #[error("unique constraint {constraint} violated")]
    Unique {
        /// The constraint's name in the schema.
        constraint: String,
    },
    /// Serialisation failure, deadlock or lock time-out: nothing happened, trying again may succeed.
    #[error("conflict with a concurrent transaction")]
    Retryable(#[source] Source),
    /// The unit of work belongs to a job whose lease was lost: nothing happened.
    #[error("the job's lease was lost")]
    Fenced,
    /// The store cannot be reached, or has no connection free in time.
    #[error("the store is unavailable")]
    Unavailable(#[source] Source),
    /// The store has more to do than it can, and this is not the most urgent of it: nothing happened.
    #[error("the store has too much to do")]
    Overloaded,
    /// The connection was lost while the commit was under way: it may have happened or not.
    #[error("the outcome of the commit is unknown")]
    CommitUnknown(#[source] Source),
    /// Anything else: a defect.
    #[error("the store failed")]
    Other(#[source] Source),
}

/// What lies beneath a failure, for the log alone.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

impl StoreError {
    /// A failure that has no source but a sentence.
    pub fn other(what: impl Into<Cow<'static, str>>) -> Self {
        Self::Other(Box::from(what.into().into_owned()))
    }

    /// Whether this is the unique constraint of that name.
    #[must_use]
    pub fn violates(&self, name: &str) -> bool {
        matches!(self, Self::Unique { constraint } if constraint == name)
    }
}
