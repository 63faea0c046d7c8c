//! Sealing and digesting under the configured envelope key.
//!
//! Every purpose has keys of its own, derived from the 32-byte master key by HKDF-SHA-256 (RFC 5869). A sealed value is
//!
//! ```text
//! key id (1 byte) ‖ nonce (12 bytes, random) ‖ AES-256-GCM ciphertext and tag
//! ```
//!
//! The key id is derived from the master key, so that nobody has to number keys: a new key becomes current, the old one
//! stays among the previous ones until everything was sealed again.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::{hkdf, hmac};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use convene_application::kernel::secrets::{CannotOpen, Digester, Sealer};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// Separates the derivations of this program from those of any other that was given the same key.
const SALT: &[u8] = b"convene/envelope/v1";
const KEY_BYTES: usize = 32;
const HEADER_BYTES: usize = 1 + NONCE_LEN;

/// Text that is no envelope key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an envelope key is {KEY_BYTES} random bytes in base64, such as from `openssl rand -base64 32`"
)]
pub struct InvalidEnvelopeKey;

/// A master key. Wiped when dropped, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvelopeKey {
    id: u8,
    bytes: Zeroizing<[u8; KEY_BYTES]>,
}

impl EnvelopeKey {
    /// The key of these bytes, which must be random.
    #[must_use]
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        let mut key = Self { id: 0, bytes: Zeroizing::new(bytes) };
        key.id = key.derive("key-id", "")[0];
        key
    }

    /// Reads a key from base64, standard or URL-safe.
    ///
    /// # Errors
    /// [`InvalidEnvelopeKey`] unless it is exactly 32 bytes.
    pub fn from_base64(text: &SecretString) -> Result<Self, InvalidEnvelopeKey> {
        let text = text.expose_secret().trim();
        let decoded = STANDARD
            .decode(text)
            .or_else(|_| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')))
            .map(Zeroizing::new)
            .map_err(|_| InvalidEnvelopeKey)?;
        decoded.as_slice().try_into().map(Self::new).map_err(|_| InvalidEnvelopeKey)
    }

    /// The key for one use and purpose. The use is never empty and holds no colon, so no two pairs read alike.
    fn derive(&self, r#use: &str, purpose: &str) -> Zeroizing<[u8; KEY_BYTES]> {
        struct Length;
        impl hkdf::KeyType for Length {
            fn len(&self) -> usize {
                KEY_BYTES
            }
        }
        let mut derived = Zeroizing::new([0; KEY_BYTES]);
        hkdf::Salt::new(hkdf::HKDF_SHA256, SALT)
            .extract(self.bytes.as_slice())
            .expand(&[r#use.as_bytes(), b":", purpose.as_bytes()], Length)
            .and_then(|okm| okm.fill(derived.as_mut_slice()))
            .expect("HKDF-SHA-256 yields up to 8,160 bytes");
        derived
    }
}

impl fmt::Debug for EnvelopeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvelopeKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The keys in force: one that seals and digests, and those before it. They can be exchanged while they are used; whoever
/// holds them sees either the old ones or the new.
#[derive(Debug)]
pub struct EnvelopeKeys(RwLock<Arc<Ring>>);

#[derive(Debug, PartialEq, Eq)]
struct Ring {
    current: EnvelopeKey,
    previous: Vec<EnvelopeKey>,
}

impl Ring {
    /// The current key first.
    fn all(&self) -> impl Iterator<Item = &EnvelopeKey> {
        std::iter::once(&self.current).chain(&self.previous)
    }
}

impl EnvelopeKeys {
    /// The key that seals, and those that still open what they sealed.
    #[must_use]
    pub fn new(current: EnvelopeKey, previous: Vec<EnvelopeKey>) -> Arc<Self> {
        Arc::new(Self(RwLock::new(Arc::new(Ring { current, previous }))))
    }

    /// Puts other keys in force, from the next use on. Returns whether they are others.
    pub fn replace(&self, current: EnvelopeKey, previous: Vec<EnvelopeKey>) -> bool {
        let ring = Ring { current, previous };
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let changed = **known != ring;
        *known = Arc::new(ring);
        changed
    }

    fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Seals with the current key, opens with any.
#[derive(Clone, Debug)]
pub struct EnvelopeSealer(Arc<EnvelopeKeys>);

impl EnvelopeSealer {
    /// A sealer with the key that seals and those that still open what they sealed.
    #[must_use]
    pub fn new(current: EnvelopeKey, previous: Vec<EnvelopeKey>) -> Self {
        Self(EnvelopeKeys::new(current, previous))
    }

    /// A sealer with keys that may be exchanged.
    #[must_use]
    pub fn over(keys: Arc<EnvelopeKeys>) -> Self {
        Self(keys)
    }
}

fn cipher(key: &EnvelopeKey, purpose: &str) -> RandomizedNonceKey {
    RandomizedNonceKey::new(&AES_256_GCM, key.derive("seal", purpose).as_slice())
        .expect("the derived key has the length of the cipher's")
}

impl Sealer for EnvelopeSealer {
    fn seal(&self, purpose: &'static str, plain: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(HEADER_BYTES + plain.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(plain);
        let ring = self.0.ring();
        let nonce = cipher(&ring.current, purpose)
            .seal_in_place_append_tag(Aad::from([ring.current.id]), &mut sealed)
            .expect("the plain text is shorter than 64 GiB, and the random source is seeded");
        sealed.splice(0..0, [ring.current.id].into_iter().chain(*nonce.as_ref()));
        sealed
    }

    fn open(&self, purpose: &'static str, sealed: &[u8]) -> Result<Vec<u8>, CannotOpen> {
        // The id is one byte: two keys may share it, and the tag tells which one it was.
        self.0.ring().all().find_map(|key| open_with(key, purpose, sealed)).ok_or(CannotOpen)
    }

    fn reseal(&self, purpose: &'static str, sealed: &[u8]) -> Result<Option<Vec<u8>>, CannotOpen> {
        if open_with(&self.0.ring().current, purpose, sealed).is_some() {
            return Ok(None);
        }
        let plain = self.open(purpose, sealed).map(Zeroizing::new)?;
        Ok(Some(self.seal(purpose, &plain)))
    }
}

/// What was sealed under this very key.
fn open_with(key: &EnvelopeKey, purpose: &str, sealed: &[u8]) -> Option<Vec<u8>> {
    let (header, ciphertext) = sealed.split_at_checked(HEADER_BYTES)?;
    if header[0] != key.id {
        return None;
    }
    let nonce: [u8; NONCE_LEN] = header[1..].try_into().ok()?;
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let plain = cipher(key, purpose)
        .open_in_place(Nonce::from(&nonce), Aad::from([key.id]), &mut buffer)
        .ok()?;
    Some(plain.to_vec())
}

/// Digests under the current key.
#[derive(Clone, Debug)]
pub struct EnvelopeDigester(Arc<EnvelopeKeys>);

impl EnvelopeDigester {
    /// A digester under this key. Under another key every keyed digest is another.
    #[must_use]
    pub fn new(key: EnvelopeKey) -> Self {
        Self(EnvelopeKeys::new(key, Vec::new()))
    }

    /// A digester with keys that may be exchanged.
    #[must_use]
    pub fn over(keys: Arc<EnvelopeKeys>) -> Self {
        Self(keys)
    }
}

fn mac_with(key: &EnvelopeKey, purpose: &str, data: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.derive("mac", purpose).as_slice());
    hmac::sign(&key, data).as_ref().try_into().expect("HMAC-SHA-256 yields 32 bytes")
}

impl Digester for EnvelopeDigester {
    fn mac(&self, purpose: &'static str, data: &[u8]) -> [u8; 32] {
        mac_with(&self.0.ring().current, purpose, data)
    }

    fn macs(&self, purpose: &'static str, data: &[u8]) -> Vec<[u8; 32]> {
        self.0.ring().all().map(|key| mac_with(key, purpose, data)).collect()
    }

    fn sha256(&self, data: &[u8]) -> [u8; 32] {
        digest(&SHA256, data).as_ref().try_into().expect("SHA-256 yields 32 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> EnvelopeKey {
        EnvelopeKey::new(std::array::from_fn(|at| seed.wrapping_add(u8::try_from(at).unwrap())))
    }

    fn sealer(seed: u8) -> EnvelopeSealer {
        EnvelopeSealer::new(key(seed), Vec::new())
    }

    #[test]
    fn opens_what_it_sealed_for_the_same_purpose_alone() {
        let sealer = sealer(1);
        for plain in [&b""[..], b"whsec_1234", &[7; 5_000]] {
            let sealed = sealer.seal("webhook-secret", plain);
            assert_eq!(sealed.len(), HEADER_BYTES + plain.len() + 16);
            assert_eq!(sealer.open("webhook-secret", &sealed).as_deref(), Ok(plain));
            assert_eq!(sealer.open("signing-key", &sealed), Err(CannotOpen));
        }
    }

    #[test]
    fn sealing_twice_never_looks_the_same() {
        let sealer = sealer(1);
        assert_ne!(sealer.seal("token", b"same"), sealer.seal("token", b"same"));
    }

    #[test]
    fn any_changed_bit_and_any_cut_is_noticed() {
        let sealer = sealer(1);
        let sealed = sealer.seal("token", b"plain");
        for at in 0..sealed.len() * 8 {
            let mut altered = sealed.clone();
            altered[at / 8] ^= 1 << (at % 8);
            assert_eq!(sealer.open("token", &altered), Err(CannotOpen), "bit {at}");
        }
        for length in 0..sealed.len() {
            assert_eq!(sealer.open("token", &sealed[..length]), Err(CannotOpen), "{length} bytes");
        }
    }

    #[test]
    fn previous_keys_still_open_and_no_longer_seal() {
        let old = sealer(1);
        let sealed = old.seal("token", b"plain");
        let rotated = EnvelopeSealer::new(key(2), vec![key(3), key(1)]);
        assert_eq!(rotated.open("token", &sealed).as_deref(), Ok(&b"plain"[..]));
        assert_eq!(old.open("token", &rotated.seal("token", b"plain")), Err(CannotOpen));
        assert_eq!(sealer(2).open("token", &sealed), Err(CannotOpen));
    }

    #[test]
    fn exchanged_keys_are_in_force_at_once_and_digests_of_the_old_are_recognised() {
        let keys = EnvelopeKeys::new(key(1), Vec::new());
        let (sealer, digester) =
            (EnvelopeSealer::over(Arc::clone(&keys)), EnvelopeDigester::over(Arc::clone(&keys)));
        let (sealed, mac) = (sealer.seal("token", b"plain"), digester.mac("cursor", b"data"));
        assert_eq!(sealer.reseal("token", &sealed), Ok(None));
        assert!(!keys.replace(key(1), Vec::new()), "they are the same");

        assert!(keys.replace(key(2), vec![key(1)]));
        assert_eq!(sealer.open("token", &sealed).as_deref(), Ok(&b"plain"[..]));
        assert_ne!(digester.mac("cursor", b"data"), mac);
        assert!(digester.macs("cursor", b"data").contains(&mac));
        let resealed = sealer.reseal("token", &sealed).unwrap().expect("under the old key");
        assert_eq!(sealer.reseal("token", &resealed), Ok(None));

        assert!(keys.replace(key(2), Vec::new()));
        assert_eq!(sealer.open("token", &resealed).as_deref(), Ok(&b"plain"[..]));
        assert_eq!(sealer.reseal("token", &sealed), Err(CannotOpen));
        assert!(!digester.macs("cursor", b"data").contains(&mac));
    }

    #[test]
    fn keys_that_share_an_id_are_told_apart_by_the_tag() {
        let (a, b) = (0..=255)
            .flat_map(|a| (0..a).map(move |b| (key(a), key(b))))
            .find(|(a, b)| a.id == b.id)
            .expect("256 keys share some of 256 ids");
        let sealed = EnvelopeSealer::new(b.clone(), Vec::new()).seal("token", b"plain");
        let sealer = EnvelopeSealer::new(a, vec![b]);
        assert_eq!(sealer.open("token", &sealed).as_deref(), Ok(&b"plain"[..]));
    }

    #[test]
    fn digests_are_separate_by_key_and_purpose() {
        let (one, other) = (EnvelopeDigester::new(key(1)), EnvelopeDigester::new(key(2)));
        assert_eq!(one.mac("cursor", b"data"), one.mac("cursor", b"data"));
        assert_ne!(one.mac("cursor", b"data"), one.mac("limit", b"data"));
        assert_ne!(one.mac("cursor", b"data"), other.mac("cursor", b"data"));
        assert_ne!(*key(1).derive("mac", "x"), *key(1).derive("seal", "x"));
    }

    #[test]
    fn sha256_agrees_with_fips_180() {
        let digest = EnvelopeDigester::new(key(1)).sha256(b"abc");
        assert_eq!(digest[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert_eq!(digest[28..], [0xf2, 0x00, 0x15, 0xad]);
    }

    #[test]
    fn derivation_agrees_with_an_independent_implementation() {
        // Worked out with Python's hmac after RFC 5869.
        let derived = key(1).derive("seal", "token");
        assert_eq!(
            hex(derived.as_slice()),
            "bbc5ac7d326dc4d23808704ce888fa57a5be56e6f08174f9377afae369394eab"
        );
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn keys_are_read_from_base64_and_refused_when_they_are_none() {
        let read = |text: &str| EnvelopeKey::from_base64(&SecretString::from(text));
        let bytes: [u8; 32] = std::array::from_fn(|at| u8::try_from(at + 200).unwrap());
        let standard = STANDARD.encode(bytes);
        assert_eq!(*read(&standard).unwrap().bytes, bytes);
        assert_eq!(*read(&format!("{standard}\n")).unwrap().bytes, bytes);
        assert_eq!(*read(&URL_SAFE_NO_PAD.encode(bytes)).unwrap().bytes, bytes);
        let (short, long) = (STANDARD.encode([9; 31]), STANDARD.encode([9; 33]));
        for bad in ["", "not base64 at all", &short, &long] {
            assert_eq!(read(bad).err(), Some(InvalidEnvelopeKey), "{bad}");
        }
    }

    #[test]
    fn debug_output_tells_nothing() {
        let key = EnvelopeKey::new([b'Z'; 32]);
        let shown = format!("{:?}", EnvelopeSealer::new(key.clone(), vec![key]));
        assert!(!shown.contains("90") && !shown.contains('Z'), "{shown}");
    }
}
