//! Shedding load: better some requests answered in time than all of them late.

mod controller;
mod gate;

use std::time::Duration;

use actix_web::Error;
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use convene_application::kernel::error::Failure;

use super::unread::read_off;
use crate::class::{self, Priority};
use crate::extract::http_of;
use crate::problem::Problem;

pub use gate::Connected;
pub(crate) use gate::Gate;

/// Answers 503 to what is not let in: before anybody asks who it is, and before the body is read.
pub(crate) async fn shed<B: MessageBody>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let class = class::of(request.head());
    match http_of(request.request()).gate.admit(class) {
        Ok(place) => {
            let response = next.call(request).await?;
            drop(place);
            Ok(response.map_into_left_body())
        }
        Err(refusal) => {
            let (priority, again) = match class.priority {
                Priority::Operations | Priority::High => ("high", 1),
                Priority::Middle => ("middle", 2),
                Priority::Low => ("low", 3),
            };
            let reason: &'static str = refusal.into();
            metrics::counter!("convene_http_requests_shed_total", "priority" => priority, "reason" => reason)
                .increment(1);
            read_off(&mut request).await;
            let failure = Failure::overloaded(Duration::from_secs(again));
            Ok(request.error_response(Problem::from(failure)).map_into_right_body())
        }
    }
}
