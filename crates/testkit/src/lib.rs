//! Convene's test kit: fakes, clock, port contract suites, fault proxy.

pub mod broker;
pub mod contract;
pub mod database;
pub mod fake;
pub mod poll;
pub mod proxy;
pub mod redis;
pub mod services;
mod unique;
pub mod versions;
pub mod wiretap;

/// Private servers, for tests that kill or cut off theirs.
pub use convene_embedded as embedded;
