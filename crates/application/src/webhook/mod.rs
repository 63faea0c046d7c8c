//! Webhooks: what a community's endpoints are sent, and how it gets there.
//!
//! An event becomes one delivery for each endpoint that wants it ([`FanOut`]), in the transaction that marks the event as
//! consumed. One job an endpoint drains its deliveries, sends them and records what came back, so everything about an
//! endpoint, its fairness, its pauses and its end, is decided in one place at a time. What it needs of the network is in
//! [`egress`].

mod drain;
pub mod egress;
mod events;
mod fanout;
mod input;
mod jobs;
mod listen;
mod notice;
mod operator;
mod pace;
pub mod ports;
mod replay;
mod rotation;
mod secret;
mod service;
mod settle;
mod trial;
mod upkeep;

pub use drain::{DrainOptions, Drainer};
pub use fanout::FanOut;
pub use input::{EndpointChange, EndpointInput, HeadersChange, Rotation};
pub use jobs::{Drain, MailFailing, SweepDeliveries, duty, handlers};
pub use listen::{Forwarded, Forwarder};
pub use notice::Notices;
pub use operator::WebhookOperator;
pub use replay::{ReplayDeliveries, ReplayInput, Replays};
pub use rotation::RotatedEndpoint;
pub use service::{CreatedEndpoint, STATS_LIMIT, WebhookService};
pub use upkeep::{SealedEndpoint, SealedPlace, SecretUpkeep, reseal_secrets};
