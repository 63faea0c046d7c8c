//! The access log and the metrics of requests, with a bounded set of labels.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Instant;

use actix_web::Error;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use metrics::{Counter, Histogram};

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
    let route = route.as_deref().unwrap_or("unmatched");
    let elapsed = begun.elapsed();
    tracing::info!(
        target: "convene_http::access",
        route,
        status = status.as_u16(),
        duration_ms = elapsed.as_secs_f64() * 1000.0,
        bytes,
        "request finished"
    );
    with_meters(route, method, status, |meters| {
        meters.requests.increment(1);
        meters.duration.record(elapsed.as_secs_f64());
    });
    outcome
}

/// The meters of one route, method and status.
struct Meters {
    requests: Counter,
    duration: Histogram,
}

/// By route, then by method and status: looked up without a copy of the route.
type MetersByRoute = HashMap<String, HashMap<(&'static str, StatusCode), Meters>>;

thread_local! {
    /// To find a meter by its labels costs more than all else that is measured here. Routes, methods and statuses are few.
    static METERS: RefCell<MetersByRoute> = RefCell::default();
}

fn with_meters(
    route: &str,
    method: &'static str,
    status: StatusCode,
    record: impl FnOnce(&Meters),
) {
    METERS.with_borrow_mut(|routes| {
        if !routes.contains_key(route) {
            routes.insert(route.to_owned(), HashMap::new());
        }
        let Some(of_route) = routes.get_mut(route) else { return };
        record(of_route.entry((method, status)).or_insert_with(|| Meters {
            requests: metrics::counter!(
                "convene_http_requests_total",
                "method" => method, "route" => route.to_owned(), "status" => status.as_str().to_owned()
            ),
            duration: metrics::histogram!(
                "convene_http_request_duration_seconds", "method" => method, "route" => route.to_owned()
            ),
        }));
    });
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
        metrics::gauge!("convene_http_requests_in_flight").increment(1);
        Self
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        metrics::gauge!("convene_http_requests_in_flight").decrement(1);
    }
}
