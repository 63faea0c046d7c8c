//! What the HTTP layer needs of the outside, beside the modules' services.

use std::sync::Arc;

use async_trait::async_trait;
use convene_application::auth::authenticate::{Authenticate, PublicKeys};
use convene_application::kernel::clock::Clock;
use convene_application::kernel::limits::RequestLimiter;
use convene_application::kernel::random::Random;
use convene_application::kernel::refusals::RefusalLog;
use convene_application::kernel::secrets::Digester;
use convene_application::kernel::store::Source;
pub use convene_application::kernel::trace::Tracer;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// The adapters that every request needs.
#[derive(Clone)]
pub struct Ports {
    /// Checks access tokens.
    pub authenticate: Arc<dyn Authenticate>,
    /// Tells the keys that access tokens are signed with.
    pub public_keys: Arc<dyn PublicKeys>,
    /// Takes what was refused, to be audited.
    pub refusals: Arc<dyn RefusalLog>,
    /// Signs page cursors.
    pub digester: Arc<dyn Digester>,
    /// Tells the time of request ids.
    pub clock: Arc<dyn Clock>,
    /// Makes request ids and span ids.
    pub random: Arc<dyn Random>,
    /// Counts requests; none switches limits on requests off.
    pub limiter: Option<Arc<dyn RequestLimiter>>,
    /// Says whether the process can serve.
    pub readiness: Arc<dyn Readiness>,
    /// Renders the metrics in Prometheus' text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// The mailbox of the development profile.
    pub dev_mail: Option<Arc<dyn DevMail>>,
    /// Ties a request's span to a distributed trace, where traces are exported.
    pub tracer: Option<Arc<dyn Tracer>>,
}

/// Says whether the process can serve.
#[async_trait]
pub trait Readiness: Send + Sync {
    /// Looks at what the process depends on. Must answer within a few seconds even if nothing else does.
    async fn checks(&self) -> Vec<Check>;
}

/// How one thing that the process depends on is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Check {
    /// Its name.
    #[schema(value_type = String, example = "database")]
    pub name: &'static str,
    /// How it is doing.
    pub state: CheckState,
}

/// How something is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// It works.
    Up,
    /// It is down and the process serves without it.
    Degraded,
    /// It is down and the process cannot serve without it.
    Down,
}

/// The mailbox of the development profile: what was sent, instead of sending it.
#[async_trait]
pub trait DevMail: Send + Sync {
    /// The mails, newest first; those to one address if it is given.
    ///
    /// # Errors
    /// The store's.
    async fn list(&self, to: Option<&str>) -> Result<Vec<DevMessage>, Source>;

    /// One mail.
    ///
    /// # Errors
    /// The store's.
    async fn find(&self, id: &str) -> Result<Option<DevMessage>, Source>;
}

/// A mail in the development mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DevMessage {
    /// Its id, of letters, digits, `-` and `_`.
    pub id: String,
    /// Who sends it.
    pub from: String,
    /// Who gets it.
    pub to: String,
    /// What it is about.
    pub subject: String,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// The part for people without HTML.
    pub text: String,
    /// The part with HTML.
    pub html: Option<String>,
}
