//! Signatures after Standard Webhooks 1.0 (<https://github.com/standard-webhooks/standard-webhooks>).

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use convene_application::kernel::random::Random;
use convene_application::webhook::egress::{InvalidSecret, WebhookSigner};
use zeroize::Zeroizing;

const PREFIX: &str = "whsec_";
/// The specification asks for 24–64 bytes.
const SECRET_BYTES: usize = 32;

/// Makes secrets and signs with HMAC-SHA-256.
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
    fn new_secret(&self) -> String {
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        self.random.fill(bytes.as_mut_slice());
        format!("{PREFIX}{}", STANDARD.encode(bytes.as_slice()))
    }

    fn sign(
        &self,
        secret: &str,
        id: &str,
        timestamp: i64,
        body: &[u8],
    ) -> Result<String, InvalidSecret> {
        let encoded = secret.strip_prefix(PREFIX).ok_or(InvalidSecret)?;
        let bytes = STANDARD.decode(encoded).map(Zeroizing::new).map_err(|_| InvalidSecret)?;
        if bytes.is_empty() {
            return Err(InvalidSecret);
        }
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &bytes));
        context.update(format!("{id}.{timestamp}.").as_bytes());
        context.update(body);
        Ok(format!("v1,{}", STANDARD.encode(context.sign())))
    }
}

#[cfg(test)]
mod tests {
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
        let secret = signer.new_secret();
        let sign = |id, timestamp, body| signer.sign(&secret, id, timestamp, body).unwrap();
        let signature = sign("hdlv_1", 1, b"{}");
        assert_eq!(signature, sign("hdlv_1", 1, b"{}"));
        assert_ne!(signature, sign("hdlv_2", 1, b"{}"));
        assert_ne!(signature, sign("hdlv_1", 2, b"{}"));
        assert_ne!(signature, sign("hdlv_1", 1, b"{ }"));
        assert_ne!(signature, signer.sign(&signer.new_secret(), "hdlv_1", 1, b"{}").unwrap());
    }

    #[test]
    fn secrets_are_new_and_of_32_bytes() {
        let (one, other) = (signer().new_secret(), signer().new_secret());
        assert_ne!(one, other);
        let bytes = STANDARD.decode(one.strip_prefix("whsec_").unwrap()).unwrap();
        assert_eq!(bytes.len(), 32);
    }

    #[test]
    fn what_is_no_secret_does_not_sign() {
        for bad in
            ["", "whsec_", "whsec_not base64", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whpk_MfKQ"]
        {
            assert_eq!(signer().sign(bad, "id", 1, b""), Err(InvalidSecret), "{bad}");
        }
    }
}
