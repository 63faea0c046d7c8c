//! Convene's rules: entities, state machines, policies and domain events.
//!
//! Plain Rust without I/O, async or serialisation: everything here is a value or a function of values, so every rule is a
//! unit test. One module per feature; [`ids`], [`role`], [`text`] and [`zone`] are shared by all.

pub mod auth;
pub mod community;
pub mod event;
pub mod ids;
pub mod role;
pub mod rsvp;
pub mod text;
pub mod user;
pub mod webhook;
pub mod zone;
