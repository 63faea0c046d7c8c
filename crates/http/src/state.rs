//! What all handlers share: settings, ports, the main runtime, and whether the process is going down.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use convene_application::kernel::error::Failure;
use convene_application::kernel::queueing::{Queue, Waiting};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::homeward::Homeward;
use crate::middleware::{Connected, Gate, Limits};
use crate::ports::Ports;
use crate::problem::Problem;
use crate::schemas::EventDocuments;
use crate::settings::Settings;

/// What all handlers share. One per process.
pub struct Http {
    pub(crate) settings: Settings,
    pub(crate) ports: Ports,
    runtime: Handle,
    tasks: TaskTracker,
    draining: AtomicBool,
    /// Use cases that wait for their turn on the main runtime.
    turns: Arc<Queue>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) limits: Option<Limits>,
    event_documents: OnceLock<EventDocuments>,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Http {
    /// Brings settings and ports together. `runtime` is the multi-threaded runtime that opened the database
    /// connections: use cases run there, not in actix's single-threaded workers.
    #[must_use]
    pub fn new(settings: Settings, ports: Ports, runtime: Handle) -> Arc<Self> {
        let turns = Arc::<Queue>::default();
        let gate = Gate::new(settings.max_in_flight, settings.queue_target, Arc::clone(&turns));
        let limiter = ports.limiter.clone();
        Arc::new(Self {
            runtime,
            tasks: TaskTracker::new(),
            draining: AtomicBool::new(false),
            turns,
            gate: Arc::new(gate),
            limits: limiter.map(|limiter| Limits::new(limiter, settings.limits)),
            settings,
            ports,
            event_documents: OnceLock::new(),
        })
    }

    /// Runs a use case to its end, whether or not the client waits for it: a disconnect drops the handler, never the
    /// use case. The request's span goes with it.
    ///
    /// # Errors
    /// The use case's failure; 500 if it panicked.
    pub async fn run<T, W>(&self, work: W) -> Result<T, Problem>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let turn = Waiting::begin(Arc::clone(&self.turns));
        let work = async move {
            drop(turn);
            work.await
        };
        let (work, outcome) = Homeward::here().bring(work.in_current_span());
        self.tasks.spawn_on(work, &self.runtime);
        match outcome.await {
            Ok(outcome) => outcome.map_err(Problem::from),
            Err(lost) => Err(Failure::internal(lost).into()),
        }
    }

    /// Announces the end: from now on `/readyz` answers 503, so that load balancers send no more requests. Everything
    /// else goes on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether [`Http::drain`] was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Waits until every use case that was begun has ended, those whose client has gone included. To be called after
    /// the server has stopped and before the process ends.
    pub async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// What consumers of events read, made when the first of them asks.
    pub(crate) fn event_documents(&self) -> &EventDocuments {
        self.event_documents.get_or_init(|| EventDocuments::of(&self.settings.schemas))
    }

    /// Counts a connection until what is returned is dropped, which the server does with the connection.
    #[must_use]
    pub fn connected(&self) -> Connected {
        self.gate.connected()
    }
}
