//! Webhooks: who gets which events, when a delivery is attempted again, and when an endpoint is given up on.

mod address;
mod delivery;
mod endpoint;
mod health;
mod subscription;

pub use address::EndpointUrl;
pub use delivery::{
    Answer, DeliveryStatus, MAX_ATTEMPTS, Next, RETRY_AFTER_MAX, Spread, after_attempt,
};
pub use endpoint::{Endpoint, EndpointPatch, EndpointStatus, NewEndpoint};
pub use health::{Health, UNREACHABLE_AFTER};
pub use subscription::{EventTypes, EventTypesError, MAX_EVENT_TYPES, patterns_matching};
