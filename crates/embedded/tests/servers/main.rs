//! Starts, kills and finds again real servers. A server that is not installed fails its tests with
//! the name of the package to install.

#![expect(clippy::unwrap_used, reason = "tests, and what they share")]

mod postgres;
mod rabbitmq;
mod redis;
mod support;
