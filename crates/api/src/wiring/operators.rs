//! What the commands of operators stand on.

use std::sync::Arc;

use convene_application::auth::AuthService;
use convene_application::auth::keys::KeyOperator;
use convene_application::kernel::operate::audit::{AuditEraser, AuditVerifier};
use convene_application::kernel::operate::cron::CronOperator;
use convene_application::kernel::operate::dead_letters::DeadLetterOperator;
use convene_application::kernel::operate::jobs::JobOperator;
use convene_application::kernel::operate::queues::QueueOperator;
use convene_application::kernel::operate::replay::Replayer;
use convene_application::webhook::{Forwarder, WebhookOperator};
use convene_domain::webhook::SignatureScheme;
use convene_integrations::security::Keyring;
use convene_messaging::RabbitParking;

use super::{Platform, auth, engines, limits, webhook};
use crate::error::StartError;

pub(crate) async fn accounts(platform: &Platform) -> Result<AuthService, StartError> {
    Ok(auth::wire(platform, &limits::wire(platform)?).await?.service)
}

pub(crate) fn audit_verifier(platform: &Platform) -> AuditVerifier {
    AuditVerifier::new(Arc::new(platform.store.clone()))
}

pub(crate) fn audit_eraser(platform: &Platform) -> AuditEraser {
    AuditEraser::new(Arc::new(platform.store.clone()))
}

pub(crate) fn keys(platform: &Platform) -> KeyOperator {
    let store = Arc::new(platform.store.clone());
    KeyOperator::new(store, Arc::clone(&platform.sealer), Arc::clone(&platform.digester))
}

/// Makes signing keys.
pub(crate) fn keyring(platform: &Platform) -> Keyring {
    Keyring::new(Arc::new(platform.store.clone()), Arc::clone(&platform.sealer))
}

pub(crate) fn jobs(platform: &Platform) -> JobOperator {
    let store = Arc::new(platform.store.clone());
    JobOperator::new(store.clone(), store)
}

pub(crate) fn queues(platform: &Platform) -> QueueOperator {
    let store = Arc::new(platform.store.clone());
    QueueOperator::new(store.clone(), store.clone(), store)
}

pub(crate) fn cron(platform: &Platform) -> CronOperator {
    let store = Arc::new(platform.store.clone());
    CronOperator::new(store.clone(), store, engines::duties())
}

/// Dead jobs, and parked messages where there is a broker.
pub(crate) fn dead_letters(platform: &Platform) -> Result<DeadLetterOperator, StartError> {
    let parking = engines::topology(platform)?
        .map(|(options, topology)| Arc::new(RabbitParking::new(options, topology)) as _);
    let store = Arc::new(platform.store.clone());
    Ok(DeadLetterOperator::new(jobs(platform), store.clone(), parking, store))
}

/// The replays go to the very consumers that a bus feeds.
pub(crate) fn replayer(platform: &Platform) -> Result<Replayer, StartError> {
    let store = Arc::new(platform.jobs.clone());
    let intake = engines::intake(platform)?;
    let env = platform.env.clone();
    Ok(Replayer::new(env, intake, store.clone(), store.clone(), store.clone(), store))
}

pub(crate) fn webhooks(platform: &Platform) -> WebhookOperator {
    let store = Arc::new(platform.store.clone());
    WebhookOperator::new(platform.env.clone(), store.clone(), store)
}

/// Sends recorded events to a receiver that is being developed.
pub(crate) fn forwarder(
    platform: &Platform,
    scheme: SignatureScheme,
    url: String,
) -> Result<Forwarder, StartError> {
    webhook::forwarder(platform, scheme, url)
}
