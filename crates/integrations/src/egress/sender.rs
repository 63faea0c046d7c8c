//! One POST to a stranger's server, bounded in every direction.

use std::error::Error;
use std::io;
use std::num::IntErrorKind;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use convene_application::kernel::clock::Clock;
use convene_application::kernel::failpoint::{self, Failpoint};
use convene_application::webhook::egress::{Attempted, SignedRequest, UrlRefused, WebhookSender};
use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response};
use tokio::time::{Instant, timeout};

use super::address::Reach;
use super::policy::WebhookUrlPolicy;
use super::resolver::{AddressRefused, Lookup, SystemLookup, VettingResolver};

/// How much of an answer's body is kept for the endpoint's owner.
const KEPT_BYTES: usize = 1_024;
/// A receiver cannot put a delivery off for longer.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);
/// Shorter than what servers usually keep an idle connection for, so that few requests meet a connection that is just
/// being closed.
const IDLE_CONNECTION: Duration = Duration::from_secs(20);
/// As many as one endpoint gets requests at once by default, so that the next batch finds them open.
const IDLE_CONNECTIONS_PER_HOST: usize = 8;

/// What an exchange may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Until the connection is made.
    pub connect: Duration,
    /// From the beginning until the last byte of the answer that is read.
    pub exchange: Duration,
    /// Bytes of the answer's body that are read; the rest is not waited for.
    pub response_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            exchange: Duration::from_secs(15),
            response_bytes: 16 * 1024,
        }
    }
}

/// The HTTP client could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("the client for outgoing webhooks could not be set up")]
pub struct SenderError(#[source] Box<dyn Error + Send + Sync>);

/// Sends webhooks over HTTP/1.1 with connections kept alive.
pub struct HttpWebhookSender {
    client: Client,
    policy: WebhookUrlPolicy,
    bounds: Bounds,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for HttpWebhookSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpWebhookSender")
            .field("policy", &self.policy)
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

impl HttpWebhookSender {
    /// A sender of this reach with the machine's resolver and the default bounds.
    ///
    /// # Errors
    /// [`SenderError`] if TLS cannot be set up.
    pub fn new(reach: Reach, clock: Arc<dyn Clock>) -> Result<Self, SenderError> {
        Self::with(reach, Arc::new(SystemLookup), Bounds::default(), clock)
    }

    /// A sender with a resolver and bounds of one's own.
    ///
    /// # Errors
    /// [`SenderError`] if TLS cannot be set up.
    pub fn with(
        reach: Reach,
        lookup: Arc<dyn Lookup>,
        bounds: Bounds,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SenderError> {
        let resolver = Arc::new(VettingResolver::new(lookup, reach));
        let configure = || configure(reach, Arc::clone(&resolver), bounds);
        let client = match configure().build() {
            Ok(client) => client,
            Err(error) => {
                // A machine without ca-certificates is no reason not to start.
                tracing::warn!(
                    error = &error as &dyn Error,
                    "the machine's certificate authorities cannot be used; Mozilla's are"
                );
                let tls = tls_with_bundled_authorities().map_err(|e| SenderError(e.into()))?;
                let configured = configure().tls_backend_preconfigured(tls).build();
                configured.map_err(|error| SenderError(error.into()))?
            }
        };
        Ok(Self { client, policy: WebhookUrlPolicy::new(reach), bounds, clock })
    }

    async fn exchange(&self, request: SignedRequest, answer: &mut Answer) -> Result<(), Fault> {
        // Connectors ask no resolver about literal addresses, so the URL is judged anew each time.
        let url = self.policy.accept(&request.url).map_err(Fault::from)?;
        let headers = headers(&request.headers).ok_or(Fault::InvalidRequest)?;
        failpoint::reach(Failpoint::HttpSend);
        let response = self.client.post(url).headers(headers).body(request.body).send().await?;
        failpoint::reach(Failpoint::ResponseRead);
        answer.status = Some(response.status().as_u16());
        answer.retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| retry_after(value, self.clock.now()));
        self.read_body(response, answer).await
    }

    /// Reads until the end, which keeps the connection usable, or until the bound, which closes it.
    async fn read_body(&self, mut response: Response, answer: &mut Answer) -> Result<(), Fault> {
        let mut read = 0;
        while read <= self.bounds.response_bytes {
            let Some(chunk) = response.chunk().await? else { break };
            read += chunk.len();
            let room = KEPT_BYTES - answer.head.len();
            answer.head.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        Ok(())
    }
}

#[async_trait]
impl WebhookSender for HttpWebhookSender {
    async fn post(&self, request: SignedRequest) -> Attempted {
        let started = Instant::now();
        let mut answer = Answer::default();
        let fault = timeout(self.bounds.exchange, self.exchange(request, &mut answer))
            .await
            .unwrap_or(Err(Fault::Timeout))
            .err();
        Attempted {
            status: answer.status,
            retry_after: answer.retry_after,
            error: fault.map(|fault| fault.as_str().to_owned()),
            duration: started.elapsed(),
            response_head: answer.head.freeze(),
        }
    }
}

/// What has arrived of the answer so far.
#[derive(Default)]
struct Answer {
    status: Option<u16>,
    retry_after: Option<Duration>,
    head: BytesMut,
}

/// What can go wrong, in words that the endpoint's owner reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    UrlRefused,
    AddressRefused,
    DnsFailed,
    ConnectionFailed,
    TlsFailed,
    Timeout,
    InvalidRequest,
    InvalidResponse,
}

impl Fault {
    const fn as_str(self) -> &'static str {
        match self {
            Self::UrlRefused => "url_refused",
            Self::AddressRefused => "address_refused",
            Self::DnsFailed => "dns_failed",
            Self::ConnectionFailed => "connection_failed",
            Self::TlsFailed => "tls_failed",
            Self::Timeout => "timeout",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidResponse => "invalid_response",
        }
    }
}

impl From<UrlRefused> for Fault {
    fn from(refused: UrlRefused) -> Self {
        match refused {
            UrlRefused::Address => Self::AddressRefused,
            _ => Self::UrlRefused,
        }
    }
}

impl From<reqwest::Error> for Fault {
    fn from(error: reqwest::Error) -> Self {
        // A connection that the server closed in the middle of its answer is a broken answer.
        let io_error = cause::<io::Error>(&error);
        let broke_off = io_error.is_some_and(|error| error.kind() != io::ErrorKind::UnexpectedEof);
        if cause::<AddressRefused>(&error).is_some() {
            Self::AddressRefused
        } else if error.is_timeout() {
            Self::Timeout
        } else if error.is_dns() {
            Self::DnsFailed
        } else if cause::<rustls::Error>(&error).is_some() {
            Self::TlsFailed
        } else if error.is_connect() || broke_off {
            Self::ConnectionFailed
        } else {
            Self::InvalidResponse
        }
    }
}

/// The first cause of this type. What an [`io::Error`] wraps is not among its sources.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let below = |error: &'a (dyn Error + 'static)| -> Option<&'a (dyn Error + 'static)> {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    };
    std::iter::successors(Some(error), |error| below(*error)).find_map(|error| error.downcast_ref())
}

fn configure(reach: Reach, resolver: Arc<VettingResolver>, bounds: Bounds) -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("Convene-Webhooks/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(resolver)
        .redirect(Policy::none())
        .referer(false)
        .no_proxy()
        .https_only(reach == Reach::Public)
        .http1_only()
        .connect_timeout(bounds.connect)
        .pool_idle_timeout(IDLE_CONNECTION)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_PER_HOST)
}

fn tls_with_bundled_authorities() -> Result<rustls::ClientConfig, rustls::Error> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn headers(pairs: &[(String, String)]) -> Option<HeaderMap> {
    pairs
        .iter()
        .map(|(name, value)| {
            Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
        })
        .collect()
}

/// Reads `Retry-After` (RFC 9110 §10.2.3): seconds or a date.
fn retry_after(value: &HeaderValue, now: Timestamp) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => MAX_RETRY_AFTER,
        Err(_) => {
            let until = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
            until.duration_since(now).try_into().unwrap_or(Duration::ZERO)
        }
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_both_forms_and_capped() {
        let now: Timestamp = "2027-05-01T18:00:00Z".parse().unwrap();
        let read = |text: &str| retry_after(&HeaderValue::from_str(text).unwrap(), now);
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read("0"), Some(Duration::ZERO));
        assert_eq!(read("Sat, 01 May 2027 18:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(read("Sat, 01 May 2027 17:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("86401"), Some(MAX_RETRY_AFTER));
        assert_eq!(read("99999999999999999999999"), Some(MAX_RETRY_AFTER));
        assert_eq!(read("Sat, 01 May 2032 18:00:30 GMT"), Some(MAX_RETRY_AFTER));
        for bad in ["", "-1", "1.5", "soon", "1 hour"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_bundled_authorities_can_be_used() {
        assert!(tls_with_bundled_authorities().is_ok());
    }

    #[test]
    fn header_fields_that_would_break_out_are_refused() {
        let field = |name: &str, value: &str| headers(&[(name.to_owned(), value.to_owned())]);
        assert!(field("webhook-id", "hdlv_1").is_some());
        for (name, value) in
            [("a", "b\r\nc: d"), ("a\r\nb", "c"), ("", "x"), ("a", "\0"), ("a b", "c")]
        {
            assert!(field(name, value).is_none(), "{name}: {value}");
        }
    }
}
