//! The thread that sends reports. Whoever fails hands a report over and goes on: nobody waits for the collector, and what it
//! does not take is dropped and counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, Response};
use reqwest::redirect::Policy;

use super::report::{Failed, Report, Sink, hash};
use super::windows::{Admission, Windows};

/// Reports that wait to be sent.
const WAITING: usize = 128;
/// How long the collector may take for one.
const PATIENCE: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(2);
/// How long nothing is sent to a collector that wants no more and does not say for how long.
const PAUSE: Duration = Duration::from_mins(1);

/// What became of the failures.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    pub(super) sent: AtomicU64,
    pub(super) suppressed: AtomicU64,
    pub(super) dropped: AtomicU64,
}

impl Outcomes {
    fn count(&self, outcome: &'static str) {
        let count = match outcome {
            "sent" => &self.sent,
            "suppressed" => &self.suppressed,
            _ => &self.dropped,
        };
        count.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("convene_error_reports_total", "outcome" => outcome).increment(1);
    }
}

/// Takes failures and has them sent.
#[derive(Clone)]
pub(super) struct Reporter {
    state: Arc<Mutex<State>>,
    pub(super) outcomes: Arc<Outcomes>,
}

struct State {
    windows: Windows,
    /// Where reports go until the end is announced.
    queue: Option<SyncSender<Box<Report>>>,
}

/// Tells when everything was sent.
pub(super) struct Ended(Receiver<()>);

impl Reporter {
    /// Starts the thread.
    pub(super) fn start(sink: Sink) -> std::io::Result<(Self, Ended)> {
        let (queue, reports) = sync_channel(WAITING);
        let (ending, ended) = sync_channel::<()>(1);
        let outcomes = Arc::<Outcomes>::default();
        let counts = Arc::clone(&outcomes);
        std::thread::Builder::new().name("error-reports".to_owned()).spawn(move || {
            // What this thread itself logs must not come back to it.
            let silent = tracing::subscriber::NoSubscriber::default();
            tracing::subscriber::with_default(silent, || send_all(&sink, &reports, &counts));
            drop(ending);
        })?;
        let state = State { windows: Windows::default(), queue: Some(queue) };
        Ok((Self { state: Arc::new(Mutex::new(state)), outcomes }, Ended(ended)))
    }

    /// Hands a failure over, unless it was reported a moment ago. Waits for nothing.
    pub(super) fn report(&self, failed: Failed) {
        let fingerprint = failed.fingerprint();
        let failure = hash(&fingerprint);
        let mut state = self.state();
        match state.windows.admit(failure, Instant::now()) {
            Admission::Suppressed => self.outcomes.count("suppressed"),
            Admission::Full => self.outcomes.count("dropped"),
            Admission::Report(suppressed) => {
                let report = Box::new(Report { failed, fingerprint, suppressed });
                let taken = state.queue.as_ref().map(|queue| queue.try_send(report));
                if !matches!(taken, Some(Ok(()))) {
                    self.outcomes.count("dropped");
                }
                debug_assert!(
                    !matches!(taken, Some(Err(TrySendError::Disconnected(_)))),
                    "the thread lives as long as the queue"
                );
            }
        }
    }

    /// Announces the end: what waits is still sent, what comes is dropped.
    pub(super) fn close(&self) {
        self.state().queue = None;
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // What a panic left is a list of failures, and complete.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ended {
    /// Waits until everything was sent, at most so long. Returns whether it was.
    pub(super) fn wait(&self, most: Duration) -> bool {
        matches!(self.0.recv_timeout(most), Err(RecvTimeoutError::Disconnected))
    }
}

fn send_all(sink: &Sink, reports: &Receiver<Box<Report>>, outcomes: &Outcomes) {
    let client = Client::builder()
        .timeout(PATIENCE)
        .connect_timeout(CONNECT)
        .redirect(Policy::none())
        .user_agent(concat!("convene/", env!("CARGO_PKG_VERSION")))
        .build();
    let mut refused_until = Instant::now();
    while let Ok(report) = reports.recv() {
        let now = Instant::now();
        let sent = match &client {
            Ok(client) if now >= refused_until => send(client, sink, *report),
            _ => Sending::Lost,
        };
        if let Sending::Refused(pause) = sent {
            refused_until = now + pause;
        }
        outcomes.count(if matches!(sent, Sending::Done) { "sent" } else { "dropped" });
    }
}

enum Sending {
    Done,
    Lost,
    /// The collector wants no more for so long.
    Refused(Duration),
}

fn send(client: &Client, sink: &Sink, report: Report) -> Sending {
    let Ok(envelope) = sink.envelope(report) else { return Sending::Lost };
    let auth = sink.dsn.to_auth(Some(concat!("convene/", env!("CARGO_PKG_VERSION"))));
    let request = client
        .post(sink.dsn.envelope_api_url())
        .header("x-sentry-auth", auth.to_string())
        .header("content-type", "application/x-sentry-envelope")
        .body(envelope);
    match request.send() {
        Ok(response) if response.status().is_success() => Sending::Done,
        Ok(response) if response.status() == 429 => Sending::Refused(pause(&response)),
        _ => Sending::Lost,
    }
}

/// `Retry-After` in seconds (RFC 9110 §10.2.3).
fn pause(response: &Response) -> Duration {
    let told = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
    told.and_then(|text| text.trim().parse().ok()).map_or(PAUSE, Duration::from_secs)
}
