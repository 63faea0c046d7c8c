//! A sink's loop: leads the sink's cursor and publishes the log behind it.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use convene_application::kernel::backoff::Backoff;
use convene_application::kernel::events::{EventLog, Lead, LoggedEvent, Sink, SinkError};
use convene_application::kernel::failpoint::{self, Failpoint};
use convene_application::kernel::store::StoreError;
use convene_application::kernel::trace;
use convene_application::kernel::wake::{Listener, Wake};
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The pace of a sink.
#[derive(Clone, Debug)]
pub struct SinkOptions {
    /// How long a lead lasts that is not renewed: how long a sink stands still after its leader was killed.
    pub lease: Duration,
    /// How often a lead is renewed while nothing moves the cursor.
    pub renew: Duration,
    /// How often a process that does not lead asks whether it may.
    pub standby: Duration,
    /// How often to look for events without being woken.
    pub poll: Duration,
    /// How long the events in flight may take to land at the shutdown.
    pub landing: Duration,
}

impl Default for SinkOptions {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(3),
            renew: Duration::from_secs(1),
            standby: Duration::from_millis(500),
            poll: Duration::from_millis(200),
            landing: Duration::from_secs(5),
        }
    }
}

/// Publishes the log through one sink, in the order of positions. Several processes may run it; the one that leads
/// works. A leader that lost its lead without noticing may publish an event once more, but never moves the cursor.
pub struct SinkEngine {
    log: Arc<dyn EventLog>,
    sink: Arc<dyn Sink>,
    wake: Arc<Wake>,
    holder: Uuid,
    options: SinkOptions,
}

/// Why a lead ended.
enum Ended {
    Shutdown,
    /// Another process has taken the lead.
    Lost,
    /// The sink could not publish.
    Sink(SinkError),
    /// The log could not be read or the cursor not be moved.
    Store(StoreError),
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl SinkEngine {
    /// An engine that is woken by `wake.log`. `holder` tells the processes apart.
    #[must_use]
    pub fn new(
        log: Arc<dyn EventLog>,
        sink: Arc<dyn Sink>,
        wake: Arc<Wake>,
        holder: Uuid,
        options: SinkOptions,
    ) -> Self {
        Self { log, sink, wake, holder, options }
    }

    /// Runs until the shutdown, which lets the events in flight land first, and then closes the sink.
    pub async fn run(&self, shutdown: CancellationToken) {
        self.follow(&shutdown).await;
        self.sink.close().await;
    }

    async fn follow(&self, shutdown: &CancellationToken) {
        let mut bell = self.wake.log.listen();
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        while !shutdown.is_cancelled() {
            let pause = match self.log.lead(self.sink.name(), self.holder, self.options.lease).await
            {
                Ok(None) => {
                    // What this process cannot reach is no trouble as long as another one does the work.
                    self.sink.close().await;
                    self.options.standby
                }
                Ok(Some(lead)) => match self.lead(lead, &mut bell, &mut backoff, shutdown).await {
                    Ended::Shutdown => {
                        self.resign(lead).await;
                        return;
                    }
                    Ended::Lost => self.options.standby,
                    Ended::Sink(error) => {
                        self.failed(&error);
                        // Another process may reach what this one cannot.
                        self.resign(lead).await;
                        backoff.pause()
                    }
                    Ended::Store(error) => {
                        self.failed(&error);
                        backoff.pause()
                    }
                },
                Err(error) => {
                    self.failed(&error);
                    backoff.pause()
                }
            };
            self.measure().await;
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Publishes as long as the lead lasts.
    async fn lead(
        &self,
        lead: Lead,
        bell: &mut Listener,
        backoff: &mut Backoff,
        shutdown: &CancellationToken,
    ) -> Ended {
        let sink = self.sink.name();
        tracing::debug!(sink, position = lead.position, epoch = lead.epoch, "leading");
        let mut position = lead.position;
        let mut renewed = Instant::now();
        let mut measured: Option<Instant> = None;
        while !shutdown.is_cancelled() {
            let events = match self.log.read_after(position, self.sink.in_flight()).await {
                Ok(events) => events,
                Err(error) => return error.into(),
            };
            if events.is_empty() {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = bell.rung() => {}
                    () = sleep(self.options.poll) => {}
                }
            } else {
                position = match self.publish(lead, position, &events, shutdown).await {
                    Ok(confirmed) => confirmed,
                    Err(ended) => return ended,
                };
                backoff.reset();
            }
            if !events.is_empty() || renewed.elapsed() >= self.options.renew {
                renewed = Instant::now();
                if let Err(ended) = self.advance(lead, position).await {
                    return ended;
                }
                if !events.is_empty() {
                    failpoint::reach(Failpoint::Mark);
                }
            }
            if measured.is_none_or(|then| then.elapsed() >= self.options.renew) {
                measured = Some(Instant::now());
                self.measure().await;
            }
        }
        Ended::Shutdown
    }

    /// Publishes a run of events and returns the last position up to which all are confirmed. Renews the lead meanwhile.
    async fn publish(
        &self,
        lead: Lead,
        position: i64,
        events: &[LoggedEvent],
        shutdown: &CancellationToken,
    ) -> Result<i64, Ended> {
        let sink = self.sink.name();
        let started = Instant::now();
        let mut renewals = interval(self.options.renew);
        renewals.reset();
        let _spans = trace::of_each(events, |event| {
            tracing::info_span!(
                "bus.publish",
                sink,
                event = %event.id,
                event_type = event.event_type,
                position = event.position,
            )
        });
        let mut publishing = self.sink.publish(events);
        let mut landed_late = pin!(async {
            shutdown.cancelled().await;
            sleep(self.options.landing).await;
        });
        let confirmed = loop {
            tokio::select! {
                confirmed = &mut publishing => break confirmed.map_err(Ended::Sink)?,
                _ = renewals.tick() => self.advance(lead, position).await?,
                () = &mut landed_late => return Err(Ended::Shutdown),
            }
        };
        let Some(confirmed) = confirmed else {
            return Err(Ended::Sink(SinkError {
                what: "the sink confirmed nothing",
                source: Box::from("not even the first event of a run"),
            }));
        };
        metrics::histogram!("convene_sink_publish_seconds", "sink" => sink)
            .record(started.elapsed().as_secs_f64());
        metrics::counter!("convene_sink_published_total", "sink" => sink)
            .increment(u64::try_from(confirmed - position).unwrap_or(0));
        Ok(confirmed)
    }

    async fn advance(&self, lead: Lead, position: i64) -> Result<(), Ended> {
        if self.log.advance(self.sink.name(), lead, position, self.options.lease).await? {
            Ok(())
        } else {
            Err(Ended::Lost)
        }
    }

    async fn resign(&self, lead: Lead) {
        if let Err(error) = self.log.resign(self.sink.name(), lead).await {
            // The lease ends by itself.
            tracing::debug!(error = &error as &dyn std::error::Error, "a lead was not resigned");
        }
    }

    /// Every process tells how far the sink is behind, whoever leads it: also when nobody does.
    async fn measure(&self) {
        // A failure shows in the next read.
        if let Ok(Some(lag)) = self.log.lag(self.sink.name()).await {
            let labels = [("sink", self.sink.name())];
            #[expect(clippy::cast_precision_loss, reason = "a gauge for people")]
            metrics::gauge!("convene_sink_lag_events", &labels).set(lag.events as f64);
            metrics::gauge!("convene_sink_lag_seconds", &labels).set(lag.age.as_secs_f64());
        }
    }

    fn failed(&self, error: &(dyn std::error::Error + 'static)) {
        let sink = self.sink.name();
        metrics::counter!("convene_sink_failures_total", "sink" => sink).increment(1);
        tracing::warn!(sink, error, "a sink stands still");
    }
}
