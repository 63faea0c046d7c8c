//! Sealing the successor of a refresh token under the token itself.
//!
//! ```text
//! nonce (12 bytes, random) ‖ AES-256-GCM ciphertext and tag, under HKDF-SHA-256 of the presented token
//! ```
//!
//! The database holds this beside the token's digest. Who reads the database can open neither: the key is the token.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf;
use convene_application::auth::OpaqueToken;
use convene_application::auth::ports::SuccessorSealer;
use convene_application::kernel::secrets::CannotOpen;
use zeroize::Zeroizing;

/// Separates this use of a token's bytes from any other.
const SALT: &[u8] = b"convene/refresh-successor/v1";
const KEY_BYTES: usize = 32;

/// Seals successors with the cryptography of aws-lc-rs.
#[derive(Clone, Copy, Debug, Default)]
pub struct HkdfSuccessorSealer;

fn cipher(presented: &OpaqueToken) -> RandomizedNonceKey {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, SALT)
        .extract(presented.as_bytes())
        .expand(&[b"key"], &AES_256_GCM)
        .and_then(|okm| okm.fill(key.as_mut_slice()))
        .expect("HKDF-SHA-256 yields up to 8,160 bytes");
    RandomizedNonceKey::new(&AES_256_GCM, key.as_slice())
        .expect("the derived key has the length of the cipher's")
}

impl SuccessorSealer for HkdfSuccessorSealer {
    fn seal(&self, presented: &OpaqueToken, successor: &OpaqueToken) -> Vec<u8> {
        let mut sealed = successor.as_bytes().to_vec();
        let nonce = cipher(presented)
            .seal_in_place_append_tag(Aad::empty(), &mut sealed)
            .expect("32 bytes are not too long, and the random source is seeded");
        sealed.splice(0..0, *nonce.as_ref());
        sealed
    }

    fn open(&self, presented: &OpaqueToken, sealed: &[u8]) -> Result<OpaqueToken, CannotOpen> {
        let (nonce, ciphertext) = sealed.split_at_checked(NONCE_LEN).ok_or(CannotOpen)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| CannotOpen)?;
        let mut buffer = Zeroizing::new(ciphertext.to_vec());
        let successor = cipher(presented)
            .open_in_place(nonce, Aad::empty(), &mut buffer)
            .map_err(|_| CannotOpen)?;
        Ok(OpaqueToken::from_bytes((&*successor).try_into().map_err(|_| CannotOpen)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(byte: u8) -> OpaqueToken {
        OpaqueToken::from_bytes([byte; 32])
    }

    #[test]
    fn only_the_presented_token_opens_its_successor() {
        let sealer = HkdfSuccessorSealer;
        let sealed = sealer.seal(&token(1), &token(2));
        assert_eq!(sealer.open(&token(1), &sealed), Ok(token(2)));
        assert_eq!(sealer.open(&token(2), &sealed), Err(CannotOpen));
        assert_ne!(sealer.seal(&token(1), &token(2)), sealed);
    }

    #[test]
    fn any_changed_bit_and_any_cut_is_noticed() {
        let sealer = HkdfSuccessorSealer;
        let sealed = sealer.seal(&token(1), &token(2));
        for at in 0..sealed.len() * 8 {
            let mut altered = sealed.clone();
            altered[at / 8] ^= 1 << (at % 8);
            assert_eq!(sealer.open(&token(1), &altered), Err(CannotOpen), "bit {at}");
        }
        for length in 0..sealed.len() {
            assert_eq!(
                sealer.open(&token(1), &sealed[..length]),
                Err(CannotOpen),
                "{length} bytes"
            );
        }
    }
}
