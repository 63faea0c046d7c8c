//! A network of one receiver.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use convene_application::webhook::egress::{
    Attempted, InvalidSecret, SignedRequest, SigningKeys, UrlPolicy, UrlRefused, WebhookSender,
    WebhookSigner,
};
use convene_domain::webhook::{Signature, SignatureScheme};

use crate::fake::kernel::lock;

/// Takes every webhook, unless the test has put other answers in line.
#[derive(Debug, Default)]
pub struct FakeReceiver {
    received: Mutex<Vec<SignedRequest>>,
    answers: Mutex<VecDeque<Attempted>>,
    otherwise: Mutex<Option<Attempted>>,
}

/// An answer with this status that took 12 ms.
pub fn answer(status: u16) -> Attempted {
    Attempted {
        status: Some(status),
        retry_after: None,
        error: None,
        duration: Duration::from_millis(12),
        response_head: Bytes::new(),
    }
}

impl FakeReceiver {
    /// Puts an answer in line, for one request.
    pub fn answer_once(&self, answer: Attempted) {
        lock(&self.answers).push_back(answer);
    }

    /// What is answered when no answer is in line; 204 until it is set.
    pub fn answer_always(&self, answer: Attempted) {
        *lock(&self.otherwise) = Some(answer);
    }

    /// What was received so far, oldest first; forgets it.
    pub fn take(&self) -> Vec<SignedRequest> {
        std::mem::take(&mut lock(&self.received))
    }
}

#[async_trait]
impl WebhookSender for FakeReceiver {
    async fn post(&self, request: SignedRequest) -> Attempted {
        lock(&self.received).push(request);
        let next = lock(&self.answers).pop_front();
        let otherwise = lock(&self.otherwise).clone();
        next.or(otherwise).unwrap_or_else(|| answer(204))
    }
}

/// Signs so that a test can read what was signed with what.
#[derive(Debug, Default)]
pub struct FakeSigner(AtomicU64);

impl WebhookSigner for FakeSigner {
    fn new_keys(&self, scheme: SignatureScheme) -> SigningKeys {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        match scheme {
            SignatureScheme::Hmac => {
                SigningKeys { secret: format!("whsec_{number}").into(), signature: Signature::Hmac }
            }
            SignatureScheme::Ed25519 => SigningKeys {
                secret: format!("whsk_{number}").into(),
                signature: Signature::Ed25519 { public_key: format!("whpk_{number}") },
            },
        }
    }

    fn sign(
        &self,
        secret: &str,
        id: &str,
        timestamp: i64,
        body: &[u8],
    ) -> Result<String, InvalidSecret> {
        let version = match secret.split_once('_') {
            Some(("whsec", _)) => "v1",
            Some(("whsk", _)) => "v1a",
            _ => return Err(InvalidSecret),
        };
        Ok(format!("{version},{secret}/{id}.{timestamp}.{}", body.len()))
    }
}

/// Allows `https://` to any host but `private.example`.
#[derive(Clone, Copy, Debug, Default)]
pub struct FakeUrlPolicy;

impl UrlPolicy for FakeUrlPolicy {
    fn check(&self, url: &str) -> Result<(), UrlRefused> {
        match url.strip_prefix("https://") {
            None => Err(UrlRefused::Scheme),
            Some(rest) if rest.starts_with("private.example") => Err(UrlRefused::Address),
            Some(_) => Ok(()),
        }
    }
}
