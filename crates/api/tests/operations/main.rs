//! The commands of operators, as an operator runs them: the binary itself, against a real database.

#![expect(clippy::unwrap_used, reason = "a failed assumption in a test is a failed test")]

mod audit;
mod cron;
mod dlq;
mod doctor;
mod events;
mod installation;
mod jobs;
mod outbox;
mod running;
mod user;
mod version;
mod webhooks;
