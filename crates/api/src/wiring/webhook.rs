//! Webhook endpoints and their deliveries.

use std::sync::Arc;

use convene_application::kernel::events::Consumer;
use convene_application::kernel::jobs::{Duty, Handler};
use convene_application::webhook::{
    self, DrainOptions, Drainer, FanOut, Forwarder, Notices, Replays, WebhookService,
};
use convene_domain::webhook::SignatureScheme;
use convene_integrations::egress::{
    HttpWebhookSender, Reach, StandardWebhooksSigner, WebhookUrlPolicy,
};

use super::Platform;
use crate::error::StartError;

/// The use cases, and what delivers.
pub(super) struct Webhook {
    pub(super) service: WebhookService,
    sender: Arc<HttpWebhookSender>,
    signer: Arc<StandardWebhooksSigner>,
}

pub(super) fn wire(platform: &Platform) -> Result<Webhook, StartError> {
    let reach =
        if platform.config.webhooks.allow_private_targets { Reach::Private } else { Reach::Public };
    let sender = sender(platform, reach)?;
    let signer = Arc::new(StandardWebhooksSigner::new(Arc::clone(&platform.env.random)));
    let store = Arc::new(platform.store.clone());
    let service = WebhookService::new(
        platform.env.clone(),
        store.clone(),
        store.clone(),
        store,
        Arc::new(WebhookUrlPolicy::new(reach)),
        signer.clone(),
        Arc::clone(&platform.sealer),
    );
    Ok(Webhook { service, sender: Arc::new(sender), signer })
}

impl Webhook {
    pub(super) fn handlers(&self, platform: &Platform) -> Vec<Arc<dyn Handler>> {
        let jobs = Arc::new(platform.jobs.clone());
        let drainer = Drainer::new(
            platform.env.clone(),
            jobs.clone(),
            jobs.clone(),
            self.sender.clone(),
            self.signer.clone(),
            Arc::clone(&platform.sealer),
            DrainOptions {
                concurrency: platform.config.webhooks.concurrency,
                ..DrainOptions::default()
            },
        );
        let notices =
            Notices::new(jobs.clone(), jobs.clone(), jobs.clone(), Arc::clone(&platform.mailer));
        let replays = Replays::new(platform.env.clone(), jobs.clone(), jobs.clone(), jobs.clone());
        webhook::handlers(drainer, notices, replays, Arc::clone(&platform.env.clock), jobs)
    }
}

fn sender(platform: &Platform, reach: Reach) -> Result<HttpWebhookSender, StartError> {
    HttpWebhookSender::new(reach, Arc::clone(&platform.env.clock)).map_err(|error| {
        StartError::Other { what: "outgoing HTTP cannot be set up", source: Box::new(error) }
    })
}

/// What forwards events to a server that the operator names, be it on this machine.
pub(super) fn forwarder(
    platform: &Platform,
    scheme: SignatureScheme,
    url: String,
) -> Result<Forwarder, StartError> {
    let sender = Arc::new(sender(platform, Reach::Private)?);
    let signer = Arc::new(StandardWebhooksSigner::new(Arc::clone(&platform.env.random)));
    Ok(Forwarder::new(platform.env.clone(), sender, signer, scheme, url))
}

/// The consumer that turns events into deliveries.
pub(super) fn consumer(platform: &Platform) -> Arc<dyn Consumer> {
    let jobs = Arc::new(platform.jobs.clone());
    Arc::new(FanOut::new(platform.env.clone(), jobs.clone(), jobs))
}

pub(super) fn duties() -> Vec<Duty> {
    vec![webhook::duty()]
}
