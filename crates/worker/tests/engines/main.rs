//! The engines over a platform in memory.

#![expect(clippy::unwrap_used, reason = "a failed assumption in a test is a failed test")]

mod jobs;
mod scheduler;
mod sinks;

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// For whatever is to happen.
const SOON: Duration = Duration::from_secs(10);
/// For whatever is not to happen.
const A_WHILE: Duration = Duration::from_millis(150);

/// An engine as a task.
struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start<R>(engine: impl FnOnce(CancellationToken) -> R) -> Self
    where
        R: Future<Output = ()> + Send + 'static,
    {
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(engine(shutdown.clone()));
        Self { shutdown, task }
    }

    /// Ends it as a process that is told to.
    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(SOON, self.task)
            .await
            .expect("the engine ends")
            .expect("and does not panic");
    }

    /// Ends it as kill -9 does.
    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()));
    }
}
