//! Puts adapters and use cases together: one file per module, and the platform under them.

mod api;
mod auth;
mod community;
mod engines;
mod event;
mod operations;
pub(crate) mod operators;
mod platform;
mod rsvp;
mod user;
mod webhook;

use std::sync::Arc;

use convene_application::kernel::jobs::{Duty, Handler};
use convene_http::{Http, Services};
use tokio_util::sync::CancellationToken;

use crate::error::StartError;
pub use engines::Engines;
pub(crate) use engines::{declare, topology};
pub use operations::MetricsText;
pub use platform::Platform;
pub(crate) use platform::smtp;

/// Everything that a process serves and runs.
pub struct Convene {
    /// The adapters.
    pub platform: Platform,
    /// What HTTP handlers share.
    pub http: Arc<Http>,
    /// The use cases behind the API.
    pub services: Services,
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
        let auth = auth::wire(&platform).await?;
        let rsvp = rsvp::wire(&platform);
        let webhook = webhook::wire(&platform)?;
        let services = Services {
            auth: Arc::new(auth.service.clone()),
            user: Arc::new(user::wire(&platform)),
            event: Arc::new(event::wire(&platform)),
            community: Arc::new(community::wire(&platform)),
            rsvp: Arc::new(rsvp.service.clone()),
            webhook: Arc::new(webhook.service.clone()),
        };
        let http = api::http(&platform, &auth, metrics);
        Ok(Self { platform, http, services, auth: Arc::new(auth), rsvp, webhook })
    }

    /// Keeps what is cached of the database fresh until the shutdown; to be run while serving.
    pub fn keep_fresh(
        &self,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (auth, clock) = (Arc::clone(&self.auth), Arc::clone(&self.platform.env.clock));
        async move { auth.keep_fresh(clock, shutdown).await }
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
