//! What a run of a job and its worker tell each other while it runs.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

/// How far a run has got, in whatever it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is done.
    pub done: i64,
    /// All there is to do, if that is known.
    pub total: Option<i64>,
}

/// The line between a run and its worker. Cheap to clone; clones are the same line.
#[derive(Clone, Debug, Default)]
pub struct RunControl(Arc<Line>);

#[derive(Debug, Default)]
struct Line {
    cancelled: CancellationToken,
    progress: Mutex<Option<Progress>>,
}

impl RunControl {
    /// Whether an operator wants the run to end. Nothing more commits under its lease by then, and some seconds later the
    /// run is dropped: what has to be put right outside the database is to be put right now.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.is_cancelled()
    }

    /// Waits until an operator wants the run to end.
    pub async fn cancelled(&self) {
        self.0.cancelled.cancelled().await;
    }

    /// Tells how far the run has got. It is stored with the next heartbeat, and costs nothing until then.
    pub fn progress(&self, done: i64, total: Option<i64>) {
        *self.0.progress.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Progress { done, total });
    }

    /// What the run told last; for its worker.
    #[must_use]
    pub fn told(&self) -> Option<Progress> {
        *self.0.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the run to end; for its worker.
    pub fn cancel(&self) {
        self.0.cancelled.cancel();
    }
}
