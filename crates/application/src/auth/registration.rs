//! Registering, and verifying the address that was registered.
//!
//! Each registration waits on its own row with its own password. Verifying activates the one that the token was mailed
//! for and discards the others of its address, so nobody can plant a password in somebody else's account.

use convene_contracts::user::UserRegistered;
use convene_domain::auth::password::Password;
use convene_domain::ids::{RegistrationId, UserId};
use convene_domain::text::{DisplayName, EmailAddress};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::guessing::MailRequest;
use super::jobs::{MailToken, ResendVerification};
use super::ports::{ADDRESS_TAKEN, AuthTx, Credential, NewRegistration, TokenFor};
use super::service::{AuthService, Inner, invalid_token, on_behalf_of};
use super::token::OpaqueToken;
use crate::kernel::context::RequestContext;
use crate::kernel::error::Failure;
use crate::kernel::events::public;
use crate::kernel::jobs::NewJob;
use crate::user::offers::NewUser;

/// What somebody registers with.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The address, to be verified.
    pub email: EmailAddress,
    /// The password that was chosen.
    pub password: Password,
    /// How the person wants to be called.
    pub display_name: DisplayName,
}

impl AuthService {
    /// Registers an address. Whether it has an account already is said in mail alone: both cases do the same here.
    ///
    /// # Errors
    /// `rate_limited`, `overloaded`.
    pub async fn register(
        &self,
        context: &RequestContext,
        registration: Registration,
    ) -> Result<(), Failure> {
        let auth = &*self.0;
        let account = auth.account_key(&registration.email);
        auth.guard.admit_mail(MailRequest::Registration, &account).await?;
        let password_hash = auth.hash(registration.password).await?;

        let now = auth.env.now();
        let id: RegistrationId = auth.env.id(now);
        let (token, row) = auth.mailed_token(TokenFor::Registration(id), now);
        let mut tx = auth.uow.begin(Vec::new()).await?;
        tx.insert_registration(NewRegistration {
            id,
            email: registration.email,
            display_name: registration.display_name,
            password_hash,
            created_at: now,
            expires_at: now + auth.options.registration_lifetime,
        });
        tx.insert_mailed_token(row);
        let mail = MailToken::new(&*auth.sealer, &token);
        tx.staged().jobs.push(NewJob::new(&mail).caused_by(context));
        tx.staged().audit(context, None, "auth.register", id, json!({}));
        Ok(tx.commit().await?)
    }

    /// Makes the account of the registration that the token was mailed for.
    ///
    /// # Errors
    /// `invalid_token`.
    pub async fn verify_email(
        &self,
        context: &RequestContext,
        token: &SecretString,
    ) -> Result<(), Failure> {
        let auth = &*self.0;
        let token = OpaqueToken::parse(token.expose_secret()).ok_or_else(invalid_token)?;
        let now = auth.env.now();
        let mut tx = auth.uow.begin(Vec::new()).await?;
        let registration = tx
            .lock_registration(&token.digest(&*auth.digester))
            .await?
            .filter(|registration| now < registration.token_expires_at)
            .ok_or_else(invalid_token)?;

        let person = auth.newcomer(registration.email, registration.display_name, now);
        let user = person.id;
        let context = on_behalf_of(context, user, None);
        auth.open_account(&mut *tx, &context, person, registration.password_hash);
        tx.staged().audit(&context, None, "auth.verify_email", user, json!({}));
        tx.commit().await.map_err(|error| {
            // Another registration of the address was verified before this one was made.
            if error.violates(ADDRESS_TAKEN) { invalid_token() } else { error.into() }
        })
    }

    /// Makes an account at once. Whoever calls vouches for the address: an operator, never a stranger.
    ///
    /// # Errors
    /// `overloaded`; an address that has an account is an internal failure.
    pub async fn open_account(
        &self,
        context: &RequestContext,
        account: Registration,
    ) -> Result<UserId, Failure> {
        let auth = &*self.0;
        let password_hash = auth.hash(account.password).await?;
        let now = auth.env.now();
        let person = auth.newcomer(account.email, account.display_name, now);
        let user = person.id;
        let mut tx = auth.uow.begin(Vec::new()).await?;
        auth.open_account(&mut *tx, context, person, password_hash);
        tx.staged().audit(context, None, "auth.open_account", user, json!({}));
        tx.commit().await?;
        Ok(user)
    }

    /// Has the mail that verifies an address sent again, if the address waits for it.
    ///
    /// # Errors
    /// `rate_limited`.
    pub async fn resend_verification(
        &self,
        context: &RequestContext,
        email: EmailAddress,
    ) -> Result<(), Failure> {
        let auth = &*self.0;
        let account = auth.account_key(&email);
        auth.guard.admit_mail(MailRequest::Verification, &account).await?;
        let resend = ResendVerification::new(&*auth.sealer, &email);
        let job = NewJob::new(&resend).caused_by(context);
        auth.stage_job(context, "auth.resend_verification", account, job).await
    }
}

impl Inner {
    /// Somebody who comes to be a user now, under an id of their own.
    pub(super) fn newcomer(
        &self,
        email: EmailAddress,
        display_name: DisplayName,
        now: Timestamp,
    ) -> NewUser {
        NewUser { id: self.env.id(now), email, display_name, created_at: now }
    }

    /// Stages an account whose address is known to be the person's, and that it has come to be.
    pub(super) fn open_account(
        &self,
        tx: &mut dyn AuthTx,
        context: &RequestContext,
        person: NewUser,
        password_hash: String,
    ) {
        let (user, now) = (person.id, person.created_at);
        let address = person.email.normalized();
        let account = self.account_key_of(&address);
        tx.discard_registrations(&address);
        tx.insert_credential(Credential { user, address, password_hash }, account);
        // Whoever guessed before there was an account has not guessed its password.
        tx.forget_attempts(account);
        tx.provision_user(person);
        let registered = UserRegistered { user_id: public(user) };
        let event = self.env.recorder(context, now, None).event(user, 1, registered);
        tx.staged().events.push(event);
    }
}
