//! Once more, after a conflict with a concurrent transaction.

use std::time::Duration;

use super::error::Failure;
use super::random::Random;
use super::store::StoreError;

/// How often a unit of work is tried.
pub const TRIES: u32 = 3;

/// An error that tells whether nothing happened because a concurrent transaction was in the way.
pub trait Conflict {
    /// Whether trying again may succeed.
    fn is_conflict(&self) -> bool;
}

impl Conflict for StoreError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Retryable(_))
    }
}

impl Conflict for Failure {
    fn is_conflict(&self) -> bool {
        let source = self.source.as_ref().and_then(|source| source.downcast_ref::<StoreError>());
        source.is_some_and(Conflict::is_conflict)
    }
}

/// Runs a whole unit of work, from its beginning to its commit, and runs it again if it met a concurrent transaction:
/// [`TRIES`] times in all, with a pause that chance decides on, so that those who met do not meet again.
///
/// For what locks several rows, or whatever else may deadlock. A lost commit is no conflict: it may have happened.
///
/// # Errors
/// Those of the last attempt.
pub async fn retrying<T, E: Conflict, R: Future<Output = Result<T, E>>>(
    random: &dyn Random,
    attempt: impl Fn() -> R,
) -> Result<T, E> {
    for _ in 1..TRIES {
        match attempt().await {
            Err(error) if error.is_conflict() => {}
            outcome => return outcome,
        }
        metrics::counter!("convene_db_conflicts_total").increment(1);
        let [chance] = random.bytes();
        tokio::time::sleep(Duration::from_millis(5 + u64::from(chance) / 8)).await;
    }
    attempt().await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::kernel::error::Code;

    struct Fixed;

    impl Random for Fixed {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(0);
        }
    }

    /// Meets others so many times, and succeeds then. Returns the outcome and how often it was tried.
    async fn after(conflicts: u32) -> (Result<(), Failure>, u32) {
        let tries = Cell::new(0);
        let outcome = retrying(&Fixed, || async {
            tries.set(tries.get() + 1);
            if tries.get() <= conflicts {
                Err(StoreError::Retryable("somebody was in the way".into()))?;
            }
            Ok(())
        })
        .await;
        (outcome, tries.get())
    }

    #[tokio::test]
    async fn a_conflict_is_tried_again_twice_and_then_told() {
        for conflicts in 0..3 {
            let (outcome, tries) = after(conflicts).await;
            assert_eq!((outcome.is_ok(), tries), (true, conflicts + 1));
        }
        let (outcome, tries) = after(3).await;
        assert_eq!((outcome.unwrap_err().code, tries), (Code::Unavailable, 3));
    }

    #[tokio::test]
    async fn nothing_else_is_tried_again() {
        for error in [
            || StoreError::CommitUnknown("lost".into()),
            || StoreError::Unavailable("gone".into()),
            || StoreError::other("a defect"),
        ] {
            let tries = Cell::new(0);
            let outcome: Result<(), StoreError> = retrying(&Fixed, || async {
                tries.set(tries.get() + 1);
                Err(error())
            })
            .await;
            assert!(outcome.is_err());
            assert_eq!(tries.get(), 1);
        }
        assert!(!Failure::not_found().is_conflict());
    }
}
