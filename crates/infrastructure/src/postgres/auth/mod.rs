//! Accounts, logins and tokens.

mod feed;
mod keys;
mod reads;
mod rows;
mod sweep;
mod tx;
