//! Communities, their members and their event log.

use std::sync::Arc;

use convene_application::community::{
    CommunityAuditLog, CommunityEventLog, CommunityService, Standings,
};
use convene_http::community::Service;

use super::Platform;

/// Communities and roles out of the caches.
pub(super) fn standings(platform: &Platform) -> Standings {
    Standings::new(Arc::new(platform.store.clone()), &platform.caches)
}

pub(super) fn wire(platform: &Platform, standings: &Standings) -> Service {
    let store = Arc::new(platform.store.clone());
    let (env, standings) = (platform.env.clone(), standings.clone());
    Service {
        communities: CommunityService::new(env, store.clone(), store.clone(), standings),
        event_log: CommunityEventLog::new(store.clone(), store.clone()),
        audit_log: CommunityAuditLog::new(store.clone(), store),
    }
}
