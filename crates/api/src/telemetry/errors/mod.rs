//! Errors and panics for a collector that speaks Sentry's protocol.
//!
//! What the process logs as an error is reported too, each failure once a minute with how often it came meanwhile. Nothing
//! personal and no secret goes along (see `redact`), nobody waits for the collector, and what it does not take is dropped
//! and counted.

mod layer;
mod redact;
mod report;
mod sender;
#[cfg(test)]
mod tests;
mod windows;

use std::panic::PanicHookInfo;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sentry_types::{Dsn, ParseDsnError};
use tracing::Level;

pub(super) use layer::ErrorLayer;
use layer::PANICS;
use report::Sink;
use sender::{Ended, Reporter};

/// How long the end of the process waits for what was not yet sent.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// The reports of a process.
pub(super) struct ErrorReports {
    reporter: Reporter,
    ended: Ended,
}

impl ErrorReports {
    /// Starts to report to the collector that the setting names; none if it is empty.
    ///
    /// # Errors
    /// A DSN that is none, or no thread.
    pub(super) fn start(
        dsn: &SecretString,
        environment: &str,
        service: &'static str,
    ) -> Result<Option<Self>, std::io::Error> {
        let Some(dsn) = parse(dsn).map_err(std::io::Error::other)? else { return Ok(None) };
        let environment = environment.to_owned();
        let release = release(env!("CARGO_PKG_VERSION"), env!("CONVENE_STAMP"));
        let (reporter, ended) = Reporter::start(Sink { dsn, environment, release, service })?;
        Ok(Some(Self { reporter, ended }))
    }

    /// Hears what is logged.
    pub(super) fn layer(&self) -> ErrorLayer {
        ErrorLayer(self.reporter.clone())
    }

    /// Sends what waits, for two seconds at most. Returns whether everything was sent or given up.
    pub(super) fn end(self) -> bool {
        self.reporter.close();
        self.ended.wait(LAST_WAIT)
    }
}

/// The collector and the project in it; none if the setting is empty.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn parse(dsn: &SecretString) -> Result<Option<Dsn>, ParseDsnError> {
    let text = dsn.expose_secret();
    (!text.is_empty()).then(|| text.parse()).transpose()
}

/// `convene@<version>+<commit>`.
fn release(version: &str, stamp: &str) -> String {
    let commit = stamp.split(',').next().unwrap_or(stamp);
    format!("convene@{version}+{commit}")
}

/// Has panics logged like everything else, in the span that they happen in. With `RUST_BACKTRACE` they are printed too, as
/// they are where nobody logs errors.
pub(super) fn log_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let is_logged = tracing::enabled!(target: PANICS, Level::ERROR);
        if is_logged {
            log_panic(panic);
        }
        if !is_logged || std::env::var_os("RUST_BACKTRACE").is_some() {
            print(panic);
        }
    }));
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = panic.payload_as_str().unwrap_or("no message");
    tracing::error!(target: PANICS, location, "{message}");
}
