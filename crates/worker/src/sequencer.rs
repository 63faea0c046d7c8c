//! The sequencer's loop: gives committed events their positions as soon as they are there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use convene_application::kernel::backoff::Backoff;
use convene_application::kernel::events::{Sequenced, Sequencer};
use convene_application::kernel::wake::Wake;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::pace::Pace;

/// The pace of the sequencer.
#[derive(Clone, Debug)]
pub struct SequencerOptions {
    /// The most events, and the most audit entries, to move at once.
    pub batch: u32,
    /// How often to look without being woken: the longest wait of an event whose wake-up was lost.
    pub poll: Duration,
    /// How long to wait after a wake-up for what is committed meanwhile, if the engine is busy: one move for many.
    pub gather: Duration,
    /// How often to measure what waits.
    pub measure: Duration,
}

impl Default for SequencerOptions {
    fn default() -> Self {
        Self {
            batch: 1_000,
            poll: Duration::from_millis(200),
            gather: Duration::from_millis(3),
            measure: Duration::from_secs(1),
        }
    }
}

/// Runs the sequencer. Several processes may: the one that holds the lock works, and if it dies another does at once.
pub struct SequencerEngine {
    sequencer: Arc<dyn Sequencer>,
    wake: Arc<Wake>,
    options: SequencerOptions,
}

/// What to do after a move.
enum Next {
    /// There is more.
    Again,
    /// There was nothing more.
    Listen,
    /// Another process is at it, or the store failed.
    Pause(Duration),
}

impl SequencerEngine {
    /// An engine that is woken by `wake.outbox` and rings `wake.log`.
    #[must_use]
    pub fn new(sequencer: Arc<dyn Sequencer>, wake: Arc<Wake>, options: SequencerOptions) -> Self {
        Self { sequencer, wake, options }
    }

    /// Runs until the shutdown.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut outbox = self.wake.outbox.listen();
        let mut backoff = Backoff::new(self.options.poll, Duration::from_secs(5));
        let mut pace = Pace::new(self.options.gather);
        let mut measured: Option<Instant> = None;
        loop {
            let next = self.step(&mut backoff, &mut pace).await;
            if measured.is_none_or(|then| then.elapsed() >= self.options.measure) {
                measured = Some(Instant::now());
                self.measure().await;
            }
            match next {
                Next::Again if !shutdown.is_cancelled() => {}
                Next::Again => return,
                Next::Listen => tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = outbox.rung() => pace.gather().await,
                    () = sleep(self.options.poll) => {}
                },
                Next::Pause(pause) => tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = sleep(pause) => {}
                },
            }
        }
    }

    async fn step(&self, backoff: &mut Backoff, pace: &mut Pace) -> Next {
        let started = Instant::now();
        match self.sequencer.sequence(self.options.batch).await {
            Ok(Sequenced::Moved { events: 0, audit: 0 }) => {
                backoff.reset();
                Next::Listen
            }
            Ok(Sequenced::Moved { events, audit }) => {
                backoff.reset();
                pace.worked();
                metrics::counter!("convene_outbox_sequenced_total").increment(u64::from(events));
                metrics::counter!("convene_audit_chained_total").increment(u64::from(audit));
                metrics::histogram!("convene_sequencer_seconds")
                    .record(started.elapsed().as_secs_f64());
                if events > 0 {
                    self.wake.log.ring();
                }
                if events.max(audit) >= self.options.batch { Next::Again } else { Next::Listen }
            }
            Ok(Sequenced::Busy) => Next::Pause(self.options.poll),
            Err(error) => {
                metrics::counter!("convene_sequencer_failures_total").increment(1);
                tracing::warn!(error = &error as &dyn std::error::Error, "the sequencer failed");
                Next::Pause(backoff.pause())
            }
        }
    }

    async fn measure(&self) {
        // A failure shows in the sequencer itself.
        if let Ok(backlog) = self.sequencer.backlog().await {
            #[expect(clippy::cast_precision_loss, reason = "counted to 100,000 only")]
            metrics::gauge!("convene_outbox_lag_rows").set(backlog.rows as f64);
            metrics::gauge!("convene_outbox_lag_seconds").set(backlog.age.as_secs_f64());
        }
    }
}
