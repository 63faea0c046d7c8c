//! Events of a community.

use std::sync::Arc;

use convene_application::event::EventService;

use super::Platform;

pub(super) fn wire(platform: &Platform) -> EventService {
    let store = Arc::new(platform.store.clone());
    EventService::new(platform.env.clone(), store.clone(), store.clone(), store)
}
