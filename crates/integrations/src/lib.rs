//! Convene's adapters to the outside that hold none of its state: cryptography, outgoing HTTP and mail.

pub mod egress;
pub mod email;
pub mod security;
