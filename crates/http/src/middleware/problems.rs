//! Every failure in one form.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _};
use convene_application::kernel::error::Failure;
use convene_application::kernel::store::Source;

use super::RequestIds;
use crate::extract::{Ctx, http_of};
use crate::problem::{self, Problem, ProblemDetails, code_of, entry};

/// Gives a failed reply its problem body, logs the cause, and has a refusal audited. A reply that has one already passes.
pub(crate) async fn problems(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let mut response = next.call(request).await?.map_into_boxed_body();
    let status = response.status();
    let failed = status.is_client_error() || status.is_server_error();
    if !failed || is_problem(&response) {
        return Ok(response);
    }
    let http = http_of(response.request());
    let ids = response.request().extensions().get::<RequestIds>().cloned().unwrap_or_default();
    let base = &http.settings.public_url;
    let body = match response.response().error().and_then(|error| error.as_error::<Problem>()) {
        Some(problem) => {
            problem::log(problem.failure(), Some(response.request()));
            if let Some(refused) = &problem.failure().refused {
                let Ctx(context) = Ctx::of(response.request());
                http.ports.refusals.note(context, (**refused).clone());
            }
            ProblemDetails::of(problem.failure(), status, base, &ids.request_id)
        }
        None => {
            let failure = foreign(status, response.response().error());
            problem::log(&failure, Some(response.request()));
            ProblemDetails::of(&failure, status, base, &ids.request_id)
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.remove(header::CONTENT_ENCODING);
    headers.remove(header::ETAG);
    Ok(response.map_body(|_, _| BoxBody::new(body.to_json())))
}

fn is_problem(response: &ServiceResponse<BoxBody>) -> bool {
    response.headers().get(header::CONTENT_TYPE).is_some_and(|value| value == problem::CONTENT_TYPE)
}

/// A failure that actix or one of its middlewares answered with. Its text may name what is inside, so it only goes to the
/// log.
fn foreign(status: StatusCode, error: Option<&Error>) -> Failure {
    let code = code_of(status);
    let source = error.map(|error| Source::from(error.to_string()).into());
    let detail = status.canonical_reason().unwrap_or(entry(code).title);
    Failure { source, ..Failure::new(code, format!("{detail}.")) }
}
