//! Convene's state: the adapters of the application's ports for Postgres and Redis.

pub mod memory;
pub mod postgres;
pub mod redis;
