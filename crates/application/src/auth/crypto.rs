//! The cryptography that accounts need: password hashes, access tokens and the keys that sign them.

use async_trait::async_trait;
use convene_domain::ids::{SessionId, UserId};
use jiff::Timestamp;
use secrecy::SecretString;
use uuid::Uuid;

use crate::kernel::store::{Source, StoreError};

/// The longest that an access token may be valid, in seconds.
pub const MAX_ACCESS_TOKEN_SECONDS: i64 = 15 * 60;

/// How long a new signing key is shown before it signs: longer than others may keep the key set (5 min) and processes take
/// to notice (1 min), so that nobody meets a token of a key that they do not know.
pub const ANNOUNCED_SECONDS: i64 = 10 * 60;

/// Hashes and verifies passwords, which the domain's policy has normalised and bounded before.
///
/// Hashing is slow on purpose and runs on a bounded pool: a full pool is [`PasswordError::Busy`], never a weaker hash.
#[async_trait]
pub trait PasswordHasher: Send + Sync {
    /// Hashes a password with the current parameters; the result names algorithm, parameters and salt (PHC format).
    ///
    /// # Errors
    /// [`PasswordError::Busy`] when too many wait already.
    async fn hash(&self, password: SecretString) -> Result<String, PasswordError>;

    /// Compares a password with a stored hash. Without a hash, for an account that does not exist, it compares with a
    /// dummy of the current parameters: that takes as long and never matches.
    ///
    /// # Errors
    /// [`PasswordError::Busy`] when too many wait already, [`PasswordError::Other`] for a stored hash that is none.
    async fn verify(
        &self,
        password: SecretString,
        hash: Option<String>,
    ) -> Result<Verdict, PasswordError>;
}

/// What comparing a password with a hash came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is the password.
    pub matches: bool,
    /// Whether it is, and the hash was made with weaker parameters than are current, so it should be replaced.
    pub outdated: bool,
}

/// Why a password could not be hashed or verified.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The pool is full: 503 `overloaded`.
    #[error("too many passwords are being hashed")]
    Busy,
    /// The stored hash cannot be read, or hashing failed: a defect.
    #[error("the password could not be hashed")]
    Other(#[source] Source),
}

/// Issues and verifies access tokens: JWTs after RFC 9068 with the hardening of RFC 8725.
#[async_trait]
pub trait AccessTokens: Send + Sync {
    /// Signs a token with the newest key.
    ///
    /// # Errors
    /// [`TokenError::NoSigningKey`] before keys were loaded, [`TokenError::Invalid`] for claims that nobody would
    /// accept: valid for no time, or for longer than [`MAX_ACCESS_TOKEN_SECONDS`].
    fn issue(&self, claims: &AccessClaims) -> Result<String, TokenError>;

    /// Checks signature, type, issuer, audience and times, and returns what the token claims.
    ///
    /// # Errors
    /// [`TokenError::UnknownKey`] is worth one [`AccessTokens::refresh_if_unknown`] and another try.
    fn verify(&self, token: &str, now: Timestamp) -> Result<AccessClaims, TokenError>;

    /// The public keys as a JSON Web Key Set (RFC 7517).
    fn jwks(&self) -> serde_json::Value;

    /// Loads the keys again after [`TokenError::UnknownKey`], at most once in 30 s whatever strangers send. Returns
    /// whether it did.
    ///
    /// # Errors
    /// [`KeyringError`]; the keys that were loaded before stay.
    async fn refresh_if_unknown(&self, now: Timestamp) -> Result<bool, KeyringError>;
}

/// What an access token says. Times are whole seconds, as in the token; fractions are cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessClaims {
    /// Whose token it is (`sub`).
    pub user: UserId,
    /// The login that it belongs to (`sid`).
    pub session: SessionId,
    /// When it was issued (`iat`).
    pub issued_at: Timestamp,
    /// When it ends (`exp`).
    pub expires_at: Timestamp,
    /// When the person last proved who they are (`auth_time`).
    pub auth_time: Timestamp,
    /// Its own id (`jti`).
    pub token_id: Uuid,
}

/// Why a token was not issued or not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token of this service, altered, not yet valid, or meant for somebody else.
    #[error("the access token is not valid")]
    Invalid,
    /// It was valid once.
    #[error("the access token has expired")]
    Expired,
    /// Signed with a key that is not known, at least not yet.
    #[error("the access token names an unknown key")]
    UnknownKey,
    /// There is no key to sign with.
    #[error("no signing key is loaded")]
    NoSigningKey,
}

/// A key pair that signs access tokens, as stored.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// Its name in tokens and in the key set: the JWK thumbprint (RFC 7638).
    pub kid: String,
    /// The private key (PKCS #8), sealed under the envelope key.
    pub sealed_private: Vec<u8>,
    /// The public key: 32 bytes of Ed25519.
    pub public: Vec<u8>,
    /// When it begins to sign: of those that have begun, the newest signs.
    pub created_at: Timestamp,
    /// When it stops signing; it verifies until the last token it signed has expired.
    pub retired_at: Option<Timestamp>,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .field("created_at", &self.created_at)
            .field("retired_at", &self.retired_at)
            .finish_non_exhaustive()
    }
}

/// Keeps the signing keys that all processes share.
#[async_trait]
pub trait SigningKeyStore: Send + Sync {
    /// All keys, retired ones included, in any order.
    ///
    /// # Errors
    /// The store's.
    async fn load(&self) -> Result<Vec<SigningKey>, StoreError>;

    /// Stores a key unless there is one that is not retired. Of processes that start at the same time, one succeeds and
    /// the others change nothing.
    ///
    /// # Errors
    /// The store's.
    async fn insert_if_none(&self, key: SigningKey) -> Result<(), StoreError>;
}

/// Why the signing keys could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The store failed.
    #[error("the signing keys could not be read")]
    Store(#[from] StoreError),
    /// No stored key can be opened: it was sealed with an envelope key that is not configured.
    #[error("none of the signing keys can be opened with the configured envelope keys")]
    CannotOpen,
    /// A new key pair could not be made: a defect.
    #[error("no signing key could be made")]
    Generate,
}
