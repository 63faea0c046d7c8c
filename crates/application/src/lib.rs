//! Convene's use cases and the ports that they need.
//!
//! One module per feature. Each holds its `ports` (what it needs of the outside), its `service` (the use cases), the
//! `events` it records, the `jobs` it runs, and in `offers` the little that other modules may use. What all share is in
//! [`kernel`].

pub mod auth;
pub mod community;
pub mod event;
pub mod kernel;
pub mod rsvp;
pub mod user;
pub mod webhook;
