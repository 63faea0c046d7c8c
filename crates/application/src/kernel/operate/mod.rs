//! What operators ask of a running installation, and what they do to it. Whatever changes something writes an audit entry
//! in the same transaction.

pub mod audit;
pub mod cron;
pub mod dead_letters;
pub mod jobs;
pub mod queues;
pub mod relay;
pub mod replay;
pub mod status;
