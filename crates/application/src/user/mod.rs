//! People: the profile that each may see and change of themselves, and how others reach them.

pub mod offers;
pub mod ports;
mod service;

pub use service::UserService;
