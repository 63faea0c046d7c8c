//! Signatures after Standard Webhooks 1.0 (<https://github.com/standard-webhooks/standard-webhooks>).

use std::sync::Arc;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use convene_application::kernel::random::Random;
use convene_application::webhook::egress::{InvalidSecret, SigningKeys, WebhookSigner};
use convene_domain::webhook::{Signature, SignatureScheme};
use zeroize::Zeroizing;

const SHARED: &str = "whsec_";
const PRIVATE: &str = "whsk_";
const PUBLIC: &str = "whpk_";
/// The specification asks for 24–64 bytes.
const SECRET_BYTES: usize = 32;
/// The seed of an Ed25519 key (RFC 8032 §5.1.5); behind it stands the public key.
const SEED_BYTES: usize = 32;

/// Makes secrets and signs with HMAC-SHA-256 or Ed25519.
#[derive(Clone)]
pub struct StandardWebhooksSigner {
    random: Arc<dyn Random>,
}

impl std::fmt::Debug for StandardWebhooksSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StandardWebhooksSigner").finish_non_exhaustive()
    }
}

impl StandardWebhooksSigner {
    /// A signer whose secrets come from this source.
    #[must_use]
    pub fn new(random: Arc<dyn Random>) -> Self {
        Self { random }
    }
}

impl WebhookSigner for StandardWebhooksSigner {
    fn new_keys(&self, scheme: SignatureScheme) -> SigningKeys {
        match scheme {
            SignatureScheme::Hmac => {
                let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
                self.random.fill(bytes.as_mut_slice());
                SigningKeys { secret: encoded(SHARED, &*bytes).into(), signature: Signature::Hmac }
            }
            SignatureScheme::Ed25519 => {
                let mut bytes = Zeroizing::new([0; 2 * SEED_BYTES]);
                let (seed, public) = bytes.split_at_mut(SEED_BYTES);
                self.random.fill(seed);
                let pair = Ed25519KeyPair::from_seed_unchecked(seed)
                    .expect("every 32 bytes are the seed of a key");
                public.copy_from_slice(pair.public_key().as_ref());
                let public_key = encoded(PUBLIC, public);
                SigningKeys {
                    secret: encoded(PRIVATE, &*bytes).into(),
                    signature: Signature::Ed25519 { public_key },
                }
            }
        }
    }

    fn sign(
        &self,
        secret: &str,
        id: &str,
        timestamp: i64,
        body: &[u8],
    ) -> Result<String, InvalidSecret> {
        let head = format!("{id}.{timestamp}.");
        if let Some(encoded) = secret.strip_prefix(PRIVATE) {
            let bytes = decoded(encoded)?;
            let (seed, public) = bytes.split_at_checked(SEED_BYTES).ok_or(InvalidSecret)?;
            let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public)
                .map_err(|_| InvalidSecret)?;
            // The algorithm goes over the message twice, so it has to be in one piece.
            let signature = pair.sign(&[head.as_bytes(), body].concat());
            return Ok(format!("v1a,{}", STANDARD.encode(signature)));
        }
        let bytes = decoded(secret.strip_prefix(SHARED).ok_or(InvalidSecret)?)?;
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &bytes));
        context.update(head.as_bytes());
        context.update(body);
        Ok(format!("v1,{}", STANDARD.encode(context.sign())))
    }
}

fn encoded(prefix: &str, bytes: &[u8]) -> String {
    format!("{prefix}{}", STANDARD.encode(bytes))
}

fn decoded(text: &str) -> Result<Zeroizing<Vec<u8>>, InvalidSecret> {
    let bytes = STANDARD.decode(text).map(Zeroizing::new).map_err(|_| InvalidSecret)?;
    if bytes.is_empty() { Err(InvalidSecret) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::security::OsRandom;

    fn signer() -> StandardWebhooksSigner {
        StandardWebhooksSigner::new(Arc::new(OsRandom))
    }

    #[test]
    fn agrees_with_the_specification() {
        // The vector of the reference libraries.
        let signature = signer().sign(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature.as_deref(), Ok("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    }

    #[test]
    fn every_part_is_signed() {
        let signer = signer();
        for scheme in [SignatureScheme::Hmac, SignatureScheme::Ed25519] {
            let sign_with = |keys: &SigningKeys, id, timestamp, body| {
                signer.sign(keys.secret.expose_secret(), id, timestamp, body).unwrap()
            };
            let keys = signer.new_keys(scheme);
            let sign = |id, timestamp, body| sign_with(&keys, id, timestamp, body);
            let signature = sign("hdlv_1", 1, b"{}");
            assert_eq!(signature, sign("hdlv_1", 1, b"{}"));
            assert_ne!(signature, sign("hdlv_2", 1, b"{}"));
            assert_ne!(signature, sign("hdlv_1", 2, b"{}"));
            assert_ne!(signature, sign("hdlv_1", 1, b"{ }"));
            assert_ne!(signature, sign_with(&signer.new_keys(scheme), "hdlv_1", 1, b"{}"));
        }
    }

    #[test]
    fn the_public_key_verifies_what_the_private_one_signed() {
        let keys = signer().new_keys(SignatureScheme::Ed25519);
        let public = keys.signature.public_key().unwrap();
        assert_eq!(keys.verifier().expose_secret(), public, "nobody is shown the private key");
        let public = STANDARD.decode(public.strip_prefix("whpk_").unwrap()).unwrap();
        let secret = keys.secret.expose_secret();
        assert_eq!(STANDARD.decode(secret.strip_prefix("whsk_").unwrap()).unwrap()[32..], public);

        let signature = signer().sign(secret, "hdlv_1", 1_614_265_330, b"{}").unwrap();
        let signature = STANDARD.decode(signature.strip_prefix("v1a,").unwrap()).unwrap();
        let key = UnparsedPublicKey::new(&ED25519, public);
        assert!(key.verify(b"hdlv_1.1614265330.{}", &signature).is_ok());
        assert!(key.verify(b"hdlv_1.1614265331.{}", &signature).is_err());
    }

    #[test]
    fn secrets_are_new_and_of_32_bytes() {
        for (scheme, prefix, length) in
            [(SignatureScheme::Hmac, "whsec_", 32), (SignatureScheme::Ed25519, "whsk_", 64)]
        {
            let (one, other) = (signer().new_keys(scheme), signer().new_keys(scheme));
            assert_ne!(one.secret.expose_secret(), other.secret.expose_secret());
            let bytes = one.secret.expose_secret().strip_prefix(prefix).unwrap();
            assert_eq!(STANDARD.decode(bytes).unwrap().len(), length);
        }
    }

    #[test]
    fn what_is_no_secret_does_not_sign() {
        for bad in [
            "",
            "whsec_",
            "whsec_not base64",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whpk_MfKQ",
            "whsk_",
            "whsk_MfKQ",
        ] {
            assert_eq!(signer().sign(bad, "id", 1, b""), Err(InvalidSecret), "{bad}");
        }
    }
}
