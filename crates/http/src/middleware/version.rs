//! `Convene-Version`: the date whose behaviour a client is written for. What changes within `/v1` only adds; where that is
//! not possible, a client that pins a date keeps what it knows.

use actix_web::Error;
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use convene_application::kernel::error::{Code, Failure};
use jiff::civil::Date;

use crate::problem::Problem;

const NAME: HeaderName = HeaderName::from_static("convene-version");
/// The date of the last dated change: what a client gets that pins nothing.
const CURRENT: &str = "2026-11-23";

/// Refuses what is no date, and tells with every reply which date's behaviour it shows.
pub(crate) async fn pin_version<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let pinned = match request.headers().get(&NAME) {
        None => HeaderValue::from_static(CURRENT),
        Some(value) if is_date(value) => value.clone(),
        Some(_) => {
            let detail = "Convene-Version must be a date of the form YYYY-MM-DD.";
            let problem = Problem::from(Failure::new(Code::MalformedRequest, detail));
            return Ok(request.error_response(problem).map_into_right_body());
        }
    };
    let mut response = next.call(request).await?;
    response.headers_mut().insert(NAME, pinned);
    Ok(response.map_into_left_body())
}

fn is_date(value: &HeaderValue) -> bool {
    value.to_str().is_ok_and(|text| text.len() == 10 && text.parse::<Date>().is_ok())
}
