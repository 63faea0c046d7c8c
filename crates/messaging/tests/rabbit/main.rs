//! The RabbitMQ adapter against a real broker. Each test has names of its own there.

#![expect(clippy::unwrap_used, reason = "tests, and what they share")]

mod consuming;
mod outages;
mod parking;
mod publishing;
mod support;
mod topology;
