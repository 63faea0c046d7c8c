//! Accounts and logins.

pub mod password;
pub mod refresh;
