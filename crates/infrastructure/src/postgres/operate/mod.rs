//! What operators ask of the platform's tables, and what they do to them.

mod audit;
mod cron;
mod dead_letters;
mod diagnosis;
mod events;
mod jobs;
mod queues;
mod status;

pub use diagnosis::{Diagnosis, Excess, Skew, clock, diagnose};
