//! Convene's public events, as other services read them.
//!
//! Every event is one JSON object: a [`CloudEvent`] (CloudEvents 1.0, structured mode) whose `data`
//! is one of the payloads in [`user`], [`community`], [`event`], [`rsvp`] and [`webhook`]. The
//! broker carries that object, the event log answers with it, and a webhook's body,
//! [`WebhookBody`], is derived from it.
//!
//! ```
//! use convene_contracts::{CloudEvent, EventPayload, SchemaBase, rsvp::RsvpConfirmed};
//!
//! // A producer builds a typed event; source, type, schema and community follow from the payload.
//! let published = CloudEvent::<RsvpConfirmed>::example(&SchemaBase::default());
//! let body = serde_json::to_vec(&published)?;
//! assert_eq!(published.routing_key(), "rsvp.confirmed.v1");
//!
//! // A consumer reads the envelope first and the data only when it wants that type.
//! let received: CloudEvent = serde_json::from_slice(&body)?;
//! if received.r#type == RsvpConfirmed::TYPE {
//!     let confirmed: RsvpConfirmed = received.decode()?;
//!     assert_eq!(confirmed.rsvp.party_size, 2);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a consumer may rely on
//!
//! - **Delivery** is at least once. Deduplicate by [`CloudEvent::id`]; redelivery may reorder, and
//!   [`CloudEvent::aggregateversion`], gapless per subject, tells.
//! - **A version is additive.** Within `v{n}` a payload may gain optional members, and a vocabulary
//!   (a string with `x-extensible-enum`) may gain values; both must be tolerated. Nothing is
//!   removed, renamed or retyped.
//! - **A breaking change is a new version**, published beside the old one for as long as the old
//!   one is documented.
//! - **Nothing is absent.** Every documented member of `data` is present, `null` where there is
//!   nothing to say, unless its schema does not require it. Optional members of the envelope are
//!   left out instead, never `null`.
//! - **No personal data.** Payloads hold ids, never names or addresses of people.
//!
//! The JSON Schema of each payload is committed under `schemas/`, a recorded event of each type
//! under `fixtures/`, and a test refuses a change that breaks either.

pub mod amqp;
pub mod asyncapi;
pub mod community;
pub mod envelope;
pub mod event;
pub mod ids;
pub mod payload;
pub mod registry;
pub mod rsvp;
pub mod schema;
pub mod time;
pub mod user;
pub mod webhook;

pub use envelope::{Actor, CloudEvent, DecodeError, EventContext, WebhookBody};
pub use payload::{Change, Changes, EventPayload};
pub use registry::{EVENT_TYPES, EventType, EventTypePattern, UnknownEventType};
pub use schema::SchemaBase;
