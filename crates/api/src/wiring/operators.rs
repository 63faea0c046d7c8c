//! What the commands of operators stand on.

use std::sync::Arc;

use convene_application::auth::AuthService;
use convene_application::kernel::operate::jobs::JobOperator;
use convene_application::kernel::operate::replay::Replayer;
use convene_application::webhook::WebhookOperator;

use super::{Platform, auth, engines};
use crate::error::StartError;

pub(crate) async fn accounts(platform: &Platform) -> Result<AuthService, StartError> {
    Ok(auth::wire(platform).await?.service)
}

pub(crate) fn jobs(platform: &Platform) -> JobOperator {
    let store = Arc::new(platform.store.clone());
    JobOperator::new(store.clone(), store)
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
