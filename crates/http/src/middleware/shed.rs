//! Shedding load: better some requests answered in time than all of them late.

use std::time::Duration;

use actix_web::Error;
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use convene_application::kernel::error::Failure;

use crate::extract::http_of;
use crate::problem::Problem;

/// What operators ask must be answered most of all when there is too much to do.
const ALWAYS_SERVED: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// Refuses requests beyond the cap with 503.
pub(crate) async fn shed<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let place = http_of(request.request()).admit();
    if place.is_none() && !ALWAYS_SERVED.contains(&request.path()) {
        metrics::counter!("http_requests_shed_total").increment(1);
        let problem = Problem::from(Failure::overloaded(Duration::from_secs(1)));
        return Ok(request.error_response(problem).map_into_right_body());
    }
    let response = next.call(request).await?;
    drop(place);
    Ok(response.map_into_left_body())
}
