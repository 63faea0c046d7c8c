//! Puts adapters and use cases together: one file per module, and the platform under them.

mod admin;
mod api;
mod auth;
mod community;
mod engines;
mod event;
mod limits;
mod operations;
pub(crate) mod operators;
mod platform;
mod rsvp;
mod user;
mod webhook;

use std::sync::Arc;

use convene_application::kernel::feed::Follow;
use convene_application::kernel::jobs::{Duty, Handler};
use convene_application::kernel::refusals::{RefusalWriter, refusals};
use convene_http::{Http, Services};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::error::StartError;
pub(crate) use admin::Admin;
pub use engines::Engines;
pub(crate) use engines::{declare, topology};
pub use operations::MetricsText;
pub use platform::Platform;
pub(crate) use platform::{envelope_keys, smtp};

/// Everything that a process serves and runs.
pub struct Convene {
    /// The adapters.
    pub platform: Platform,
    /// What HTTP handlers share.
    pub http: Arc<Http>,
    /// The use cases behind the API.
    pub services: Services,
    /// What administrators of the platform are served, on a listener of its own.
    pub(crate) admin: Admin,
    /// Writes what was refused to the audit log; to be run while serving.
    pub refusal_writer: RefusalWriter,
    auth: Arc<auth::Auth>,
    rsvp: rsvp::Rsvp,
    webhook: webhook::Webhook,
}

impl Convene {
    /// Puts everything together. The database must be migrated, since it holds the signing keys.
    ///
    /// # Errors
    /// What could not be built.
    pub async fn wire(platform: Platform, metrics: MetricsText) -> Result<Self, StartError> {
        let limits = limits::wire(&platform)?;
        let auth = auth::wire(&platform, &limits).await?;
        let rsvp = rsvp::wire(&platform);
        let webhook = webhook::wire(&platform)?;
        let standings = community::standings(&platform);
        let services = Services {
            auth: Arc::new(auth.service.clone()),
            user: Arc::new(user::wire(&platform)),
            event: Arc::new(event::wire(&platform, &standings)),
            community: Arc::new(community::wire(&platform, &standings)),
            rsvp: Arc::new(rsvp.service.clone()),
            webhook: Arc::new(webhook.service.clone()),
        };
        let limiter = Arc::clone(&limits.guessing);
        let (refusals, refusal_writer) =
            refusals(platform.env.clone(), limiter, Arc::new(platform.store.for_upkeep()));
        let (settings, ports) = api::parts(&platform, &auth, &limits, refusals, metrics)?;
        let feeds: Vec<Arc<dyn Follow>> =
            vec![auth.revocations.clone(), platform.invalidations.clone()];
        let admin = admin::wire(&platform, settings.clone(), ports.clone(), feeds);
        let http = Http::new(settings, ports, Handle::current());
        let auth = Arc::new(auth);
        Ok(Self { platform, http, services, admin, refusal_writer, auth, rsvp, webhook })
    }

    /// Keeps what is cached of the database fresh until the shutdown; to be run while serving.
    pub fn keep_fresh(
        &self,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (auth, clock) = (Arc::clone(&self.auth), Arc::clone(&self.platform.env.clock));
        let invalidations = Arc::clone(&self.platform.invalidations);
        async move {
            tokio::join!(auth.keep_fresh(clock, shutdown.clone()), invalidations.run(shutdown));
        }
    }

    /// The handlers of all jobs.
    fn handlers(&self) -> Vec<Arc<dyn Handler>> {
        let mut handlers = self.auth.handlers(&self.platform);
        handlers.extend(self.rsvp.handlers(&self.platform));
        handlers.extend(self.webhook.handlers(&self.platform));
        handlers
    }

    /// The scheduled duties of all modules.
    fn duties() -> Vec<Duty> {
        let mut duties = auth::duties();
        duties.extend(webhook::duties());
        duties
    }
}
