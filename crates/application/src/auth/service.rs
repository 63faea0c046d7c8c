//! What the use cases of this module share.

use std::sync::Arc;
use std::time::Duration;

use convene_domain::auth::password::Password;
use convene_domain::ids::{SessionId, UserId};
use convene_domain::text::EmailAddress;
use jiff::Timestamp;
use secrecy::SecretString;

use super::crypto::{AccessClaims, AccessTokens, PasswordError, PasswordHasher};
use super::guessing::{Guard, GuessingLimits};
use super::ports::{
    AccountKey, AuthReads, AuthTx, LoginAttempts, NewMailedToken, SuccessorSealer, TokenFor,
};
use super::revocations::RevocationFeed;
use super::token::OpaqueToken;
use crate::kernel::context::{Actor, RequestContext};
use crate::kernel::env::Env;
use crate::kernel::error::{Code, Failure};
use crate::kernel::limits::Limiter;
use crate::kernel::secrets::{Digester, Sealer};
use crate::kernel::uow::Uow;

/// What the digests of addresses are made for.
pub(super) const ACCOUNT_PURPOSE: &str = "auth.account";

/// The use cases of accounts and logins. Cheap to clone.
#[derive(Clone)]
pub struct AuthService(pub(super) Arc<Inner>);

/// What [`AuthService`] is built over.
pub struct AuthDeps {
    /// Time and chance.
    pub env: Env,
    /// Units of work.
    pub uow: Uow<dyn AuthTx>,
    /// Reads.
    pub reads: Arc<dyn AuthReads>,
    /// Counts failed logins.
    pub attempts: Arc<dyn LoginAttempts>,
    /// Counts attempts by key.
    pub limiter: Arc<dyn Limiter>,
    /// Hashes passwords.
    pub passwords: Arc<dyn PasswordHasher>,
    /// Signs access tokens.
    pub access_tokens: Arc<dyn AccessTokens>,
    /// Keeps the successor of a spent refresh token.
    pub successors: Arc<dyn SuccessorSealer>,
    /// Seals what jobs carry.
    pub sealer: Arc<dyn Sealer>,
    /// Makes digests.
    pub digester: Arc<dyn Digester>,
    /// What this process revokes is felt in it at once.
    pub revocations: Arc<RevocationFeed>,
    /// Lifetimes and limits.
    pub options: AuthOptions,
}

/// Lifetimes and limits of accounts and logins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthOptions {
    /// How long an access token is valid, in whole seconds; at most
    /// [`MAX_ACCESS_TOKEN_SECONDS`](super::crypto::MAX_ACCESS_TOKEN_SECONDS).
    pub access_token_lifetime: Duration,
    /// How long a session lasts without being used.
    pub refresh_token_lifetime: Duration,
    /// For how long a spent refresh token still gets its successor again.
    pub refresh_grace: Duration,
    /// How long a mailed token is valid; at most an hour.
    pub mailed_token_lifetime: Duration,
    /// How long a registration waits to be verified.
    pub registration_lifetime: Duration,
    /// Limits on guessing; none switches them off.
    pub guessing: Option<GuessingLimits>,
}

impl Default for AuthOptions {
    fn default() -> Self {
        Self {
            access_token_lifetime: Duration::from_mins(10),
            refresh_token_lifetime: Duration::from_hours(30 * 24),
            refresh_grace: Duration::from_secs(30),
            mailed_token_lifetime: Duration::from_hours(1),
            registration_lifetime: Duration::from_hours(24),
            guessing: Some(GuessingLimits::default()),
        }
    }
}

/// What a login and a refresh answer.
#[derive(Debug)]
pub struct Tokens {
    /// The access token, to be sent as a bearer token.
    pub access_token: SecretString,
    /// Seconds until the access token expires.
    pub expires_in: u64,
    /// The refresh token, good once.
    pub refresh_token: SecretString,
    /// Seconds until the refresh token expires.
    pub refresh_expires_in: u64,
}

pub(super) struct Inner {
    pub(super) env: Env,
    pub(super) uow: Uow<dyn AuthTx>,
    pub(super) reads: Arc<dyn AuthReads>,
    pub(super) guard: Guard,
    pub(super) passwords: Arc<dyn PasswordHasher>,
    access_tokens: Arc<dyn AccessTokens>,
    pub(super) successors: Arc<dyn SuccessorSealer>,
    pub(super) sealer: Arc<dyn Sealer>,
    pub(super) digester: Arc<dyn Digester>,
    pub(super) revocations: Arc<RevocationFeed>,
    pub(super) options: AuthOptions,
}

impl AuthService {
    /// The service over its ports.
    #[must_use]
    pub fn new(deps: AuthDeps) -> Self {
        let guard =
            Guard { limiter: deps.limiter, attempts: deps.attempts, limits: deps.options.guessing };
        Self(Arc::new(Inner {
            env: deps.env,
            uow: deps.uow,
            reads: deps.reads,
            guard,
            passwords: deps.passwords,
            access_tokens: deps.access_tokens,
            successors: deps.successors,
            sealer: deps.sealer,
            digester: deps.digester,
            revocations: deps.revocations,
            options: deps.options,
        }))
    }
}

impl Inner {
    pub(super) fn account_key(&self, email: &EmailAddress) -> AccountKey {
        self.account_key_of(&email.normalized())
    }

    pub(super) fn account_key_of(&self, address: &str) -> AccountKey {
        AccountKey(self.digester.mac(ACCOUNT_PURPOSE, address.as_bytes()))
    }

    /// Hashes a password outside any transaction.
    pub(super) async fn hash(&self, password: Password) -> Result<String, Failure> {
        let password = SecretString::from(password.into_string());
        self.passwords.hash(password).await.map_err(password_failure)
    }

    /// A new token to be mailed, and the row that recognises it.
    pub(super) fn mailed_token(
        &self,
        subject: TokenFor,
        now: Timestamp,
    ) -> (OpaqueToken, NewMailedToken) {
        let token = OpaqueToken::generate(&*self.env.random);
        let row = NewMailedToken {
            digest: token.digest(&*self.digester),
            subject,
            expires_at: now + self.options.mailed_token_lifetime,
        };
        (token, row)
    }

    /// The answer that lets a person go on with a session.
    pub(super) fn tokens(
        &self,
        login: LoggedIn,
        refresh_token: &OpaqueToken,
        refresh_expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Tokens, Failure> {
        let claims = AccessClaims {
            user: login.user,
            session: login.session,
            issued_at: now,
            expires_at: now + self.options.access_token_lifetime,
            auth_time: login.at,
            token_id: self.env.random.uuid(now),
        };
        Ok(Tokens {
            access_token: self.access_tokens.issue(&claims).map_err(Failure::internal)?.into(),
            expires_in: self.options.access_token_lifetime.as_secs(),
            refresh_token: refresh_token.reveal(),
            refresh_expires_in: refresh_expires_at.duration_since(now).as_secs().unsigned_abs(),
        })
    }
}

/// Whose session it is and since when.
#[derive(Clone, Copy)]
pub(super) struct LoggedIn {
    pub(super) user: UserId,
    pub(super) session: SessionId,
    pub(super) at: Timestamp,
}

pub(super) fn password_failure(error: PasswordError) -> Failure {
    match error {
        PasswordError::Busy => Failure::overloaded(Duration::from_secs(1)),
        PasswordError::Other(_) => Failure::internal(error),
    }
}

pub(super) fn invalid_token() -> Failure {
    Failure::new(Code::InvalidToken, "The token is unknown, expired or spent.")
}

/// The same request, now that it is known who sent it.
pub(super) fn on_behalf_of(
    context: &RequestContext,
    user: UserId,
    session: Option<SessionId>,
) -> RequestContext {
    RequestContext { actor: Actor::User(user), session, ..context.clone() }
}
