//! A panic in a handler is one failed request, not a lost connection.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use convene_application::kernel::error::Failure;
use futures::FutureExt as _;

use crate::problem::Problem;

/// Turns a panic into a failure. Use cases run as tasks of their own, so only extractors, handlers and rendering can
/// panic here; they share nothing that could be left half done.
pub(crate) async fn catch_panics(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    match AssertUnwindSafe(next.call(request)).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(panic) => {
            let cause = format!("a handler panicked: {}", message(&*panic));
            Err(Problem::from(Failure::internal(cause)).into())
        }
    }
}

pub(crate) fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
