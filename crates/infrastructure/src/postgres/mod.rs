//! PostgreSQL: one connection pool, one unit of work, and a file per module with its SQL.

mod audit;
mod audit_log;
mod auth;
mod community;
mod cron;
mod endings;
mod event;
mod event_log;
mod idempotency;
mod inbox;
mod invalidations;
mod jobs;
mod keyset;
mod line;
pub mod listen;
pub mod load;
pub mod migrate;
pub mod operate;
mod outbox;
pub mod pool;
mod queue;
mod rsvp;
pub mod seed;
mod sequencer;
mod sql;
mod store;
mod sweep;
mod tls;
mod tx;
mod user;
mod webhook;

pub use store::PgStore;
