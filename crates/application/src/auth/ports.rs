//! What this module needs of the store and of cryptography beside [`crypto`](super::crypto).

use std::net::IpAddr;

use async_trait::async_trait;
use convene_domain::auth::refresh::RefreshToken;
use convene_domain::ids::{RegistrationId, SessionId, UserId};
use convene_domain::text::{DisplayName, EmailAddress};
use jiff::Timestamp;

use super::token::{OpaqueToken, TokenDigest};
use crate::kernel::secrets::CannotOpen;
use crate::kernel::store::StoreError;
use crate::kernel::uow::Tx;
use crate::user::offers::ProvisionUser;

/// The constraint that gives each address to one account.
pub const ADDRESS_TAKEN: &str = "credentials_address_key";

/// The transaction of this module. Locks are taken in the order registrations, credential, session.
#[async_trait]
pub trait AuthTx: Tx + ProvisionUser {
    /// Locks all registrations of the address that a mailed token would verify, and reads the one that it belongs to.
    ///
    /// # Errors
    /// The store's.
    async fn lock_registration(
        &mut self,
        token: &TokenDigest,
    ) -> Result<Option<PendingRegistration>, StoreError>;

    /// Locks a person's credential and reads it with the person's sessions. No session begins while it is locked.
    ///
    /// # Errors
    /// The store's.
    async fn lock_account(&mut self, user: UserId) -> Result<Option<Account>, StoreError>;

    /// Locks the credential that a mailed token lets somebody reset. `None` if the token is unknown.
    ///
    /// # Errors
    /// The store's.
    async fn lock_reset(&mut self, token: &TokenDigest)
    -> Result<Option<PendingReset>, StoreError>;

    /// Locks the session that a refresh token belongs to and reads both. `None` if the token is unknown or its session
    /// over.
    ///
    /// # Errors
    /// The store's.
    async fn lock_refresh_token(
        &mut self,
        token: &TokenDigest,
    ) -> Result<Option<PresentedToken>, StoreError>;

    /// Stages a registration.
    fn insert_registration(&mut self, registration: NewRegistration);

    /// Stages the end of all registrations of an address, and of the tokens mailed for them.
    fn discard_registrations(&mut self, address: &str);

    /// Stages a mailed token. It is not stored if its subject is gone by then.
    fn insert_mailed_token(&mut self, token: NewMailedToken);

    /// Stages a credential. An address that has one surfaces from commit, as a violation of [`ADDRESS_TAKEN`].
    fn insert_credential(&mut self, credential: Credential, account: AccountKey);

    /// Stages that a person administers the platform. One who does already keeps the first grant.
    fn grant_platform_admin(&mut self, grant: AdminGrant);

    /// Stages another password hash.
    fn set_password_hash(&mut self, user: UserId, password_hash: String);

    /// Stages the end of all tokens that let somebody reset this person's password.
    fn discard_reset_tokens(&mut self, user: UserId);

    /// Stages that the failed logins of an account are forgotten.
    fn forget_attempts(&mut self, account: AccountKey);

    /// Stages a session.
    fn insert_session(&mut self, session: NewSession);

    /// Stages that a session was used and how long it lasts now.
    fn prolong_session(&mut self, session: SessionId, used_at: Timestamp, expires_at: Timestamp);

    /// Stages the end of sessions, and that all processes learn of it.
    fn end_sessions(&mut self, sessions: &[SessionId]);

    /// Stages a refresh token.
    fn insert_refresh_token(&mut self, token: NewRefreshToken);

    /// Stages that a refresh token is spent, and that its successor is kept for a repeated request, sealed under the token.
    /// What was kept for a repetition with the token's own predecessor is erased.
    fn spend_refresh_token(
        &mut self,
        token: &TokenDigest,
        at: Timestamp,
        sealed_successor: Vec<u8>,
    );
}

/// Reads that need no transaction.
#[async_trait]
pub trait AuthReads: Send + Sync {
    /// The credential of an address in its normalised form.
    ///
    /// # Errors
    /// The store's.
    async fn credential(&self, address: &str) -> Result<Option<Credential>, StoreError>;

    /// A mailed token that is not spent, be it expired or not.
    ///
    /// # Errors
    /// The store's.
    async fn mailed_token(&self, token: &TokenDigest) -> Result<Option<MailedToken>, StoreError>;

    /// Registrations of a normalised address that have not expired by `now`, newest first.
    ///
    /// # Errors
    /// The store's.
    async fn pending_registrations(
        &self,
        address: &str,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<RegistrationId>, StoreError>;
}

/// Knows who administers the platform.
#[async_trait]
pub trait PlatformAdmins: Send + Sync {
    /// Whether this person may act across communities.
    ///
    /// # Errors
    /// The store's.
    async fn is_platform_admin(&self, user: UserId) -> Result<bool, StoreError>;
}

/// Counts consecutive logins that did not succeed, by account, whether the account exists or not.
#[async_trait]
pub trait LoginAttempts: Send + Sync {
    /// Counts one attempt, as a failed one until [`AuthTx::forget_attempts`] says otherwise. Returns how many there are
    /// now.
    ///
    /// # Errors
    /// The store's.
    async fn count(&self, account: &AccountKey, now: Timestamp) -> Result<u32, StoreError>;

    /// Takes one attempt back.
    ///
    /// # Errors
    /// The store's.
    async fn take_back(&self, account: &AccountKey) -> Result<(), StoreError>;
}

/// What was revoked lately, for all processes to learn.
#[async_trait]
pub trait Revocations: Send + Sync {
    /// Sessions revoked at or after `since`, in the store's time, or in the last 20 minutes.
    ///
    /// # Errors
    /// The store's.
    async fn since(&self, since: Option<Timestamp>) -> Result<Revoked, StoreError>;

    /// Whether this session was revoked in the last 20 minutes, which is longer than an access token lives.
    ///
    /// # Errors
    /// The store's.
    async fn is_revoked(&self, session: SessionId) -> Result<bool, StoreError>;
}

/// An excerpt of the revocations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// The sessions, in any order.
    pub sessions: Vec<SessionId>,
    /// The store's time when it looked.
    pub as_of: Timestamp,
}

/// Removes what has outlived its time.
#[async_trait]
pub trait Sweep: Send + Sync {
    /// Deletes expired registrations, tokens and sessions, old revocations, and failed logins of accounts that do not
    /// exist: at most `limit` rows of each. Returns whether a limit was reached, so there may be more.
    ///
    /// # Errors
    /// The store's.
    async fn sweep(&self, now: Timestamp, limit: i64) -> Result<bool, StoreError>;
}

/// Seals the successor of a refresh token so that only who holds the token can open it: what is stored tells a reader of
/// the database nothing.
pub trait SuccessorSealer: Send + Sync {
    /// Encrypts the successor under a key derived from the presented token.
    fn seal(&self, presented: &OpaqueToken, successor: &OpaqueToken) -> Vec<u8>;

    /// Decrypts.
    ///
    /// # Errors
    /// [`CannotOpen`] for altered bytes or another token.
    fn open(&self, presented: &OpaqueToken, sealed: &[u8]) -> Result<OpaqueToken, CannotOpen>;
}

/// The key under which attempts against an account are counted: a keyed digest of the normalised address, so that the
/// counters tell nobody which addresses were tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountKey(pub [u8; 32]);

impl std::fmt::Display for AccountKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// How a person logs in.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// Who.
    pub user: UserId,
    /// The address in its normalised form.
    pub address: String,
    /// The hash of the password (PHC format).
    pub password_hash: String,
}

/// That a person administers the platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminGrant {
    /// Who.
    pub user: UserId,
    /// By whom; none for the operator's command.
    pub granted_by: Option<UserId>,
    /// Why, in the words of whoever granted it.
    pub reason: String,
    /// Now.
    pub at: Timestamp,
}

/// A credential under lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The credential.
    pub credential: Credential,
    /// The person's sessions, newest first.
    pub sessions: Vec<SessionId>,
}

/// A registration to be stored.
#[derive(Clone, PartialEq, Eq)]
pub struct NewRegistration {
    /// Its id.
    pub id: RegistrationId,
    /// The address as it was written.
    pub email: EmailAddress,
    /// How the person wants to be called.
    pub display_name: DisplayName,
    /// The hash of the password (PHC format).
    pub password_hash: String,
    /// Now.
    pub created_at: Timestamp,
    /// When it ends if nobody verifies it.
    pub expires_at: Timestamp,
}

/// A registration under lock, with the token that verifies it.
#[derive(Clone, PartialEq, Eq)]
pub struct PendingRegistration {
    /// Its id.
    pub id: RegistrationId,
    /// The address as it was written.
    pub email: EmailAddress,
    /// How the person wants to be called.
    pub display_name: DisplayName,
    /// The hash of the password (PHC format).
    pub password_hash: String,
    /// When the token ends.
    pub token_expires_at: Timestamp,
}

/// A credential under lock, with the token that lets somebody reset its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingReset {
    /// The account.
    pub account: Account,
    /// When the token ends.
    pub token_expires_at: Timestamp,
}

/// What a mailed token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFor {
    /// Verifies the address of a registration.
    Registration(RegistrationId),
    /// Resets a password.
    Account(UserId),
}

/// A mailed token to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewMailedToken {
    /// Its digest.
    pub digest: TokenDigest,
    /// What it is for.
    pub subject: TokenFor,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A mailed token, with whom it is mailed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailedToken {
    /// When it ends.
    pub expires_at: Timestamp,
    /// Whom it is mailed to.
    pub recipient: Recipient,
}

/// Whom a token is mailed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// Somebody who registered.
    Registrant {
        /// The address as it was written.
        email: EmailAddress,
        /// How the person wants to be called.
        display_name: DisplayName,
        /// Whether the address has an account already.
        address_taken: bool,
    },
    /// Somebody with an account.
    Holder {
        /// Who.
        user: UserId,
        /// The address in its normalised form.
        address: String,
    },
}

/// A session to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// When the person logged in: now.
    pub created_at: Timestamp,
    /// When it ends if it is not used.
    pub expires_at: Timestamp,
    /// From where.
    pub client_ip: Option<IpAddr>,
    /// With what.
    pub user_agent: Option<String>,
}

/// A refresh token to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewRefreshToken {
    /// Its digest.
    pub digest: TokenDigest,
    /// The session that it keeps alive.
    pub session: SessionId,
    /// The token that it was exchanged for; none for the first of a session.
    pub predecessor: Option<TokenDigest>,
    /// When it ends if nobody presents it.
    pub expires_at: Timestamp,
}

/// A refresh token that somebody presented, its session under lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentedToken {
    /// The session.
    pub session: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// When the person logged in.
    pub logged_in_at: Timestamp,
    /// When the session ends, which is when its newest token does.
    pub session_expires_at: Timestamp,
    /// What decides about the token.
    pub token: RefreshToken,
    /// Its successor, sealed under the token, until the successor is used.
    pub sealed_successor: Option<Vec<u8>>,
}

macro_rules! debug_without_secrets {
    ($($type:ident { $($field:ident),+ })+) => {$(
        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($type))$(.field(stringify!($field), &self.$field))+.finish_non_exhaustive()
            }
        }
    )+};
}

debug_without_secrets! {
    Credential { user }
    NewRegistration { id, created_at, expires_at }
    PendingRegistration { id, token_expires_at }
}
