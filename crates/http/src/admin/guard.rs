//! Deny by default: what every request to an administrator's route has to pass.

use std::convert::Infallible;
use std::future::{Ready, ready};

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, FromRequest, HttpRequest};
use convene_application::auth::Reason;
use convene_application::kernel::authz::Action;
use convene_application::kernel::context::Principal;
use convene_application::kernel::error::{Code, Failure};
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{ObjectBuilder, Required, Type};

use super::AdminServices;
use crate::extract::{Authentication, Ctx, authentication, http_of};
use crate::problem::Problem;

const REASON: &str = "convene-reason";

/// Lets administrators through: 401 to whoever is unknown, 403 to everybody else, whatever the path, and 422 where a change
/// has no reason. A change is in the audit log before its handler runs. Replies are never stored.
pub(super) async fn guard<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    if let Err(problem) = admit(request.request()).await {
        return Ok(request.error_response(problem).map_into_right_body());
    }
    let mut response = next.call(request).await?.map_into_left_body();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn admit(request: &HttpRequest) -> Result<(), Problem> {
    let principal: Principal = match authentication(request) {
        Authentication::Known(principal) => principal,
        Authentication::Anonymous => return Err(Failure::unauthenticated().into()),
        Authentication::Failed(problem) => return Err(problem),
    };
    let services = request.app_data::<Data<AdminServices>>().cloned();
    let services = services.ok_or_else(|| Failure::internal("the services are not registered"))?;
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let action = if reads { Action::InspectPlatform } else { Action::OperatePlatform };
    // What matches no route has no object, and is answered as such to administrators alone.
    let route = request.match_pattern();
    let object = match &route {
        Some(_) => format!("{} {}", request.method(), request.path()),
        None => "unmatched".to_owned(),
    };
    let (http, Ctx(context)) = (http_of(request), Ctx::of(request));
    let reason = reason(request.headers());
    let changes = !reads && route.is_some();
    http.run(async move {
        services.access.require(principal, action, &object).await?;
        if changes {
            services.access.record(&context, action, &object, &reason?).await?;
        }
        Ok(())
    })
    .await
}

fn reason(headers: &HeaderMap) -> Result<Reason, Failure> {
    let mut given = headers.get_all(REASON);
    let text = match (given.next(), given.next()) {
        (Some(value), None) => std::str::from_utf8(value.as_bytes()).unwrap_or_default(),
        _ => "",
    };
    Reason::new(text).map_err(|wanted| {
        let detail = format!("Say why in the header Convene-Reason: {wanted}.");
        Failure::new(Code::ValidationFailed, detail)
    })
}

/// Documents the header that each change needs; the guard reads it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReasonHeader;

impl FromRequest for ReasonHeader {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(_: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self))
    }
}

impl IntoParams for ReasonHeader {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(8))
            .max_length(Some(500))
            .examples(["Ticket 4711: the mail server was down"])
            .build();
        let parameter = ParameterBuilder::new()
            .parameter_in(ParameterIn::Header)
            .name("Convene-Reason")
            .required(Required::True)
            .description(Some("Why, for the audit log."))
            .schema(Some(schema))
            .build();
        vec![parameter]
    }
}
