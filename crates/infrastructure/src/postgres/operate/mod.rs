//! What operators ask of the platform's tables, and what they do to them.

mod diagnosis;
mod events;
mod jobs;

pub use diagnosis::{Diagnosis, Excess, Skew, clock, diagnose};
