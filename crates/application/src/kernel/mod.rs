//! What every module shares: failures, time, the unit of work, pages, permissions, events and jobs.

pub mod authz;
pub mod backoff;
pub mod changes;
pub mod clock;
pub mod consume;
pub mod context;
pub mod env;
pub mod error;
pub mod events;
pub mod idempotency;
pub mod jobs;
pub mod limits;
pub mod log;
pub mod mail;
pub mod operate;
pub mod page;
pub mod precondition;
pub mod random;
pub mod retry;
pub mod secrets;
pub mod store;
pub mod sweep;
pub mod typed;
pub mod uow;
pub mod wake;
