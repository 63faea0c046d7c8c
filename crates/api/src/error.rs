//! Why a command did not do its work, and the exit code that tells it.

use std::net::SocketAddr;
use std::process::ExitCode;

use convene_application::kernel::error::Failure;
use convene_application::kernel::store::StoreError;
use convene_infrastructure::postgres::migrate::MigrateError;

use crate::config::Mistake;

/// `EX_CONFIG` of sysexits.h: something has to be set or prepared first; starting again does not help.
const CONFIGURATION: u8 = 78;

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration has mistakes.
    #[error("the configuration has {} mistake(s)", .0.len())]
    Configuration(Vec<Mistake>),
    /// The database is not migrated.
    #[error("the database lacks {missing} migration(s): run `convene db migrate` first")]
    NotMigrated {
        /// How many are missing.
        missing: usize,
    },
    /// A port cannot be opened.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The database does not answer.
    #[error("the database cannot be used: check database.url (CONVENE__DATABASE__URL)")]
    Database(#[source] StoreError),
    /// The database cannot be migrated, or its roles cannot be read.
    #[error("the database cannot be used: check database.url (CONVENE__DATABASE__URL)")]
    Migrate(#[from] MigrateError),
    /// The private database cannot be started.
    #[error("the private PostgreSQL cannot be started")]
    Embedded(#[from] convene_embedded::Error),
    /// Telemetry cannot be set up.
    #[error(transparent)]
    Telemetry(#[from] crate::telemetry::TelemetryError),
    /// The private database does not run.
    #[error(
        "the private PostgreSQL in {} does not run: start `convene run`, or set database.url (CONVENE__DATABASE__URL)",
        .0.display()
    )]
    NotRunning(std::path::PathBuf),
    /// A use case refused.
    #[error(transparent)]
    Refused(#[from] Failure),
    /// A command did not do what it was asked to, and says why and what to do.
    #[error("{0}")]
    Told(String),
    /// Anything else.
    #[error("{what}")]
    Other {
        /// What was to be done.
        what: &'static str,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StartError {
    /// Anything that has no variant of its own.
    pub fn other(
        what: &'static str,
    ) -> impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> Self {
        move |source| Self::Other { what, source }
    }

    /// The exit code that tells a supervisor whether starting again can help.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Configuration(_) | Self::NotMigrated { .. } => ExitCode::from(CONFIGURATION),
            _ => ExitCode::FAILURE,
        }
    }

    /// The whole chain of causes, for people.
    #[must_use]
    pub fn report(&self) -> String {
        let mut report = format!("convene: {self}");
        if let Self::Configuration(mistakes) = self {
            for mistake in mistakes {
                report.push_str(&format!("\n  {mistake}"));
            }
        }
        for cause in causes(self) {
            report.push_str(&format!("\n  because: {cause}"));
        }
        report
    }
}

/// What lies behind an error, the nearest cause first.
pub(crate) fn causes(error: &dyn std::error::Error) -> impl Iterator<Item = String> {
    std::iter::successors(error.source(), |cause| cause.source()).map(ToString::to_string)
}
