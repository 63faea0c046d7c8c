//! Failures as `application/problem+json` (RFC 9457): the one place where a [`Failure`] becomes a reply, and where its
//! causes are logged.
//!
//! Handlers and extractors return [`Problem`]; the `problems` middleware puts the body on it, because only
//! there the request id is known. The same middleware turns what did not come from Convene (actix's own errors, CORS,
//! content negotiation) into the same form.

mod catalogue;
mod mistakes;
mod pages;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use convene_application::kernel::error::{Code, Failure, FieldError, Place};
use serde::Serialize;
use utoipa::ToSchema;

pub(crate) use catalogue::{code_of, entry};
pub use mistakes::MISTAKES;
pub(crate) use mistakes::known;
pub(crate) use pages::{index, page};

/// The media type of every failure.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// A failure on its way to the client.
#[derive(Clone, Debug)]
pub struct Problem(Arc<Failure>);

impl Problem {
    /// The failure behind it.
    #[must_use]
    pub fn failure(&self) -> &Failure {
        &self.0
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self(Arc::new(failure))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        entry(self.0.code).status
    }

    /// Status and headers; the body comes from the middleware.
    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::new(self.status_code());
        add_headers(&self.0, response.headers_mut());
        if matches!(self.0.code, Code::PayloadTooLarge | Code::RequestTimeout) {
            // The rest of the body is not going to be read.
            response.head_mut().set_connection_type(actix_web::http::ConnectionType::Close);
        }
        response
    }
}

/// The headers that the codes call for.
fn add_headers(failure: &Failure, headers: &mut HeaderMap) {
    if entry(failure.code).status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(seconds) = retry_after(failure) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
}

/// In whole seconds, rounded up; 503 and 429 always say something.
fn retry_after(failure: &Failure) -> Option<u64> {
    let asked = failure
        .retry_after
        .map(|after| after.as_secs() + u64::from(after.subsec_nanos() > 0))
        .map(|seconds| seconds.max(1));
    match failure.code {
        Code::RateLimited | Code::Overloaded | Code::Unavailable => asked.or(Some(1)),
        _ => asked,
    }
}

/// The body of every failure (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDetails {
    /// Where the code is explained.
    #[schema(format = "uri", example = "https://convene.example/docs/problems/validation_failed")]
    pub r#type: String,
    /// A few words, the same for each occurrence of the code.
    #[schema(example = "Invalid fields")]
    pub title: &'static str,
    /// The HTTP status.
    #[schema(example = 422)]
    pub status: u16,
    /// A sentence about this occurrence, for people.
    #[schema(example = "The request has invalid fields.")]
    pub detail: String,
    /// The stable code, for programs.
    #[schema(example = "validation_failed")]
    pub code: &'static str,
    /// The id of the request, to be told to the operator.
    #[schema(example = "019ab3c4-7d5e-7a60-8f2b-6c1d9e0f4a37")]
    pub request_id: String,
    /// The single mistakes, if the input was wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemError>,
}

/// One mistake in the input: in the body (`pointer`) or in the query (`parameter`).
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemError {
    /// Where in the body, as a JSON pointer (RFC 6901).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "/party_size")]
    pub pointer: Option<String>,
    /// Which query parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "limit")]
    pub parameter: Option<String>,
    /// The stable code of the mistake.
    #[schema(example = "out_of_range")]
    pub code: &'static str,
    /// A sentence for people.
    #[schema(example = "must be at most 10")]
    pub detail: Cow<'static, str>,
}

impl From<&FieldError> for ProblemError {
    fn from(error: &FieldError) -> Self {
        debug_assert!(known(error.code).is_some(), "{} is not in the list of mistakes", error.code);
        let (pointer, parameter) = match &error.place {
            Place::Pointer(pointer) => (Some(pointer.clone()), None),
            Place::Parameter(name) => (None, Some(name.clone())),
        };
        Self { pointer, parameter, code: error.code, detail: error.detail.clone() }
    }
}

impl ProblemDetails {
    /// Describes a failure. `base` is the public URL of the API, without a slash at the end.
    pub(crate) fn of(failure: &Failure, status: StatusCode, base: &str, request_id: &str) -> Self {
        let code: &'static str = failure.code.into();
        Self {
            r#type: format!("{base}/docs/problems/{code}"),
            title: entry(failure.code).title,
            status: status.as_u16(),
            detail: failure.detail.to_string(),
            code,
            request_id: request_id.to_owned(),
            errors: failure.errors.iter().map(ProblemError::from).collect(),
        }
    }

    /// The bytes of the body.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        crate::reply::inert(serde_json::to_vec(self).expect("strings and numbers always serialise"))
    }
}

/// Writes the whole chain of causes to the log: failures of the server as errors, the rest as a debugging aid. Called
/// once per failed request, inside its span. The request tells its route, where it is known.
pub(crate) fn log(failure: &Failure, request: Option<&HttpRequest>) {
    let status = entry(failure.code).status;
    let code: &'static str = failure.code.into();
    if failure.source.is_none() {
        // What is shed is counted, and in the access log: one more line would cost more than the answer.
        if status.is_server_error() && failure.code != Code::Overloaded {
            tracing::warn!(code, detail = %failure.detail, "request failed");
        }
        return;
    }
    let cause = Chain(failure);
    if status.is_server_error() {
        let route = request.and_then(HttpRequest::match_pattern);
        tracing::error!(code, route, error = %cause, "request failed");
    } else {
        tracing::debug!(code, error = %cause, "request refused");
    }
}

/// An error's causes, outermost first, each said once.
struct Chain<'a>(&'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use convene_application::kernel::store::Source;

    use super::*;

    #[test]
    fn tells_the_mistakes_and_nothing_internal() {
        let failure = Failure {
            source: Some(Source::from("password=hunter2").into()),
            ..Failure::invalid(vec![FieldError::field(
                "name",
                "too_short",
                "must have at least 1 characters",
            )])
        };
        let body = ProblemDetails::of(
            &failure,
            StatusCode::UNPROCESSABLE_ENTITY,
            "https://a.example",
            "r-1",
        );
        let json: serde_json::Value = serde_json::from_slice(&body.to_json()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "https://a.example/docs/problems/validation_failed",
                "title": "Invalid fields",
                "status": 422,
                "detail": "The request has invalid fields.",
                "code": "validation_failed",
                "request_id": "r-1",
                "errors": [{
                    "pointer": "/name", "code": "too_short", "detail": "must have at least 1 characters",
                }],
            })
        );
    }

    #[test]
    fn rounds_waiting_up_and_never_to_nothing() {
        let limited = |after| retry_after(&Failure::rate_limited(after));
        assert_eq!(limited(Duration::from_millis(1)), Some(1));
        assert_eq!(limited(Duration::from_millis(1_001)), Some(2));
        assert_eq!(limited(Duration::ZERO), Some(1));
        assert_eq!(retry_after(&Failure::new(Code::Unavailable, "")), Some(1));
        assert_eq!(retry_after(&Failure::not_found()), None);
    }

    #[test]
    fn the_chain_names_each_cause_once() {
        let inner = std::io::Error::other("refused");
        let failure = Failure::unavailable(inner);
        assert!(Chain(&failure).to_string().ends_with("Try again shortly.: refused"));
    }
}
