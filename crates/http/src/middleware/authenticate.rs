//! Finding out who asks.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _};
use convene_application::kernel::error::Failure;

use crate::extract::{Authentication, http_of};
use crate::state::Http;

/// Checks the access token, if there is one, and leaves the outcome to the extractors: a route that asks nobody's name
/// answers whatever the token is worth.
pub(crate) async fn authenticate(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    if let Some(credentials) = request.headers().get(header::AUTHORIZATION).cloned() {
        let http = http_of(request.request());
        let outcome = check(&http, &credentials).await;
        if let Authentication::Known(principal) = &outcome {
            tracing::Span::current().record("user", tracing::field::display(principal.user));
        }
        request.extensions_mut().insert(outcome);
    }
    next.call(request).await
}

async fn check(http: &Http, credentials: &HeaderValue) -> Authentication {
    let Some(token) = bearer(credentials) else {
        return Authentication::Failed(Failure::unauthenticated().into());
    };
    match http.ports.authenticate.authenticate(token).await {
        Ok(principal) => Authentication::Known(principal),
        Err(failure) => Authentication::Failed(failure.into()),
    }
}

/// The token of `Bearer <token>` (RFC 6750 §2.1); the scheme is compared without case (RFC 9110 §11.1).
fn bearer(credentials: &HeaderValue) -> Option<&str> {
    let (scheme, token) = credentials.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_bearer_tokens_alone() {
        let read = |value: &str| bearer(&HeaderValue::from_str(value).unwrap()).map(str::to_owned);
        assert_eq!(read("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(read("bEARER  abc ").as_deref(), Some("abc"));
        for bad in ["Bearer", "Bearer ", "Basic abc", "abc", ""] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
