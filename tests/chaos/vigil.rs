//! Watches whether a process is alive, as an orchestrator does.

use std::time::{Duration, Instant};

use convene_tests::client::Client;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

const EVERY: Duration = Duration::from_millis(100);
/// The usual time-out of such a probe, and what a busy machine may add.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1 + 2);

/// Asks `/livez` all the time.
pub(crate) struct Vigil {
    end: DropGuard,
    watching: JoinHandle<u32>,
}

impl Vigil {
    pub(crate) fn over(process: &Client) -> Self {
        let (process, end) = (process.clone(), CancellationToken::new());
        let ended = end.clone();
        let watching = tokio::spawn(async move {
            let mut answers = 0;
            while !ended.is_cancelled() {
                let asked = Instant::now();
                process.get("/livez").await.expect(200);
                let waited = asked.elapsed();
                assert!(waited < ANSWERS_WITHIN, "/livez took {waited:?}");
                answers += 1;
                sleep(EVERY).await;
            }
            answers
        });
        Self { end: end.drop_guard(), watching }
    }

    /// Ends the vigil.
    ///
    /// # Panics
    /// If the process did not answer, in time, each time.
    pub(crate) async fn end(self) {
        drop(self.end);
        let answers = self.watching.await.expect("/livez stays green");
        assert!(answers > 0, "nobody asked");
    }
}
