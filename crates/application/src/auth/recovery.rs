//! Getting back into an account whose password is lost.

use convene_domain::auth::password::Password;
use convene_domain::text::EmailAddress;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::guessing::MailRequest;
use super::jobs::StartPasswordReset;
use super::ports::{AccountKey, Recipient};
use super::service::{AuthService, Inner, invalid_token, on_behalf_of};
use super::token::{OpaqueToken, TokenDigest};
use crate::kernel::context::RequestContext;
use crate::kernel::error::{Failure, FieldError};
use crate::kernel::jobs::NewJob;

/// A new password, with the right to set it.
#[derive(Clone, Debug)]
pub struct Reset {
    /// The mailed token.
    pub token: SecretString,
    /// The password that was chosen.
    pub password: Password,
}

impl AuthService {
    /// Has a token mailed that lets the holder of an address choose a new password, if the address has an account.
    ///
    /// # Errors
    /// `rate_limited`.
    pub async fn forgot_password(
        &self,
        context: &RequestContext,
        email: EmailAddress,
    ) -> Result<(), Failure> {
        let auth = &*self.0;
        let account = auth.account_key(&email);
        auth.guard.admit_mail(MailRequest::Reset, &account).await?;
        let start = StartPasswordReset::new(&*auth.sealer, &email);
        let job = NewJob::new(&start).caused_by(context);
        auth.stage_job(context, "auth.forgot_password", account, job).await
    }

    /// Sets a new password, ends all sessions and unlocks the account.
    ///
    /// # Errors
    /// `invalid_token`, `validation_failed` for a password that is too close to the address, `overloaded`.
    pub async fn reset_password(
        &self,
        context: &RequestContext,
        reset: Reset,
    ) -> Result<(), Failure> {
        let auth = &*self.0;
        let token = OpaqueToken::parse(reset.token.expose_secret()).ok_or_else(invalid_token)?;
        let token = token.digest(&*auth.digester);
        // Looked up before hashing: a made-up token must not cost as much as a real one.
        let address = auth.address_to_reset(&token).await?.ok_or_else(invalid_token)?;
        check_against_address(&reset.password, &address)?;
        let password_hash = auth.hash(reset.password).await?;

        let mut tx = auth.uow.begin(Vec::new()).await?;
        let now = auth.env.now();
        let account = tx
            .lock_reset(&token)
            .await?
            .filter(|reset| now < reset.token_expires_at)
            .ok_or_else(invalid_token)?
            .account;
        let user = account.credential.user;
        tx.set_password_hash(user, password_hash);
        tx.discard_reset_tokens(user);
        tx.forget_attempts(auth.account_key_of(&account.credential.address));
        tx.end_sessions(&account.sessions);
        let context = on_behalf_of(context, user, None);
        tx.staged().audit(&context, None, "auth.reset_password", user, json!({}));
        tx.commit().await?;
        auth.revocations.revoked_here(&account.sessions);
        Ok(())
    }
}

impl Inner {
    async fn address_to_reset(&self, token: &TokenDigest) -> Result<Option<String>, Failure> {
        let now = self.env.now();
        Ok(match self.reads.mailed_token(token).await? {
            Some(found) if now < found.expires_at => match found.recipient {
                Recipient::Holder { address, .. } => Some(address),
                Recipient::Registrant { .. } => None,
            },
            _ => None,
        })
    }

    /// Stores one job and its audit entry, and nothing else: what a request comes to that must not tell whether it had an
    /// effect.
    pub(super) async fn stage_job(
        &self,
        context: &RequestContext,
        action: &'static str,
        account: AccountKey,
        job: NewJob,
    ) -> Result<(), Failure> {
        let mut tx = self.uow.begin(Vec::new()).await?;
        tx.staged().jobs.push(job);
        tx.staged().audit_named(context, None, action, format!("account:{account}"), json!({}));
        Ok(tx.commit().await?)
    }
}

/// Only now is it known whose password it will be.
fn check_against_address(password: &Password, address: &str) -> Result<(), Failure> {
    let address = EmailAddress::new(address).map_err(Failure::internal)?;
    Password::check(password.as_str(), Some(&address)).map_err(|error| {
        Failure::invalid(vec![FieldError::field("password", error.code(), error.to_string())])
    })
}
