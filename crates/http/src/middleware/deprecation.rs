//! Telling clients what goes away, as the OpenAPI document says.

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::Data;

use crate::openapi::Document;

/// Adds `Deprecation` (RFC 9745), `Sunset` (RFC 8594) and a link to the explanation to each reply of an operation that is
/// marked as deprecated.
pub(crate) async fn announce_deprecation(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let document = request.app_data::<Data<Document>>().cloned();
    let mut response = next.call(request).await?;
    let Some(document) = document.filter(|document| document.deprecates) else {
        return Ok(response);
    };
    let pattern = response.request().match_pattern();
    let operation = pattern
        .and_then(|pattern| document.operation(response.request().method(), &pattern))
        .filter(|operation| !operation.notice.is_empty());
    if let Some(operation) = operation {
        for (name, value) in &operation.notice {
            // A page of a list has links of its own.
            response.headers_mut().append(name.clone(), value.clone());
        }
    }
    Ok(response)
}
