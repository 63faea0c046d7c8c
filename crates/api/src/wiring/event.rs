//! Events of a community.

use std::sync::Arc;

use convene_application::community::Standings;
use convene_application::event::EventService;

use super::Platform;

pub(super) fn wire(platform: &Platform, standings: &Standings) -> EventService {
    let store = Arc::new(platform.store.clone());
    let (env, caches) = (platform.env.clone(), &platform.caches);
    EventService::new(env, store.clone(), store, standings.clone(), caches)
}
