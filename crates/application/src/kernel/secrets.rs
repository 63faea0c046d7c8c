//! Sealing what must be stored but not read: webhook secrets, mailed tokens, signing keys.

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
}

/// Keyed and plain digests.
pub trait Digester: Send + Sync {
    /// HMAC-SHA-256 under a key derived from the envelope key for this purpose.
    fn mac(&self, purpose: &'static str, data: &[u8]) -> [u8; 32];

    /// SHA-256.
    fn sha256(&self, data: &[u8]) -> [u8; 32];
}
