//! Communities, their members and their event log.

use std::sync::Arc;

use convene_application::community::{CommunityEventLog, CommunityService};
use convene_http::community::Service;

use super::Platform;

pub(super) fn wire(platform: &Platform) -> Service {
    let store = Arc::new(platform.store.clone());
    Service {
        communities: CommunityService::new(platform.env.clone(), store.clone(), store.clone()),
        event_log: CommunityEventLog::new(store.clone(), store),
    }
}
