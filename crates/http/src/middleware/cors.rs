//! Cross-origin requests, for the configured origins alone.

use actix_cors::Cors;
use actix_web::http::header::{self, HeaderName};

use crate::settings::Settings;

/// How long browsers may keep the answer to a preflight, in seconds.
const MAX_AGE: usize = 3_600;

/// The rules: bearer tokens instead of cookies, so credentials are not allowed and any origin may be.
pub(crate) fn cors(settings: &Settings) -> Cors {
    let rules = Cors::default()
        .allowed_methods(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
        .allowed_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            HeaderName::from_static("convene-version"),
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("traceparent"),
            HeaderName::from_static("x-request-id"),
        ])
        .expose_headers([
            "ETag",
            "Link",
            "Location",
            "RateLimit",
            "RateLimit-Policy",
            "Retry-After",
            "Convene-Version",
            "Deprecation",
            "Sunset",
            "Idempotent-Replayed",
            "X-Request-Id",
        ])
        .max_age(MAX_AGE);
    if settings.cors_origins.iter().any(|origin| origin == "*") {
        return rules.allow_any_origin().send_wildcard();
    }
    settings.cors_origins.iter().fold(rules, |rules, origin| rules.allowed_origin(origin))
}
