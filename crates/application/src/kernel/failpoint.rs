//! Places where a test may have the process die, as if it had lost its power there.
//!
//! They lie on both sides of every step after which somebody else believes something: the database, the broker, a receiver
//! of webhooks. Without the feature `failpoints`, and in every build without debug assertions, [`reach`] is empty.

use strum::{IntoStaticStr, VariantArray};

/// A place to die at, by the name that `FAILPOINTS` knows it under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
pub enum Failpoint {
    /// A unit of work is complete and COMMIT not sent.
    #[strum(serialize = "commit.before")]
    BeforeCommit,
    /// COMMIT was answered and nobody told.
    #[strum(serialize = "commit.after")]
    AfterCommit,
    /// Jobs are leased and none has begun.
    #[strum(serialize = "claim")]
    Claim,
    /// A message was handed to the connection to the broker.
    #[strum(serialize = "publish")]
    Publish,
    /// The broker has confirmed a message, and the cursor is in front of it.
    #[strum(serialize = "confirm")]
    Confirm,
    /// The cursor has moved.
    #[strum(serialize = "mark")]
    Mark,
    /// A consumer is about to take an event.
    #[strum(serialize = "effect")]
    Effect,
    /// An event's effect is committed with its inbox row, and the broker not told.
    #[strum(serialize = "inbox.commit")]
    InboxCommit,
    /// An acknowledgement was handed to the connection to the broker.
    #[strum(serialize = "ack")]
    Ack,
    /// A webhook is claimed and not sent.
    #[strum(serialize = "http.send")]
    HttpSend,
    /// A webhook's receiver has answered, and the answer is not read.
    #[strum(serialize = "response.read")]
    ResponseRead,
    /// A webhook's answer is known and not written down.
    #[strum(serialize = "attempt.write")]
    AttemptWrite,
}

impl Failpoint {
    /// Every one of them.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Dies here if that is what the point was armed for.
#[inline]
pub fn reach(point: Failpoint) {
    #[cfg(all(feature = "failpoints", debug_assertions))]
    fail::fail_point!(point.name(), |_| std::process::abort());
    #[cfg(not(all(feature = "failpoints", debug_assertions)))]
    let _ = point;
}

/// Arms points as `FAILPOINTS` of the crate `fail` has it: `commit.after=20*off->return;ack=return` dies when the twenty-first
/// unit of work is committed, or at the first acknowledgement. Does nothing where there are no failpoints.
///
/// # Errors
/// What is wrong with the text.
pub fn arm(points: &str) -> Result<(), String> {
    #[cfg(all(feature = "failpoints", debug_assertions))]
    for point in points.split(';').filter(|point| !point.is_empty()) {
        let (name, actions) = point.split_once('=').ok_or(format!("{point} has no actions"))?;
        if !Failpoint::ALL.iter().any(|known| known.name() == name) {
            return Err(format!("there is no failpoint {name}"));
        }
        fail::cfg(name, actions)?;
    }
    #[cfg(not(all(feature = "failpoints", debug_assertions)))]
    let _ = points;
    Ok(())
}

#[cfg(all(test, feature = "failpoints", debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn only_points_that_exist_can_be_armed() {
        assert_eq!(arm(""), Ok(()));
        assert_eq!(arm("ack=off;mark=1*off"), Ok(()));
        reach(Failpoint::Ack);
        assert_eq!(arm("nowhere=return"), Err("there is no failpoint nowhere".to_owned()));
        assert_eq!(arm("ack"), Err("ack has no actions".to_owned()));
        assert!(arm("ack=explode").is_err());
    }
}
