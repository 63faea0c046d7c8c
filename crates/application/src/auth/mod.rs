//! Accounts, logins and tokens.
//!
//! The use cases are spread by what they do: [`register`](AuthService::register) and
//! [`verify_email`](AuthService::verify_email) make accounts, [`login`](AuthService::login) and
//! [`refresh`](AuthService::refresh) make sessions and keep them alive, [`logout`](AuthService::logout) and
//! [`reset_password`](AuthService::reset_password) end them. No answer tells whether an address has an account: both cases
//! read and write alike, and what differs is said in mail.

mod access;
mod admin;
pub mod authenticate;
mod authenticator;
pub mod crypto;
mod guessing;
pub mod jobs;
pub mod keys;
mod login;
pub mod ports;
mod recovery;
mod refresh;
mod registration;
mod revocations;
mod service;
mod token;

pub use access::{AdminAccess, InvalidReason, Reason};
pub use admin::{AdminMade, NewAdmin};
pub use authenticator::Authenticator;
pub use guessing::GuessingLimits;
pub use login::Login;
pub use recovery::Reset;
pub use registration::Registration;
pub use revocations::RevocationFeed;
pub use service::{AuthDeps, AuthOptions, AuthService, Tokens};
pub use token::{OpaqueToken, TokenDigest};
