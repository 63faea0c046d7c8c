//! Who this request is: its id, its place in a trace, its span.

use std::fmt;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{StatusCode, header};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpResponse, ResponseError};
use convene_application::kernel::error::Failure;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::security;
use crate::extract::http_of;
use crate::problem::{self, Problem, ProblemDetails};
use crate::state::Http;
use crate::trace::TraceParent;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_LENGTH: usize = 128;

/// How logs, events and the client know this request.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestIds {
    /// The client's id if it is well-formed, else a new one.
    pub(crate) request_id: String,
    /// The `traceparent` that continues from here.
    pub(crate) traceparent: Option<String>,
}

/// Gives the request its ids and its span, and the reply its request id.
pub(crate) async fn identify(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let http = http_of(request.request());
    let request_id = kept_id(request.headers()).unwrap_or_else(|| new_id(&http));
    let parent = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
    let own = TraceParent::continued(parent.and_then(TraceParent::parse), &*http.ports.random);
    let span = tracing::info_span!(
        "http.request",
        request_id,
        trace_id = own.trace_id(),
        method = %request.method(),
        path = request.path(),
        user = Empty,
        community = Empty,
        event = Empty,
        rsvp = Empty,
        webhook = Empty,
        delivery = Empty,
    );
    let exported = http.ports.tracer.as_ref().and_then(|tracer| tracer.join(&span, parent));
    let traceparent = Some(exported.unwrap_or_else(|| own.to_string()));
    let relaxed = security::is_relaxed(request.path());
    request.extensions_mut().insert(RequestIds { request_id: request_id.clone(), traceparent });

    let outcome = next.call(request).instrument(span.clone()).await;
    let id = HeaderValue::from_str(&request_id).unwrap_or(HeaderValue::from_static("unknown"));
    match outcome {
        Ok(mut response) => {
            response.headers_mut().insert(REQUEST_ID, id);
            Ok(response.map_into_boxed_body())
        }
        Err(error) => {
            let mut answer = span.in_scope(|| LastAnswer::of(&error, &http, &request_id));
            security::add_headers(&mut answer.headers, relaxed);
            answer.headers.insert(REQUEST_ID, id);
            Err(answer.into())
        }
    }
}

fn kept_id(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(REQUEST_ID);
    let (id, another) = (values.next()?.to_str().ok()?, values.next());
    let form = (1..=MAX_LENGTH).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    (form && another.is_none()).then(|| id.to_owned())
}

fn new_id(http: &Http) -> String {
    http.ports.random.uuid(http.ports.clock.now()).to_string()
}

/// What is answered when there is no reply to put headers on: a handler panicked, and the request went down with it.
/// actix makes the reply out of the error itself.
#[derive(Debug)]
struct LastAnswer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl LastAnswer {
    fn of(error: &Error, http: &Http, request_id: &str) -> Self {
        let problem = error
            .as_error::<Problem>()
            .cloned()
            .unwrap_or_else(|| Failure::internal(error.to_string()).into());
        problem::log(problem.failure(), None);
        let response = problem.error_response();
        let base = &http.settings.public_url;
        let details = ProblemDetails::of(problem.failure(), response.status(), base, request_id);
        let mut headers = response.headers().clone();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Self { status: response.status(), headers, body: details.to_json() }
    }
}

impl fmt::Display for LastAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)
    }
}

impl ResponseError for LastAnswer {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response =
            HttpResponse::with_body(self.status, self.body.clone()).map_into_boxed_body();
        *response.headers_mut() = self.headers.clone();
        response
    }
}
