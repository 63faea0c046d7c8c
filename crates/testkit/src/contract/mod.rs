//! What every adapter of a port must do, the fake as well as the real one.

pub mod auth;
pub mod community;
pub mod event;
pub mod limiter;
pub mod platform;
pub mod user;
mod walk;
pub mod webhook;
