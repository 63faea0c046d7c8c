//! Cryptography: random bytes, password hashes, sealed values, digests and access tokens.
//!
//! All of it is argon2 and aws-lc-rs; nothing here invents a construction.

mod envelope;
mod keyring;
mod passwords;
mod random;
mod successor;
mod tokens;
mod verified;

pub use envelope::{
    EnvelopeDigester, EnvelopeKey, EnvelopeKeys, EnvelopeSealer, InvalidEnvelopeKey,
};
pub use keyring::Keyring;
pub use passwords::{Argon2Passwords, HashingPool, InvalidParameters, Parameters};
pub use random::OsRandom;
pub use successor::HkdfSuccessorSealer;
pub use tokens::JwtIssuer;
