//! Idempotency keys: one effect however often a request is sent.
//!
//! A claim is the first statement of the unit of work and the reply is stored with its commit, so the key protects exactly
//! what was done. After the IETF draft `draft-ietf-httpapi-idempotency-key-header` and Stripe's API.

use std::time::Duration;

use bytes::Bytes;

use super::error::{Checked, Code, Failure};

/// A key that the client chose, with what it protects.
#[derive(Clone, Debug)]
pub struct KeyClaim {
    /// SHA-256 over principal, method, path and the client's key.
    pub scope: [u8; 32],
    /// SHA-256 over the raw body.
    pub fingerprint: [u8; 32],
}

/// The key itself is no good. Told in its place among the checks: to those who may see and change the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidKey;

impl From<InvalidKey> for Failure {
    fn from(_: InvalidKey) -> Self {
        Self::new(
            Code::ValidationFailed,
            "The Idempotency-Key must have 1–255 visible ASCII characters.",
        )
    }
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The first request with this key: go on, and stage the reply under the scope.
    First,
    /// Done before with the same body: this was the reply.
    Done(StoredReply),
    /// Done before with another body.
    Mismatch,
    /// Another request with this key is being processed right now.
    InFlight,
}

/// A reply as it was sent the first time. Only replies of success are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredReply {
    /// The HTTP status.
    pub status: u16,
    /// The `Location` header.
    pub location: Option<String>,
    /// The `ETag` header.
    pub etag: Option<String>,
    /// The bytes of the body; sealed if they hold a secret.
    pub body: Bytes,
}

/// An idempotency key with the way to turn this use case's outcome into a reply; only the HTTP layer knows bytes.
#[derive(Debug)]
pub struct Idempotency<T> {
    /// The key, which [`uow::replay`](super::uow::replay) opens in its place; or why the call is refused there: for its key,
    /// or for what came with it although the call takes no input.
    pub claim: Checked<KeyClaim>,
    /// How the outcome looks as a reply.
    pub render: fn(&T) -> StoredReply,
}

impl<T> Clone for Idempotency<T> {
    fn clone(&self) -> Self {
        Self { claim: self.claim.clone(), render: self.render }
    }
}

/// What a use case answers: its outcome, or the reply that the same request got before.
#[derive(Clone, Debug)]
pub enum Reply<T> {
    /// It was done now.
    Fresh(T),
    /// It was done before.
    Replayed(StoredReply),
}

impl Claimed {
    /// Goes on with a first request; answers any other.
    ///
    /// # Errors
    /// 409 while in flight, 422 for another body.
    pub fn proceed(self) -> Result<Option<StoredReply>, Failure> {
        match self {
            Self::First => Ok(None),
            Self::Done(reply) => Ok(Some(reply)),
            Self::Mismatch => Err(Failure::new(
                Code::IdempotencyMismatch,
                "This Idempotency-Key was used before with another body.",
            )),
            Self::InFlight => Err(Failure {
                retry_after: Some(Duration::from_secs(1)),
                ..Failure::new(
                    Code::IdempotencyInFlight,
                    "A request with this Idempotency-Key is being processed.",
                )
            }),
        }
    }
}
