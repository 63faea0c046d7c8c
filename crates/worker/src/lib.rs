//! Convene's engines: sequencer, sinks, job runner, scheduler.
//!
//! Each is a loop over a port. It is woken by a bell and polls besides, survives the loss of whatever it works with, and
//! ends when its [`CancellationToken`](tokio_util::sync::CancellationToken) is cancelled, after it has finished what it
//! holds. Any number of processes may run the same engines: the database decides who does what. A [`Supervisor`] runs
//! them.

mod canary;
mod jobs;
mod pace;
mod scheduler;
mod sequencer;
mod sinks;
mod supervisor;

pub use canary::Canary;
pub use jobs::{Heartbeats, HeartbeatsError, JobRunner, JobRunnerOptions, TwoHandlers};
pub use scheduler::Scheduler;
pub use sequencer::{SequencerEngine, SequencerOptions};
pub use sinks::{SinkEngine, SinkOptions};
pub use supervisor::Supervisor;
