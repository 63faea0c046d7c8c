//! The jobs of this module: mail, what precedes it, and the sweep of what has expired.
//!
//! Payloads lie in the database and in dead letters, so tokens and addresses are sealed in them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use convene_domain::ids::{SessionId, UserId};
use convene_domain::text::EmailAddress;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use super::ports::{MailedToken, Recipient, Sweep, TokenFor};
use super::service::{AuthService, Inner};
use super::token::OpaqueToken;
use crate::kernel::error::Failure;
use crate::kernel::jobs::{Duty, Handler, Job, LeasedJob, NewJob, Outcome, RunJob, handler};
use crate::kernel::mail::{MailError, Mailer, Message};
use crate::kernel::secrets::{CannotOpen, Sealer};
use crate::user::offers::Directory;

/// What mailed tokens are sealed for.
const TOKEN: &str = "auth.mailed-token";
/// What addresses are sealed for.
const ADDRESS: &str = "auth.address";
/// Of an address that was registered several times, how many registrations get their mail again: Convene cannot tell
/// which of them is its holder's, so it does not choose, and it does not flood the holder either.
const RESENT: i64 = 3;
/// The most rows that one statement of the sweep deletes.
const SWEPT_AT_ONCE: i64 = 1_000;
/// How often one run of the sweep goes over the tables.
const SWEEPS_PER_RUN: usize = 20;

/// Mails a token to whom it is for. Of somebody who registered an address that has an account, it mails that instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailToken {
    sealed_token: String,
}

/// Mails new tokens for the registrations of an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResendVerification {
    sealed_address: String,
}

/// Mails a token that resets the password of the account with an address, if there is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartPasswordReset {
    sealed_address: String,
}

/// Tells a person that a session was ended because its refresh token was used twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailSessionRevoked {
    /// The session.
    #[serde(with = "crate::kernel::typed")]
    pub session: SessionId,
    /// Whom to tell.
    #[serde(with = "crate::kernel::typed")]
    pub user: UserId,
}

/// Deletes what has outlived its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepExpired {}

impl Job for MailToken {
    const KIND: &'static str = "auth.mail_token";
    const QUEUE: &'static str = "mail";
    const PRIORITY: i16 = 50;
}

impl Job for ResendVerification {
    const KIND: &'static str = "auth.resend_verification";
    const PRIORITY: i16 = 50;
}

impl Job for StartPasswordReset {
    const KIND: &'static str = "auth.start_password_reset";
    const PRIORITY: i16 = 50;
}

impl Job for MailSessionRevoked {
    const KIND: &'static str = "auth.mail_session_revoked";
    const QUEUE: &'static str = "mail";
}

impl Job for SweepExpired {
    const KIND: &'static str = "auth.sweep";
    const PRIORITY: i16 = 200;
}

impl MailToken {
    pub(super) fn new(sealer: &dyn Sealer, token: &OpaqueToken) -> Self {
        Self { sealed_token: STANDARD.encode(sealer.seal(TOKEN, token.as_bytes())) }
    }

    fn open(&self, sealer: &dyn Sealer) -> Result<OpaqueToken, CannotOpen> {
        let token = open(sealer, TOKEN, &self.sealed_token)?;
        Ok(OpaqueToken::from_bytes(token.try_into().map_err(|_| CannotOpen)?))
    }
}

impl ResendVerification {
    pub(super) fn new(sealer: &dyn Sealer, email: &EmailAddress) -> Self {
        Self { sealed_address: seal_address(sealer, email) }
    }
}

impl StartPasswordReset {
    pub(super) fn new(sealer: &dyn Sealer, email: &EmailAddress) -> Self {
        Self { sealed_address: seal_address(sealer, email) }
    }
}

fn seal_address(sealer: &dyn Sealer, email: &EmailAddress) -> String {
    STANDARD.encode(sealer.seal(ADDRESS, email.normalized().as_bytes()))
}

fn open_address(sealer: &dyn Sealer, sealed: &str) -> Result<String, CannotOpen> {
    String::from_utf8(open(sealer, ADDRESS, sealed)?).map_err(|_| CannotOpen)
}

fn open(sealer: &dyn Sealer, purpose: &'static str, sealed: &str) -> Result<Vec<u8>, CannotOpen> {
    sealer.open(purpose, &STANDARD.decode(sealed).map_err(|_| CannotOpen)?)
}

/// The handlers of this module's jobs.
pub fn handlers(
    service: &AuthService,
    directory: Arc<dyn Directory>,
    mailer: Arc<dyn Mailer>,
    sweep: Arc<dyn Sweep>,
) -> Vec<Arc<dyn Handler>> {
    let auth = Arc::clone(&service.0);
    let post = Arc::new(Post { auth: Arc::clone(&auth), directory, mailer });
    let clerk = Arc::new(Clerk { auth: Arc::clone(&auth) });
    vec![
        handler::<MailToken, _>(Arc::clone(&post)),
        handler::<MailSessionRevoked, _>(post),
        handler::<ResendVerification, _>(Arc::clone(&clerk)),
        handler::<StartPasswordReset, _>(clerk),
        handler::<SweepExpired, _>(Arc::new(Sweeper { auth, sweep })),
    ]
}

/// The duties of this module.
#[must_use]
pub fn duties() -> Vec<Duty> {
    let job = NewJob::new(&SweepExpired {}).unique(SweepExpired::KIND);
    vec![Duty::every(SweepExpired::KIND, Duration::from_secs(300), job)]
}

/// Writes to people.
struct Post {
    auth: Arc<Inner>,
    directory: Arc<dyn Directory>,
    mailer: Arc<dyn Mailer>,
}

#[async_trait]
impl RunJob<MailToken> for Post {
    async fn run(&self, job: MailToken, lease: &LeasedJob) -> Outcome {
        let token = match job.open(&*self.auth.sealer) {
            Ok(token) => token,
            Err(error) => return Outcome::Discard(Failure::internal(error)),
        };
        let found = match self.auth.reads.mailed_token(&token.digest(&*self.auth.digester)).await {
            Ok(found) => found,
            Err(error) => return Outcome::Retry(error.into()),
        };
        let now = self.auth.env.now();
        match found.filter(|found| now < found.expires_at) {
            Some(found) => self.mail_token(&token, found, lease).await,
            // Spent or expired while it waited: a mail with it would only mislead.
            None => Outcome::Done,
        }
    }
}

#[async_trait]
impl RunJob<MailSessionRevoked> for Post {
    async fn run(&self, job: MailSessionRevoked, _: &LeasedJob) -> Outcome {
        let id = format!("{}-revoked", job.session);
        self.tell(job.user, &id, Message::SessionRevoked).await
    }
}

impl Post {
    async fn mail_token(
        &self,
        token: &OpaqueToken,
        found: MailedToken,
        lease: &LeasedJob,
    ) -> Outcome {
        let id = format!("mailed-token-{}", lease.id);
        let token = token.reveal().expose_secret().to_owned();
        let expires_at = found.expires_at;
        match found.recipient {
            Recipient::Registrant { email, address_taken: true, .. } => {
                self.send(&id, &email, &Message::AlreadyRegistered).await
            }
            Recipient::Registrant { email, display_name, address_taken: false } => {
                let display_name = display_name.into();
                let message = Message::VerifyEmail { display_name, token, expires_at };
                self.send(&id, &email, &message).await
            }
            Recipient::Holder { user, .. } => {
                self.tell(user, &id, Message::ResetPassword { token, expires_at }).await
            }
        }
    }

    async fn tell(&self, user: UserId, id: &str, message: Message) -> Outcome {
        match self.directory.contact(user).await {
            Ok(Some(contact)) => self.send(id, &contact.email, &message).await,
            // The account is gone, and with it the person to tell.
            Ok(None) => Outcome::Done,
            Err(error) => Outcome::Retry(error.into()),
        }
    }

    async fn send(&self, id: &str, to: &EmailAddress, message: &Message) -> Outcome {
        match self.mailer.send(id, to, message).await {
            Ok(()) => Outcome::Done,
            Err(error @ MailError::Transient(_)) => Outcome::Retry(Failure::unavailable(error)),
            Err(error @ MailError::Permanent(_)) => Outcome::Discard(Failure::internal(error)),
        }
    }
}

/// Finds out, away from the request, whether there is anything to mail.
struct Clerk {
    auth: Arc<Inner>,
}

#[async_trait]
impl RunJob<ResendVerification> for Clerk {
    async fn run(&self, job: ResendVerification, lease: &LeasedJob) -> Outcome {
        settled(self.resend(&job, lease).await)
    }
}

#[async_trait]
impl RunJob<StartPasswordReset> for Clerk {
    async fn run(&self, job: StartPasswordReset, lease: &LeasedJob) -> Outcome {
        settled(self.start_reset(&job, lease).await)
    }
}

fn settled(outcome: Result<Outcome, Failure>) -> Outcome {
    outcome.unwrap_or_else(Outcome::Retry)
}

impl Clerk {
    async fn resend(
        &self,
        job: &ResendVerification,
        lease: &LeasedJob,
    ) -> Result<Outcome, Failure> {
        let address = match open_address(&*self.auth.sealer, &job.sealed_address) {
            Ok(address) => address,
            Err(error) => return Ok(Outcome::Discard(Failure::internal(error))),
        };
        let now = self.auth.env.now();
        let pending = self.auth.reads.pending_registrations(&address, now, RESENT).await?;
        let subjects = pending.into_iter().map(TokenFor::Registration).collect();
        self.issue(subjects, lease).await
    }

    async fn start_reset(
        &self,
        job: &StartPasswordReset,
        lease: &LeasedJob,
    ) -> Result<Outcome, Failure> {
        let address = match open_address(&*self.auth.sealer, &job.sealed_address) {
            Ok(address) => address,
            Err(error) => return Ok(Outcome::Discard(Failure::internal(error))),
        };
        let holder = self.auth.reads.credential(&address).await?;
        let subjects = holder.map(|holder| TokenFor::Account(holder.user)).into_iter().collect();
        self.issue(subjects, lease).await
    }

    /// Issues tokens and stages their mail, in the unit of work that completes the job.
    async fn issue(&self, subjects: Vec<TokenFor>, lease: &LeasedJob) -> Result<Outcome, Failure> {
        if subjects.is_empty() {
            return Ok(Outcome::Done);
        }
        let now = self.auth.env.now();
        let mut tx = self.auth.uow.begin(Vec::new()).await?;
        for subject in subjects {
            let (token, row) = self.auth.mailed_token(subject, now);
            tx.insert_mailed_token(row);
            let mail = MailToken::new(&*self.auth.sealer, &token);
            tx.staged().jobs.push(NewJob {
                traceparent: lease.traceparent.clone(),
                correlation_id: lease.correlation_id.clone(),
                ..NewJob::new(&mail)
            });
        }
        tx.fence(lease.fence(), true);
        tx.commit().await?;
        Ok(Outcome::Settled)
    }
}

struct Sweeper {
    auth: Arc<Inner>,
    sweep: Arc<dyn Sweep>,
}

#[async_trait]
impl RunJob<SweepExpired> for Sweeper {
    async fn run(&self, _: SweepExpired, _: &LeasedJob) -> Outcome {
        for _ in 0..SWEEPS_PER_RUN {
            match self.sweep.sweep(self.auth.env.now(), SWEPT_AT_ONCE).await {
                Ok(true) => {}
                Ok(false) => return Outcome::Done,
                Err(error) => return Outcome::Retry(error.into()),
            }
        }
        Outcome::Snooze(Duration::ZERO)
    }
}
