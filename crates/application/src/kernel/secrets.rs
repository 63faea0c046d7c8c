//! Sealing what must be stored but not read: webhook secrets, mailed tokens, signing keys.

/// What the private keys of access tokens are sealed for.
pub const SIGNING_KEY_PURPOSE: &str = "signing-key";

/// What is sealed came from somewhere else, or with a key that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sealed value cannot be opened")]
pub struct CannotOpen;

/// Authenticated encryption under the configured envelope key.
pub trait Sealer: Send + Sync {
    /// Encrypts, bound to the purpose: what was sealed for one cannot be opened for another.
    fn seal(&self, purpose: &'static str, plain: &[u8]) -> Vec<u8>;

    /// Decrypts.
    ///
    /// # Errors
    /// [`CannotOpen`] for altered bytes, another purpose or an unknown key.
    fn open(&self, purpose: &'static str, sealed: &[u8]) -> Result<Vec<u8>, CannotOpen>;

    /// Seals again what was sealed under a key that is no longer the current one; `None` if it was sealed under that.
    ///
    /// # Errors
    /// [`CannotOpen`] as [`Sealer::open`].
    fn reseal(&self, purpose: &'static str, sealed: &[u8]) -> Result<Option<Vec<u8>>, CannotOpen>;
}

/// How sealing again went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Values that are under the current key now, and were not before.
    pub changed: usize,
    /// Values that were under it already.
    pub current: usize,
    /// Values that no configured key opens.
    pub lost: usize,
}

impl Resealed {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            changed: self.changed + other.changed,
            current: self.current + other.current,
            lost: self.lost + other.lost,
        }
    }
}

/// Keyed and plain digests.
pub trait Digester: Send + Sync {
    /// HMAC-SHA-256 under a key derived from the envelope key for this purpose.
    fn mac(&self, purpose: &'static str, data: &[u8]) -> [u8; 32];

    /// The same under each key that is known, the current one first: what was handed out before a key was replaced is
    /// still recognised.
    fn macs(&self, purpose: &'static str, data: &[u8]) -> Vec<[u8; 32]> {
        vec![self.mac(purpose, data)]
    }

    /// SHA-256.
    fn sha256(&self, data: &[u8]) -> [u8; 32];
}
