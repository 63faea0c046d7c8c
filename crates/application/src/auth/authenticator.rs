//! Telling who asks, by access token.

use std::sync::Arc;

use async_trait::async_trait;

use super::authenticate::{Authenticate, PublicKeys};
use super::crypto::{AccessClaims, AccessTokens, KeyringError, TokenError};
use super::revocations::RevocationFeed;
use crate::kernel::clock::Clock;
use crate::kernel::context::Principal;
use crate::kernel::error::{Code, Failure};

/// Verifies access tokens and asks the feed whether their session was revoked.
pub struct Authenticator {
    clock: Arc<dyn Clock>,
    tokens: Arc<dyn AccessTokens>,
    revocations: Arc<RevocationFeed>,
}

impl Authenticator {
    /// An authenticator over its ports.
    #[must_use]
    pub fn new(
        clock: Arc<dyn Clock>,
        tokens: Arc<dyn AccessTokens>,
        revocations: Arc<RevocationFeed>,
    ) -> Self {
        Self { clock, tokens, revocations }
    }

    async fn claims(&self, bearer: &str) -> Result<AccessClaims, Failure> {
        let now = self.clock.now();
        let mut verified = self.tokens.verify(bearer, now);
        // Another process may have made the key since this one loaded its own.
        if verified == Err(TokenError::UnknownKey) && self.load_keys_again().await? {
            verified = self.tokens.verify(bearer, now);
        }
        verified.map_err(refused)
    }

    async fn load_keys_again(&self) -> Result<bool, Failure> {
        self.tokens.refresh_if_unknown(self.clock.now()).await.map_err(|error| match error {
            KeyringError::Store(error) => error.into(),
            error => Failure::internal(error),
        })
    }
}

#[async_trait]
impl Authenticate for Authenticator {
    async fn authenticate(&self, bearer: &str) -> Result<Principal, Failure> {
        let claims = self.claims(bearer).await?;
        if self.revocations.is_revoked(claims.session).await? {
            return Err(Failure::unauthenticated());
        }
        Ok(Principal { user: claims.user, session: claims.session })
    }
}

#[async_trait]
impl PublicKeys for Authenticator {
    async fn jwks(&self) -> Result<serde_json::Value, Failure> {
        Ok(self.tokens.jwks())
    }
}

fn refused(error: TokenError) -> Failure {
    match error {
        TokenError::Expired => Failure::new(Code::TokenExpired, "The access token has expired."),
        TokenError::Invalid | TokenError::UnknownKey => Failure::unauthenticated(),
        TokenError::NoSigningKey => Failure::internal(error),
    }
}
