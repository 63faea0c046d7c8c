//! What all handlers share: settings, ports, the main runtime, and whether the process is going down.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use convene_application::kernel::error::Failure;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

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
    in_flight: AtomicUsize,
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
        Arc::new(Self {
            settings,
            ports,
            runtime,
            tasks: TaskTracker::new(),
            draining: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
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
        let task = self.tasks.spawn_on(work.in_current_span(), &self.runtime);
        match task.await {
            Ok(outcome) => outcome.map_err(Problem::from),
            Err(panicked) => Err(Failure::internal(panicked).into()),
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

    /// Takes a place among the requests in flight, unless all are taken.
    pub(crate) fn admit(self: &Arc<Self>) -> Option<InFlight> {
        let place = InFlight(Arc::clone(self));
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        (before < self.settings.max_in_flight).then_some(place)
    }
}

/// A place among the requests in flight, given back when dropped.
pub(crate) struct InFlight(Arc<Http>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
