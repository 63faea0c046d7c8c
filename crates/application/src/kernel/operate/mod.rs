//! What operators ask of a running installation, and what they do to it. Whatever changes something writes an audit entry
//! in the same transaction.

pub mod jobs;
pub mod relay;
pub mod replay;
