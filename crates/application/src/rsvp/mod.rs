//! RSVPs: the hot path. A request goes from `service` into its event's `lane`, which decides many requests over one
//! lock with the domain's admission rules and stores them in one unit of work.

mod events;
pub mod jobs;
mod lane;
pub mod offers;
pub mod ports;
mod service;

pub use lane::LaneOptions;
pub use service::{Availability, RsvpService};
