//! Headers that tell browsers to trust nothing (after the OWASP REST and HTTP-headers cheat sheets), and caches what they
//! may keep.

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;

const STRICT: &str = "default-src 'none'; frame-ancestors 'none'";
/// The pages for people have scripts and styles of our own. Swagger UI sets styles inline; scripts never are.
const RELAXED: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                       img-src 'self' data:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; \
                       form-action 'none'; frame-ancestors 'none'";

const ALWAYS: [(HeaderName, HeaderValue); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (
        header::STRICT_TRANSPORT_SECURITY,
        HeaderValue::from_static("max-age=63072000; includeSubDomains"),
    ),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
    (header::CROSS_ORIGIN_OPENER_POLICY, HeaderValue::from_static("same-origin")),
];

/// Whether the path is one of the pages for people.
pub(super) fn is_relaxed(path: &str) -> bool {
    ["/docs", "/dev/mail"].iter().any(|page| {
        path.strip_prefix(page).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

pub(super) fn add_headers(headers: &mut HeaderMap, relaxed: bool) {
    let policy = HeaderValue::from_static(if relaxed { RELAXED } else { STRICT });
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    for (name, value) in ALWAYS {
        headers.insert(name, value);
    }
}

/// Puts the headers on every reply.
pub(crate) async fn security_headers(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let relaxed = is_relaxed(request.path());
    let mut response = next.call(request).await?;
    add_headers(response.headers_mut(), relaxed);
    Ok(response)
}

/// Says what caches may do with a reply of the API: what was asked with credentials stays private and is asked for again
/// each time, and everything but a good read is never stored, tokens and secrets among it.
pub(crate) async fn cache_control(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let api = request.path().starts_with("/v1/");
    let read = matches!(*request.method(), Method::GET | Method::HEAD);
    let authorized = request.headers().contains_key(header::AUTHORIZATION);
    let mut response = next.call(request).await?;
    let status = response.status();
    if api {
        let kept = read && !status.is_client_error() && !status.is_server_error();
        let rule = match (kept, authorized) {
            (false, _) => "no-store",
            (true, true) => "private, no-cache",
            (true, false) => "no-cache",
        };
        let headers = response.headers_mut();
        if !headers.contains_key(header::CACHE_CONTROL) {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(rule));
        }
        headers.append(header::VARY, HeaderValue::from_static("authorization"));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pages_for_people_are_relaxed() {
        for page in ["/docs", "/docs/", "/docs/problems/internal", "/dev/mail", "/dev/mail/1"] {
            assert!(is_relaxed(page), "{page}");
        }
        for page in ["/", "/docsx", "/v1/docs", "/openapi.json", "/dev/mailbox"] {
            assert!(!is_relaxed(page), "{page}");
        }
    }
}
