//! What the process logs, changed while it runs, and changed back by itself.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use convene_application::kernel::clock::{Clock, SystemClock};
use convene_http::admin::{LogFilterControl, LogFilterState};
use jiff::{SignedDuration, Timestamp};
use tokio::runtime::Handle;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// The filter of this process, once it logs.
static INSTALLED: OnceLock<Arc<LogFilter>> = OnceLock::new();

/// The filter of what this process logs; none where something else logs for it, as in tests.
#[must_use]
pub fn log_filter() -> Option<Arc<LogFilter>> {
    INSTALLED.get().cloned()
}

/// What a process logs.
pub struct LogFilter {
    handle: reload::Handle<EnvFilter, Registry>,
    /// The directives of the configuration.
    configured: String,
    clock: Arc<dyn Clock>,
    runtime: Handle,
    now: Mutex<Now>,
}

/// What is in force.
struct Now {
    filter: String,
    until: Option<Timestamp>,
    /// Rises with each change, so that the end of an earlier one ends nothing else.
    change: u64,
}

impl LogFilter {
    /// The filter of the configuration, with what changes it.
    pub(super) fn new(
        configured: &str,
    ) -> Result<
        (reload::Layer<EnvFilter, Registry>, Arc<Self>),
        tracing_subscriber::filter::ParseError,
    > {
        let (layer, handle) = reload::Layer::new(configured.parse::<EnvFilter>()?);
        let now = Now { filter: configured.to_owned(), until: None, change: 0 };
        let filter = Self {
            handle,
            configured: configured.to_owned(),
            clock: Arc::new(SystemClock),
            runtime: Handle::current(),
            now: Mutex::new(now),
        };
        Ok((layer, Arc::new(filter)))
    }

    /// Makes this the filter of the process.
    pub(super) fn install(self: Arc<Self>) {
        // A process logs in one way: the first that was installed.
        INSTALLED.get_or_init(|| self);
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, change: u64) {
        let mut now = self.now();
        if now.change != change {
            return;
        }
        match self.configured.parse::<EnvFilter>().map(|filter| self.handle.reload(filter)) {
            Ok(Ok(())) => {
                now.filter.clone_from(&self.configured);
                now.until = None;
                drop(now);
                tracing::info!("the log filter of the configuration is in force again");
            }
            _ => tracing::error!("the log filter of the configuration could not be put in force"),
        }
    }

    fn state_of(&self, now: &Now) -> LogFilterState {
        LogFilterState {
            filter: now.filter.clone(),
            configured: self.configured.clone(),
            until: now.until,
        }
    }
}

/// The control that the administrators' API has.
pub struct Controlled(pub Arc<LogFilter>);

impl LogFilterControl for Controlled {
    fn state(&self) -> LogFilterState {
        self.0.state_of(&self.0.now())
    }

    fn set(&self, filter: &str, lasting: Duration) -> Result<LogFilterState, String> {
        let parsed: EnvFilter = filter.parse().map_err(|error| format!("{error}"))?;
        let this = &self.0;
        let mut now = this.now();
        this.handle.reload(parsed).map_err(|error| error.to_string())?;
        now.change += 1;
        filter.clone_into(&mut now.filter);
        now.until =
            SignedDuration::try_from(lasting).ok().map(|lasting| this.clock.now() + lasting);
        let (change, filter) = (now.change, Arc::clone(this));
        this.runtime.spawn(async move {
            tokio::time::sleep(lasting).await;
            filter.end(change);
        });
        Ok(this.state_of(&now))
    }
}

#[cfg(test)]
mod tests {
    use convene_testkit::poll::poll_until;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[tokio::test]
    async fn a_filter_lasts_for_its_time_and_an_earlier_one_does_not_end_a_later_one() {
        let (layer, filter) = LogFilter::new("info").unwrap();
        let subscriber = tracing_subscriber::registry().with(layer);
        let _logging = tracing::subscriber::set_default(subscriber);
        let debugs = || tracing::enabled!(tracing::Level::DEBUG);
        let control = Controlled(Arc::clone(&filter));
        assert!(!debugs());
        assert_eq!((control.state().filter.as_str(), control.state().until), ("info", None));

        let state = control.set("debug", Duration::from_millis(50)).unwrap();
        assert!(debugs() && state.until.is_some());
        assert_eq!((state.filter.as_str(), state.configured.as_str()), ("debug", "info"));
        // Another change before the first is over.
        control.set("info,convene_api=debug", Duration::from_secs(60)).unwrap();
        let patience = Duration::from_secs(5);
        let begun = std::time::Instant::now();
        poll_until(patience, "the first change is over", async || {
            (begun.elapsed() > Duration::from_millis(200)).then_some(())
        })
        .await;
        assert!(debugs(), "the second change goes on");

        control.set("debug", Duration::from_millis(1)).unwrap();
        poll_until(patience, "the configured filter is back", async || (!debugs()).then_some(()))
            .await;
        assert_eq!((control.state().filter.as_str(), control.state().until), ("info", None));
        assert!(control.set("convene=loud", Duration::from_secs(1)).is_err());
        assert_eq!(control.state().filter, "info", "a mistake changes nothing");
    }
}
