//! Dated versions of the API, which a client pins with `Convene-Version`.
//!
//! Handlers know the newest version alone. What cannot be changed by adding is a [`Change`] with a date: a file of its own in
//! this folder, listed in `CHANGES`, which turns the bodies of older clients into what handlers take, and what handlers
//! answer into what older clients know. A client that pins a date sees none of the changes after it: requests go through
//! those changes from the oldest to the newest, replies the other way round. Who pins the newest date pays nothing.
//!
//! A file of a change looks like this:
//!
//! ```ignore
//! /// Replies name the capacity `seats`.
//! pub(super) const CHANGE: Change = Change {
//!     date: "2027-03-01",
//!     summary: "The capacity of an event is named `seats`.",
//!     adaptations: &[Adaptation {
//!         operation: "get_event",
//!         request: None,
//!         response: Some(|event| renamed(event, "seats", "capacity")),
//!         example: Example { request: None, response: Some((r#"{"seats": 1}"#, r#"{"capacity": 1}"#)) },
//!     }],
//! };
//! ```
//!
//! An idempotency key keeps a reply as the handler gave it, so what is kept may be older than a change: an adaptation
//! leaves alone what has the older form already. The examples of each adaptation are held against both rules by a test.

mod older;
mod tags;

use std::fmt;

use serde_json::Value;

pub(crate) use older::Older;

/// The first version.
const BASE: &str = "2026-11-23";

/// The changes since, oldest first.
static CHANGES: &[Change] = &[];

/// Dates that were versions and are served no more; the changes up to the last of them have no files any longer.
static RETIRED: &[&str] = &[];

/// What a client that pins an earlier date does not see.
#[derive(Debug)]
pub struct Change {
    /// The first date with it, `YYYY-MM-DD`.
    pub date: &'static str,
    /// What changed, in a sentence.
    pub summary: &'static str,
    /// Which bodies it changed.
    pub adaptations: &'static [Adaptation],
}

/// What a change did to the bodies of one operation.
#[derive(Debug)]
pub struct Adaptation {
    /// The operation's id in the OpenAPI document.
    pub operation: &'static str,
    /// From the body that was sent before to the one that is sent now.
    pub request: Option<fn(Value) -> Value>,
    /// From the body that is answered now to the one that was answered before.
    pub response: Option<fn(Value) -> Value>,
    /// What it does, by example.
    pub example: Example,
}

/// Bodies before and after an adaptation, as JSON text: what is put in, and what comes out.
#[derive(Debug)]
pub struct Example {
    /// A request of an older client, and what the handler gets.
    pub request: Option<(&'static str, &'static str)>,
    /// A reply of the handler, and what the older client gets.
    pub response: Option<(&'static str, &'static str)>,
}

/// The versions that are served, and the one for clients that pin none.
#[derive(Clone, Copy, Debug)]
pub struct Versions {
    base: &'static str,
    changes: &'static [Change],
    retired: &'static [&'static str],
    default: &'static str,
}

impl Default for Versions {
    fn default() -> Self {
        Self { base: BASE, changes: CHANGES, retired: RETIRED, default: BASE }
    }
}

impl Versions {
    /// The versions of the registry, with another one for clients that pin none.
    ///
    /// # Errors
    /// It is not served; the message names those that are.
    pub fn with_default(date: &str) -> Result<Self, UnknownVersion> {
        let versions = Self::default();
        Ok(Self { default: versions.find(date)?, ..versions })
    }

    /// What a client gets that pins nothing.
    pub(crate) fn pinned_by_default(&self) -> &'static str {
        self.default
    }

    /// The version of that date.
    ///
    /// # Errors
    /// It is not served.
    pub(crate) fn find(&self, date: &str) -> Result<&'static str, UnknownVersion> {
        self.served().find(|served| *served == date).ok_or_else(|| UnknownVersion {
            retired: self.retired.contains(&date),
            served: self.served().collect(),
        })
    }

    /// The changes that a version does not have, oldest first.
    pub(crate) fn after(&self, version: &str) -> &'static [Change] {
        // Dates of this form are in order as text.
        let first = self.changes.partition_point(|change| change.date <= version);
        &self.changes[first..]
    }

    fn served(&self) -> impl Iterator<Item = &'static str> + use<> {
        let changes = self.changes;
        std::iter::once(self.base).chain(changes.iter().map(|change| change.date))
    }
}

/// A date that is no version, or none any longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownVersion {
    retired: bool,
    served: Vec<&'static str>,
}

impl fmt::Display for UnknownVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let served = self.served.join(", ");
        if self.retired {
            write!(f, "is retired; the versions are {served}")
        } else {
            write!(f, "must be one of the versions: {served}")
        }
    }
}

impl std::error::Error for UnknownVersion {}

#[cfg(test)]
mod tests;
