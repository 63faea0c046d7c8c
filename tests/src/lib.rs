//! The bench of the end-to-end and the fault tests: a whole Convene on a database of its own, and a client that looks at
//! everything.

pub mod app;
pub mod client;
pub mod foreign_queue;
pub mod ledger;
pub mod openapi;
pub mod problem;
pub mod process;
pub mod receiver;
pub mod scene;
pub mod smtp;
pub mod trial;
pub mod wire;
