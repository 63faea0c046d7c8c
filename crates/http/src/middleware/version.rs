//! `Convene-Version`: the date whose behaviour a client is written for. What changes within `/v1` only adds; where that is
//! not possible, a client that pins a date keeps what it knows ([`versions`](crate::versions)).

use actix_web::Error;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::Data;
use convene_application::kernel::error::{Code, Failure};

use crate::extract::http_of;
use crate::openapi::Document;
use crate::problem::Problem;
use crate::versions::{Older, Versions};

const NAME: HeaderName = HeaderName::from_static("convene-version");

/// Refuses what is no version, tells with every reply which one it shows, and translates for older ones.
pub(crate) async fn pin_version(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let versions = http_of(request.request()).settings.versions;
    let (version, refused) = match pinned(&request, &versions) {
        Ok(version) => (version, None),
        Err(failure) => (versions.pinned_by_default(), Some(failure)),
    };
    let unknown = versions.after(version);
    let mut response = if let Some(failure) = refused {
        request.error_response(Problem::from(failure)).map_into_boxed_body()
    } else if unknown.is_empty() {
        next.call(request).await?.map_into_boxed_body()
    } else {
        let older = Older::new(version, unknown, operation(&request).as_deref());
        older.prepare(&mut request);
        older.answer(next.call(request).await?).await
    };
    response.headers_mut().insert(NAME, HeaderValue::from_static(version));
    Ok(response)
}

/// The version that a request is written for.
fn pinned(request: &ServiceRequest, versions: &Versions) -> Result<&'static str, Failure> {
    let Some(value) = request.headers().get(&NAME) else {
        return Ok(versions.pinned_by_default());
    };
    versions.find(value.to_str().unwrap_or_default()).map_err(|unknown| {
        Failure::new(Code::MalformedRequest, format!("The header Convene-Version {unknown}."))
    })
}

/// Which operation is called.
fn operation(request: &ServiceRequest) -> Option<String> {
    let document = request.app_data::<Data<Document>>()?;
    let operation = document.operation(request.method(), &request.match_pattern()?)?;
    Some(operation.id.clone())
}
