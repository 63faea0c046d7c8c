//! Bodies: received within limits of size and time, read strictly, judged later. What has a body takes no query.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::{Method, header};
use actix_web::{FromRequest, HttpRequest};
use aws_lc_rs::digest;
use bytes::{Bytes, BytesMut};
use convene_application::kernel::error::{Checked, Code, Failure};
use convene_application::kernel::store::Source;
use futures::StreamExt as _;
use garde::Validate;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use utoipa::PartialSchema;

use super::http_of;
use super::idempotency::sha256_array;
use super::list::without_query;
use crate::json;
use crate::settings::BodyLimits;
use crate::versions::Older;

/// A body that has been received, as an idempotency key needs it.
pub trait Received {
    /// What it was read as.
    type Input;

    /// SHA-256 over its bytes; `None` if it did not arrive whole.
    fn fingerprint(&self) -> Option<[u8; 32]>;

    /// What it was read as, or why it could not be.
    ///
    /// # Errors
    /// 408, 413, 415, 400 or 422.
    fn into_input(self) -> Checked<Self::Input>;
}

/// A JSON body read as a DTO. Never refuses the request itself: [`Body::into_input`] holds the mistakes until the use
/// case opens it.
#[derive(Debug)]
pub struct Body<T> {
    input: Checked<T>,
    fingerprint: Option<[u8; 32]>,
}

impl<T> Body<T> {
    /// The DTO, or what is wrong with the body; for calls without an idempotency key.
    ///
    /// # Errors
    /// 408 `request_timeout`, 413 `payload_too_large`, 415 `unsupported_media_type`, 400 `malformed_request` or 422
    /// `validation_failed`.
    pub fn into_input(self) -> Checked<T> {
        self.input
    }

    fn read(received: Checked<Bytes>, read: impl FnOnce(&Bytes) -> Checked<T>) -> Self {
        match received {
            Err(failure) => Self { input: Err(failure), fingerprint: None },
            Ok(bytes) => {
                let fingerprint = sha256_array(&digest::digest(&digest::SHA256, &bytes));
                Self { input: read(&bytes), fingerprint: Some(fingerprint) }
            }
        }
    }
}

impl<T> Received for Body<T> {
    type Input = T;

    fn fingerprint(&self) -> Option<[u8; 32]> {
        self.fingerprint
    }

    fn into_input(self) -> Checked<T> {
        self.input
    }
}

type Extracting<T> = Pin<Box<dyn Future<Output = Result<T, Infallible>>>>;

impl<T> FromRequest for Body<T>
where
    T: DeserializeOwned + PartialSchema + Validate<Context = ()> + 'static,
{
    type Error = Infallible;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (content_type, query) = (content_type(request), without_query(request));
        let older = Older::of(request);
        let receiving = receive(request, payload.take());
        Box::pin(async move {
            Ok(Self::read(receiving.await, |bytes| {
                content_type.admit(bytes)?;
                let input = read_json(bytes, older.as_ref())?;
                query.map(|()| input)
            }))
        })
    }
}

/// A JSON body that may be left out, as the reason of `POST …/cancel`: without a byte it is the default of the DTO. The
/// documentation says `request_body = Option<Dto>`.
#[derive(Debug)]
pub struct OptionalBody<T>(Body<T>);

impl<T> Received for OptionalBody<T> {
    type Input = T;

    fn fingerprint(&self) -> Option<[u8; 32]> {
        self.0.fingerprint()
    }

    fn into_input(self) -> Checked<T> {
        self.0.into_input()
    }
}

impl<T> FromRequest for OptionalBody<T>
where
    T: Default + DeserializeOwned + PartialSchema + Validate<Context = ()> + 'static,
{
    type Error = Infallible;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (content_type, query) = (content_type(request), without_query(request));
        let older = Older::of(request);
        let receiving = receive(request, payload.take());
        Box::pin(async move {
            Ok(Self(Body::read(receiving.await, |bytes| {
                let input = if bytes.is_empty() {
                    T::default()
                } else {
                    content_type.admit(bytes)?;
                    read_json(bytes, older.as_ref())?
                };
                query.map(|()| input)
            })))
        })
    }
}

/// Reads a body as the handler takes it, whatever version the client has. The fingerprint of an idempotency key is that of
/// the bytes which were sent.
fn read_json<T>(bytes: &Bytes, older: Option<&Older>) -> Checked<T>
where
    T: DeserializeOwned + PartialSchema + Validate<Context = ()>,
{
    match older {
        None => json::from_slice(bytes),
        Some(older) => json::from_slice_through(bytes, |body| older.request(body)),
    }
}

/// The body of a call that takes none, `POST …/publish` for example. Its content is ignored, but an idempotency key
/// protects it all the same.
#[derive(Debug)]
pub struct NoBody(Body<()>);

impl Received for NoBody {
    type Input = ();

    fn fingerprint(&self) -> Option<[u8; 32]> {
        self.0.fingerprint()
    }

    fn into_input(self) -> Checked<()> {
        self.0.into_input()
    }
}

impl FromRequest for NoBody {
    type Error = Infallible;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let query = without_query(request);
        let receiving = receive(request, payload.take());
        Box::pin(async move { Ok(Self(Body::read(receiving.await, |_| query))) })
    }
}

/// Whether the body is of a type that is read here.
enum ContentType {
    Json,
    Missing,
    Other,
}

fn content_type(request: &HttpRequest) -> ContentType {
    let encoded = request
        .headers()
        .get(header::CONTENT_ENCODING)
        .is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    let Some(value) = request.headers().get(header::CONTENT_TYPE) else {
        return if encoded { ContentType::Other } else { ContentType::Missing };
    };
    let value = value.to_str().unwrap_or_default();
    let mut parts = value.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let json = essence.eq_ignore_ascii_case("application/json")
        || (request.method() == Method::PATCH
            && essence.eq_ignore_ascii_case("application/merge-patch+json"));
    // RFC 8259 knows no charset parameter, but many clients send the only one that would be right.
    let parameters = parts.all(|parameter| {
        parameter.is_empty()
            || parameter.split_once('=').is_some_and(|(name, charset)| {
                name.trim().eq_ignore_ascii_case("charset")
                    && charset.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
            })
    });
    if json && parameters && !encoded { ContentType::Json } else { ContentType::Other }
}

impl ContentType {
    fn admit(&self, body: &Bytes) -> Checked<()> {
        match self {
            Self::Json => Ok(()),
            // Without a body there is nothing to have a type: that is said by the reader.
            Self::Missing if body.is_empty() => Ok(()),
            Self::Missing | Self::Other => Err(Failure::new(
                Code::UnsupportedMediaType,
                "The body must be uncompressed JSON with Content-Type: application/json.",
            )),
        }
    }
}

/// Receives a body within its limits. One that is announced as too large is not read at all.
fn receive(
    request: &HttpRequest,
    payload: Payload,
) -> impl Future<Output = Checked<Bytes>> + use<> {
    let limits = http_of(request).settings.body;
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse::<u64>().ok());
    async move {
        if announced.is_some_and(|length| length > limits.max_bytes as u64) {
            return Err(too_large(limits));
        }
        read_all(payload, limits).await
    }
}

async fn read_all(mut payload: Payload, limits: BodyLimits) -> Checked<Bytes> {
    let start = Instant::now();
    let mut body = BytesMut::new();
    loop {
        let patience = start + patience(limits, body.len());
        let chunk = match tokio::time::timeout_at(patience, payload.next()).await {
            Err(_) => return Err(too_slow()),
            Ok(None) => return Ok(body.freeze()),
            Ok(Some(Err(error))) => {
                return Err(Failure {
                    source: Some(Source::from(error.to_string()).into()),
                    ..Failure::new(Code::MalformedRequest, "The body did not arrive whole.")
                });
            }
            Ok(Some(Ok(chunk))) => chunk,
        };
        if body.len() + chunk.len() > limits.max_bytes {
            return Err(too_large(limits));
        }
        body.extend_from_slice(&chunk);
    }
}

/// Until when, counted from the start, the next bytes may be waited for: the moment at which the average rate would
/// fall below the minimum, and never past the deadline.
fn patience(limits: BodyLimits, received: usize) -> Duration {
    let received = u32::try_from(received).unwrap_or(u32::MAX);
    let at_min_rate = Duration::from_secs(1) * received / limits.min_rate.max(1);
    (limits.grace + at_min_rate).min(limits.deadline)
}

fn too_large(limits: BodyLimits) -> Failure {
    Failure::new(
        Code::PayloadTooLarge,
        format!("The body is larger than {} bytes.", limits.max_bytes),
    )
}

fn too_slow() -> Failure {
    Failure::new(Code::RequestTimeout, "The body did not arrive in time.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_follows_the_average_rate_up_to_the_deadline() {
        let limits = BodyLimits::default();
        assert_eq!(patience(limits, 0), Duration::from_secs(5));
        assert_eq!(patience(limits, 500), Duration::from_secs(6));
        assert_eq!(patience(limits, 10_000), Duration::from_secs(25));
        assert_eq!(patience(limits, 1_000_000), Duration::from_secs(30));
    }
}
