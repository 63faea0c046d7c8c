//! Events of a community, from the draft to the day.

pub mod cached;
mod events;
mod mistakes;
pub mod ports;
mod service;

pub use service::EventService;
