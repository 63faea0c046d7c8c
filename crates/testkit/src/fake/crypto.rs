//! Sealing and digests without cryptography: the properties that use cases rely on, and no protection.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use convene_application::kernel::secrets::{CannotOpen, Digester, Sealer};

/// Opens only for the purpose that it sealed for, and never shows the plain bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct FakeSealer;

impl Sealer for FakeSealer {
    fn seal(&self, purpose: &'static str, plain: &[u8]) -> Vec<u8> {
        let tag = hash(purpose, plain).to_le_bytes();
        tag.into_iter().chain(plain.iter().map(|byte| !byte)).collect()
    }

    fn open(&self, purpose: &'static str, sealed: &[u8]) -> Result<Vec<u8>, CannotOpen> {
        let (tag, hidden) = sealed.split_at_checked(8).ok_or(CannotOpen)?;
        let plain: Vec<u8> = hidden.iter().map(|byte| !byte).collect();
        if tag == hash(purpose, &plain).to_le_bytes() { Ok(plain) } else { Err(CannotOpen) }
    }

    /// There is but one key.
    fn reseal(&self, purpose: &'static str, sealed: &[u8]) -> Result<Option<Vec<u8>>, CannotOpen> {
        self.open(purpose, sealed).map(|_| None)
    }
}

/// Digests that differ for different data and purposes.
#[derive(Clone, Copy, Debug, Default)]
pub struct FakeDigester;

impl Digester for FakeDigester {
    fn mac(&self, purpose: &'static str, data: &[u8]) -> [u8; 32] {
        digest(purpose, data)
    }

    fn sha256(&self, data: &[u8]) -> [u8; 32] {
        digest("sha256", data)
    }
}

fn digest(purpose: &str, data: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    for (place, chunk) in digest.chunks_mut(8).enumerate() {
        chunk.copy_from_slice(&hash((purpose, place), data).to_le_bytes());
    }
    digest
}

fn hash(salt: impl std::hash::Hash, data: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    salt.hash(&mut hasher);
    data.hash(&mut hasher);
    hasher.finish()
}
