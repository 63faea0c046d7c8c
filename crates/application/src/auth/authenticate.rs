//! Telling who asks: what the HTTP layer needs of auth on every request.

use async_trait::async_trait;

use crate::kernel::context::Principal;
use crate::kernel::error::Failure;

/// Turns credentials into a principal.
#[async_trait]
pub trait Authenticate: Send + Sync {
    /// Checks the access token of an `Authorization: Bearer` header: signature, claims, expiry and revocation.
    ///
    /// # Errors
    /// 401 `token_expired` for a good token past its time, 401 `unauthenticated` for any other that is not valid, 503
    /// `unavailable` if it cannot be told.
    async fn authenticate(&self, bearer: &str) -> Result<Principal, Failure>;
}

/// Tells the public keys that access tokens are verified with.
#[async_trait]
pub trait PublicKeys: Send + Sync {
    /// The JSON Web Key Set (RFC 7517), keys that are being retired included.
    ///
    /// # Errors
    /// 503 if the keys cannot be read.
    async fn jwks(&self) -> Result<serde_json::Value, Failure>;
}
