//! Keeping a session alive: each refresh token is exchanged once for the next.

use convene_domain::auth::refresh::Presentation;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::jobs::MailSessionRevoked;
use super::ports::{AuthTx, NewRefreshToken, PresentedToken};
use super::service::{AuthService, Inner, LoggedIn, Tokens, on_behalf_of};
use super::token::OpaqueToken;
use crate::kernel::context::RequestContext;
use crate::kernel::error::{Code, Failure};
use crate::kernel::jobs::NewJob;

impl AuthService {
    /// Exchanges a refresh token for its successor and a new access token. A token that was exchanged less than 30 s ago
    /// gets the same successor again, until somebody uses the successor; after that the token is in two hands, and the
    /// session ends.
    ///
    /// # Errors
    /// `invalid_refresh_token`.
    pub async fn refresh(
        &self,
        context: &RequestContext,
        token: &SecretString,
    ) -> Result<Tokens, Failure> {
        let auth = &*self.0;
        let token = OpaqueToken::parse(token.expose_secret()).ok_or_else(invalid_refresh_token)?;
        let mut tx = auth.uow.begin(Vec::new()).await?;
        let presented = tx
            .lock_refresh_token(&token.digest(&*auth.digester))
            .await?
            .ok_or_else(invalid_refresh_token)?;
        // Read behind the lock: whoever waited for it decides by the time at which its turn came.
        match presented.token.presented(auth.env.now(), auth.options.refresh_grace) {
            Presentation::First => auth.rotate(tx, context, &token, &presented).await,
            Presentation::Repeated => auth.repeat(tx, &token, &presented).await,
            Presentation::Reused => Err(auth.end_stolen_session(tx, context, &presented).await),
            Presentation::Expired => Err(invalid_refresh_token()),
        }
    }
}

impl Inner {
    async fn rotate(
        &self,
        mut tx: Box<dyn AuthTx>,
        context: &RequestContext,
        token: &OpaqueToken,
        presented: &PresentedToken,
    ) -> Result<Tokens, Failure> {
        let now = self.env.now();
        let successor = OpaqueToken::generate(&*self.env.random);
        let expires_at = now + self.options.refresh_token_lifetime;
        let digest = token.digest(&*self.digester);
        tx.spend_refresh_token(&digest, now, self.successors.seal(token, &successor));
        tx.insert_refresh_token(NewRefreshToken {
            digest: successor.digest(&*self.digester),
            session: presented.session,
            predecessor: Some(digest),
            expires_at,
        });
        tx.prolong_session(presented.session, now, expires_at);
        let context = on_behalf_of(context, presented.user, Some(presented.session));
        tx.staged().audit(&context, None, "auth.refresh", presented.session, json!({}));
        let tokens = self.tokens(presented.login(), &successor, expires_at, now)?;
        tx.commit().await?;
        Ok(tokens)
    }

    async fn repeat(
        &self,
        tx: Box<dyn AuthTx>,
        token: &OpaqueToken,
        presented: &PresentedToken,
    ) -> Result<Tokens, Failure> {
        let sealed = presented.sealed_successor.as_deref().unwrap_or_default();
        let successor = self.successors.open(token, sealed).map_err(Failure::internal)?;
        let now = self.env.now();
        // Nobody has used the successor, so it is the session's newest token and both end together.
        let expires_at = presented.session_expires_at;
        let tokens = self.tokens(presented.login(), &successor, expires_at, now)?;
        tx.commit().await?;
        Ok(tokens)
    }

    /// Ends a session whose token is in two hands, and tells its owner. The answer is the same as for any bad token.
    async fn end_stolen_session(
        &self,
        mut tx: Box<dyn AuthTx>,
        context: &RequestContext,
        presented: &PresentedToken,
    ) -> Failure {
        let PresentedToken { session, user, .. } = *presented;
        let context = on_behalf_of(context, user, Some(session));
        tx.end_sessions(&[session]);
        tx.staged().audit(&context, None, "auth.refresh_token_reused", session, json!({}));
        let mail = MailSessionRevoked { session, user };
        tx.staged().jobs.push(NewJob::new(&mail).caused_by(&context));
        if let Err(error) = tx.commit().await {
            return error.into();
        }
        self.revocations.revoked_here(&[session]);
        metrics::counter!("convene_auth_refresh_token_reuse_total").increment(1);
        invalid_refresh_token()
    }
}

impl PresentedToken {
    fn login(&self) -> LoggedIn {
        LoggedIn { user: self.user, session: self.session, at: self.logged_in_at }
    }
}

fn invalid_refresh_token() -> Failure {
    Failure::new(
        Code::InvalidRefreshToken,
        "The refresh token is unknown, expired, spent or revoked. Log in again.",
    )
}
