//! Keeps engines running until the process is to end.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use convene_application::kernel::backoff::Backoff;
use futures::FutureExt as _;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout_at};
use tokio_util::sync::CancellationToken;

/// How long to wait before an engine that failed is started anew.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
/// An engine that ran this long has recovered.
const RECOVERED: Duration = Duration::from_secs(60);

/// Runs engines as tasks. One that panics, or ends before it is told to, is reported, counted and started anew.
pub struct Supervisor {
    shutdown: CancellationToken,
    tasks: Vec<(&'static str, JoinHandle<()>)>,
}

impl Supervisor {
    /// Engines end when `shutdown` is cancelled.
    #[must_use]
    pub fn new(shutdown: CancellationToken) -> Self {
        Self { shutdown, tasks: Vec::new() }
    }

    /// Starts an engine on the runtime that this is called in.
    pub fn run<F, R>(&mut self, name: &'static str, engine: F)
    where
        F: Fn(CancellationToken) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let shutdown = self.shutdown.clone();
        self.tasks.push((name, tokio::spawn(supervise(name, engine, shutdown))));
    }

    /// Waits until all engines have ended after the shutdown; returns the names of those that did not in this time, and
    /// were aborted.
    pub async fn drained(self, within: Duration) -> Vec<&'static str> {
        let deadline = tokio::time::Instant::now() + within;
        let mut late = Vec::new();
        for (name, mut task) in self.tasks {
            if timeout_at(deadline, &mut task).await.is_err() {
                task.abort();
                late.push(name);
            }
        }
        late
    }
}

async fn supervise<F, R>(name: &'static str, engine: F, shutdown: CancellationToken)
where
    F: Fn(CancellationToken) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let mut backoff = BACKOFF;
    loop {
        let started = Instant::now();
        let ended = AssertUnwindSafe(engine(shutdown.clone())).catch_unwind().await;
        if shutdown.is_cancelled() {
            return;
        }
        let how = if ended.is_ok() { "ended by itself" } else { "panicked" };
        tracing::error!(engine = name, how, "an engine failed and is started anew");
        metrics::counter!("convene_engine_restarts_total", "engine" => name).increment(1);
        if started.elapsed() > RECOVERED {
            backoff.reset();
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(backoff.pause()) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn an_engine_that_panics_or_ends_is_started_anew() {
        let shutdown = CancellationToken::new();
        let mut supervisor = Supervisor::new(shutdown.clone());
        let starts = Arc::new(AtomicU32::new(0));
        let (counted, running) = (Arc::clone(&starts), CancellationToken::new());
        let reached = running.clone();
        supervisor.run("test", move |shutdown| {
            let (start, reached) = (counted.fetch_add(1, Ordering::Relaxed), reached.clone());
            async move {
                match start {
                    0 => panic!("the first start fails"),
                    1 => {}
                    _ => {
                        reached.cancel();
                        shutdown.cancelled().await;
                    }
                }
            }
        });
        running.cancelled().await;
        shutdown.cancel();
        assert!(supervisor.drained(Duration::from_secs(5)).await.is_empty());
        assert_eq!(starts.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn an_engine_that_does_not_end_is_named() {
        let shutdown = CancellationToken::new();
        let mut supervisor = Supervisor::new(shutdown.clone());
        supervisor.run("deaf", |_| std::future::pending());
        shutdown.cancel();
        assert_eq!(supervisor.drained(Duration::from_millis(20)).await, ["deaf"]);
    }
}
