//! Webhooks: who gets which events, when a delivery is attempted again, and when an endpoint is given up on.

mod address;
mod delivery;
mod endpoint;
mod headers;
mod health;
mod rate;
mod replay;
mod signature;
mod subscription;

pub use address::EndpointUrl;
pub use delivery::{
    Answer, DeliveryStatus, MAX_ATTEMPTS, Next, RETRY_AFTER_MAX, Spread, after_attempt,
};
pub use endpoint::{Endpoint, EndpointPatch, EndpointStatus, NewEndpoint};
pub use headers::{CustomHeaders, HeaderError, MAX_HEADERS};
pub use health::{Health, UNREACHABLE_AFTER};
pub use rate::RateLimit;
pub use replay::{ReplayScope, ReplayStatus};
pub use signature::{Overlap, Signature, SignatureScheme};
pub use subscription::{EventTypes, EventTypesError, MAX_EVENT_TYPES, patterns_matching};
