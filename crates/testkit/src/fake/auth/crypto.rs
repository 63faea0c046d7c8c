//! Passwords, access tokens and successors without cryptography.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use convene_application::auth::OpaqueToken;
use convene_application::auth::crypto::{
    AccessClaims, AccessTokens, KeyringError, PasswordError, PasswordHasher, TokenError, Verdict,
};
use convene_application::auth::ports::SuccessorSealer;
use convene_application::kernel::secrets::CannotOpen;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

use crate::fake::kernel::lock;

/// Hashes by naming the parameters: `v1:` and the password.
#[derive(Debug)]
pub struct FakePasswords {
    parameters: AtomicUsize,
    work: AtomicUsize,
    busy: AtomicBool,
}

impl Default for FakePasswords {
    fn default() -> Self {
        Self {
            parameters: AtomicUsize::new(1),
            work: AtomicUsize::new(0),
            busy: AtomicBool::new(false),
        }
    }
}

impl FakePasswords {
    /// Makes the parameters stronger: hashes from before are outdated.
    pub fn strengthen(&self) {
        self.parameters.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether the pool is to be full.
    pub fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::SeqCst);
    }

    /// How many passwords were hashed or compared, dummies included.
    pub fn work(&self) -> usize {
        self.work.load(Ordering::SeqCst)
    }

    fn begin(&self) -> Result<(), PasswordError> {
        if self.busy.load(Ordering::SeqCst) {
            return Err(PasswordError::Busy);
        }
        self.work.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn prefix(&self) -> String {
        format!("v{}:", self.parameters.load(Ordering::SeqCst))
    }
}

#[async_trait]
impl PasswordHasher for FakePasswords {
    async fn hash(&self, password: SecretString) -> Result<String, PasswordError> {
        self.begin()?;
        Ok(format!("{}{}", self.prefix(), password.expose_secret()))
    }

    async fn verify(
        &self,
        password: SecretString,
        hash: Option<String>,
    ) -> Result<Verdict, PasswordError> {
        self.begin()?;
        let Some(hash) = hash else { return Ok(Verdict { matches: false, outdated: false }) };
        let stored = hash.split_once(':').map_or("", |(_, password)| password);
        let matches = stored == password.expose_secret();
        Ok(Verdict { matches, outdated: matches && !hash.starts_with(&self.prefix()) })
    }
}

/// Remembers the tokens that it issued.
#[derive(Debug, Default)]
pub struct FakeAccessTokens {
    issued: Mutex<HashMap<String, AccessClaims>>,
    /// Tokens that another process signed with a key that this one has not loaded yet.
    foreign: Mutex<HashMap<String, AccessClaims>>,
}

impl FakeAccessTokens {
    /// Makes a token known that another process signed, with a key that is loaded when somebody asks for it.
    pub fn issue_elsewhere(&self, token: &str, claims: AccessClaims) {
        lock(&self.foreign).insert(token.to_owned(), claims);
    }
}

#[async_trait]
impl AccessTokens for FakeAccessTokens {
    fn issue(&self, claims: &AccessClaims) -> Result<String, TokenError> {
        let token = format!("access-{}", claims.token_id);
        lock(&self.issued).insert(token.clone(), *claims);
        Ok(token)
    }

    fn verify(&self, token: &str, now: Timestamp) -> Result<AccessClaims, TokenError> {
        match lock(&self.issued).get(token) {
            Some(claims) if now < claims.expires_at => Ok(*claims),
            Some(_) => Err(TokenError::Expired),
            None if lock(&self.foreign).contains_key(token) => Err(TokenError::UnknownKey),
            None => Err(TokenError::Invalid),
        }
    }

    fn jwks(&self) -> serde_json::Value {
        serde_json::json!({ "keys": [] })
    }

    async fn refresh_if_unknown(&self, _: Timestamp) -> Result<bool, KeyringError> {
        let loaded = std::mem::take(&mut *lock(&self.foreign));
        lock(&self.issued).extend(loaded);
        Ok(true)
    }
}

/// Hides a successor under its token by exclusive or, with the token beside it as a tag of sorts.
#[derive(Clone, Copy, Debug, Default)]
pub struct FakeSuccessorSealer;

impl SuccessorSealer for FakeSuccessorSealer {
    fn seal(&self, presented: &OpaqueToken, successor: &OpaqueToken) -> Vec<u8> {
        let hidden = mix(presented, successor.as_bytes());
        let tag = presented.as_bytes().iter().map(|byte| byte.rotate_left(3));
        hidden.into_iter().chain(tag).collect()
    }

    fn open(&self, presented: &OpaqueToken, sealed: &[u8]) -> Result<OpaqueToken, CannotOpen> {
        let (hidden, tag) = sealed.split_at_checked(32).ok_or(CannotOpen)?;
        if !presented.as_bytes().iter().map(|byte| byte.rotate_left(3)).eq(tag.iter().copied()) {
            return Err(CannotOpen);
        }
        let hidden: &[u8; 32] = hidden.try_into().map_err(|_| CannotOpen)?;
        Ok(OpaqueToken::from_bytes(mix(presented, hidden)))
    }
}

fn mix(token: &OpaqueToken, bytes: &[u8; 32]) -> [u8; 32] {
    std::array::from_fn(|at| token.as_bytes()[at] ^ bytes[at])
}
