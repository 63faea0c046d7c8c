//! Outgoing HTTP to servers that strangers name, without becoming their way into the network around us (SSRF).
//!
//! Three checks stand one behind the other. [`WebhookUrlPolicy`] judges a URL's form and literal addresses, when an
//! endpoint is made and again before each request. The resolver judges every address that a name resolves to and hands
//! exactly those to the connector, so nothing can change between check and connect. And a request is bounded in time, in
//! what it reads, and in where it goes: no redirects, no proxies.

mod address;
mod policy;
mod resolver;
mod sender;
mod signature;

pub use address::Reach;
pub use policy::WebhookUrlPolicy;
pub use resolver::{Lookup, SystemLookup};
pub use sender::{Bounds, HttpWebhookSender, SenderError};
pub use signature::StandardWebhooksSigner;
