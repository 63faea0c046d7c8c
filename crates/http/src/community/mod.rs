//! Communities, their members and their event log over HTTP.

mod audit_log;
pub(crate) mod dto;
mod event_log;
mod members;
mod path;
mod routes;

use convene_application::community::{CommunityAuditLog, CommunityEventLog, CommunityService};

use crate::Routes;

/// What the handlers of this module take as `Data`.
#[derive(Clone)]
pub struct Service {
    /// Communities and their members.
    pub communities: CommunityService,
    /// What is recorded about them.
    pub event_log: CommunityEventLog,
    /// Who did what in them.
    pub audit_log: CommunityAuditLog,
}

/// Registers the routes of this module, and with them their documentation.
pub fn routes(api: &mut Routes<'_>) {
    api.service(routes::create)
        .service(routes::list_communities)
        .service(routes::list_mine)
        .service(routes::get)
        .service(routes::update)
        .service(routes::archive)
        .service(members::join)
        .service(members::leave)
        .service(members::list_members)
        .service(members::get_mine)
        .service(members::set_role)
        .service(event_log::read_event_log)
        .service(audit_log::read_audit_log);
}

#[cfg(test)]
mod tests;
