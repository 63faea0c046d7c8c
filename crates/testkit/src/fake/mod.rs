//! Fakes of the application's ports: small, in memory, and held to the same contracts as the real adapters.

pub mod auth;
pub mod community;
mod crypto;
pub mod event;
mod kernel;
mod page;
mod platform;
pub mod seats;
mod store;
pub mod user;
pub mod webhook;
mod world;

pub use crypto::{FakeDigester, FakeSealer};
pub use kernel::{FakeLimiter, FakeMailer, FixedClock, SeededRandom, SentMail, env};
pub use platform::{DeadJob, FakePlatform};
pub use store::{FakeStore, FakeTx, Ledger};
pub use world::{Caller, World};
