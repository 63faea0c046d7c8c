//! Sending webhooks to servers that strangers name: which URLs are allowed, how requests are signed, what came back.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use convene_domain::webhook::{Signature, SignatureScheme};
use secrecy::SecretString;

/// Decides which URLs an endpoint may have, by the URL's form and by addresses that stand in it literally. Names are
/// resolved, and every address vetted, when the connection is made.
pub trait UrlPolicy: Send + Sync {
    /// Checks a URL at creation.
    ///
    /// # Errors
    /// The first reason against it: 422 `url_refused`.
    fn check(&self, url: &str) -> Result<(), UrlRefused>;
}

/// Why webhooks are not sent to a URL. The message is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlRefused {
    /// It does not parse, or is longer than 2,048 bytes.
    #[error("is not an absolute URL")]
    Malformed,
    /// A scheme that is not allowed here.
    #[error("must begin with https://")]
    Scheme,
    /// A user name or password in the URL.
    #[error("must not contain a user name or password")]
    Credentials,
    /// A port that is not allowed here.
    #[error("must use port 443 or a port from 1024 to 65535")]
    Port,
    /// A host that is no plain name or canonical address: `localhost`, a name with a trailing dot, `0x7f.1`.
    #[error("must name a public host")]
    Host,
    /// An address that does not belong to the public internet.
    #[error("must not point to a private or reserved address")]
    Address,
}

/// Sends signed requests, within bounds that no receiver can widen: 5 s to connect, 15 s for the whole exchange, 16 KiB
/// of the answer, no redirects, no proxies, no private addresses.
#[async_trait]
pub trait WebhookSender: Send + Sync {
    /// Sends one POST. Never fails: what went wrong is part of the answer.
    async fn post(&self, request: SignedRequest) -> Attempted;
}

/// A request that is ready to go out.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedRequest {
    /// Where to.
    pub url: String,
    /// Header fields, `content-type` and the signature among them.
    pub headers: Vec<(String, String)>,
    /// The signed bytes.
    pub body: Bytes,
}

impl std::fmt::Debug for SignedRequest {
    /// Without the URL, whose path is often the receiver's secret, and without the signature.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedRequest").field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

/// What came of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempted {
    /// The status of the answer, if its head arrived.
    pub status: Option<u16>,
    /// The answer's `Retry-After`, in seconds or until a date; at most 24 h.
    pub retry_after: Option<Duration>,
    /// What failed on the way, in a few stable words that tell nothing about the network behind: `timeout`,
    /// `connection_failed`, `dns_failed`, `tls_failed`, `address_refused`, `url_refused`, `invalid_request`,
    /// `invalid_response`. None when the answer was read, whatever its status. A body cut off at 16 KiB is no failure.
    pub error: Option<String>,
    /// From the beginning to the end of the exchange.
    pub duration: Duration,
    /// The first 1,024 bytes of the answer's body.
    pub response_head: Bytes,
}

impl Attempted {
    /// Whether the receiver took the webhook: an answer of 2xx, read without failure.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.error.is_none() && self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// Signs webhooks after Standard Webhooks (<https://www.standardwebhooks.com>).
pub trait WebhookSigner: Send + Sync {
    /// A new secret of that scheme.
    fn new_keys(&self, scheme: SignatureScheme) -> SigningKeys;

    /// One signature of `id.timestamp.body`, as it stands in `webhook-signature`: under a `whsec_…` `v1,` and HMAC-SHA-256,
    /// under a `whsk_…` `v1a,` and Ed25519, both in base64. The timestamp counts seconds since 1970.
    ///
    /// # Errors
    /// [`InvalidSecret`] for text that [`WebhookSigner::new_keys`] did not make.
    fn sign(
        &self,
        secret: &str,
        id: &str,
        timestamp: i64,
        body: &[u8],
    ) -> Result<String, InvalidSecret>;
}

/// What signs the webhooks of an endpoint, and what verifies them.
#[derive(Clone, Debug)]
pub struct SigningKeys {
    /// What signs, to be kept sealed: `whsec_` and 32 random bytes in base64, or `whsk_` and the 64 bytes of an Ed25519 key
    /// pair.
    pub secret: SecretString,
    /// The scheme, with what everybody may know.
    pub signature: Signature,
}

impl SigningKeys {
    /// What the receiver verifies with: the shared secret, or the public key.
    #[must_use]
    pub fn verifier(&self) -> SecretString {
        match &self.signature {
            Signature::Hmac => self.secret.clone(),
            Signature::Ed25519 { public_key } => SecretString::from(public_key.clone()),
        }
    }
}

/// Text that is no webhook secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a webhook secret of the form whsec_… or whsk_…")]
pub struct InvalidSecret;
