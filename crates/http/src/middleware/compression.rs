//! What compression needs around actix's `Compress`.

use actix_web::Error;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::middleware::Next;

use crate::etag::SUFFIXES;

/// Below this size a coding's own overhead eats what it saves.
const WORTH_COMPRESSING: u64 = 128;

/// Outside of `Compress`: a compressed reply is another representation, so its tag is another one (RFC 9110 §8.8.3.3).
pub(crate) async fn mark_tags(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let mut response = next.call(request).await?;
    let headers = response.headers_mut();
    match headers.get(header::CONTENT_ENCODING).and_then(|coding| coding.to_str().ok()) {
        Some("identity") => {
            headers.remove(header::CONTENT_ENCODING);
        }
        Some(coding) => {
            if let Some(marked) = marked(headers, coding) {
                headers.insert(header::ETAG, marked);
            }
        }
        None => {}
    }
    Ok(response)
}

fn marked(headers: &HeaderMap, coding: &str) -> Option<HeaderValue> {
    let (_, suffix) = SUFFIXES.iter().find(|(known, _)| *known == coding)?;
    let tag = headers.get(header::ETAG)?.to_str().ok()?.strip_suffix('"')?;
    HeaderValue::from_str(&format!("{tag}{suffix}\"")).ok()
}

/// Inside of `Compress`: what is too small is marked as identity, which `Compress` leaves alone.
pub(crate) async fn spare_small(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let mut response = next.call(request).await?;
    let small = matches!(
        response.response().body().size(),
        BodySize::Sized(bytes) if bytes < WORTH_COMPRESSING
    );
    if small && !response.headers().contains_key(header::CONTENT_ENCODING) {
        response
            .headers_mut()
            .insert(header::CONTENT_ENCODING, HeaderValue::from_static("identity"));
    }
    Ok(response)
}
