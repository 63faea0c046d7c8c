//! Communities: the tenants, their members, and what is recorded about them.

pub mod audit_log;
pub mod event_log;
mod events;
mod members;
pub mod offers;
pub mod ports;
mod service;
pub mod standings;

pub use audit_log::CommunityAuditLog;
pub use event_log::CommunityEventLog;
pub use ports::MemberView;
pub use service::CommunityService;
pub use standings::Standings;
