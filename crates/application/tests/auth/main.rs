//! Accounts, logins and tokens over fakes and a clock that the test moves.

#![expect(clippy::unwrap_used, reason = "a failed assumption in a test is a failed test")]

mod admin;
mod login;
mod recovery;
mod refresh;
mod registration;
mod revocations;
mod scene;
mod upkeep;
