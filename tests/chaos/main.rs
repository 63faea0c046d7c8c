//! Faults: processes of Convene that are killed, and servers that are killed, stopped, or cut off from it. Nothing that was
//! acknowledged is lost, each event has its effect once, and everything recovers by itself.
//!
//! Each test has servers of its own, and processes of its own that it can kill.

mod guests;
mod process;
mod stage;
mod vigil;

mod broker_away;
mod cache_away;
mod database_away;
mod failpoints;
mod half_open;
mod log;
mod metrics;
mod once;
mod redis_away;
mod secrets;
mod serve_killed;
mod traces;
mod worker_killed;

use std::time::Duration;

/// How long anything may take to work again when what it depends on has come back.
const RECOVERS_WITHIN: Duration = Duration::from_secs(10);
/// How long a request may wait for a database that does not answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
