//! The access log and the metrics of requests, with a bounded set of labels.

use std::time::Instant;

use actix_web::Error;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;

/// Counts and times the request, and writes one line about it.
pub(crate) async fn measure(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let method = method_label(request.method());
    let begun = Instant::now();
    let in_flight = Gauge::enter();
    let outcome = next.call(request).await;
    drop(in_flight);

    let (status, route, bytes) = match &outcome {
        Ok(response) => (
            response.status(),
            response.request().match_pattern(),
            match response.response().body().size() {
                BodySize::Sized(bytes) => Some(bytes),
                BodySize::None => Some(0),
                BodySize::Stream => None,
            },
        ),
        Err(error) => (error.as_response_error().status_code(), None, None),
    };
    let route = route.unwrap_or_else(|| "unmatched".to_owned());
    let elapsed = begun.elapsed();
    tracing::info!(
        target: "convene_http::access",
        route,
        status = status.as_u16(),
        duration_ms = elapsed.as_secs_f64() * 1000.0,
        bytes,
        "request finished"
    );
    metrics::counter!(
        "http_requests_total",
        "method" => method, "route" => route.clone(), "status" => status.as_str().to_owned()
    )
    .increment(1);
    metrics::histogram!("http_request_duration_seconds", "method" => method, "route" => route)
        .record(elapsed.as_secs_f64());
    outcome
}

/// Methods can be made up, labels must not be.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// One request in flight; dropped with the request, also when the client goes away.
struct Gauge;

impl Gauge {
    fn enter() -> Self {
        metrics::gauge!("http_requests_in_flight").increment(1);
        Self
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        metrics::gauge!("http_requests_in_flight").decrement(1);
    }
}
