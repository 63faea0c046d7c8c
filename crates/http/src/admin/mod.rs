//! The API of the platform's administrators: on a listener of its own, and nothing on it for anybody else.
//!
//! `guard` lies around every route, so a handler cannot forget to ask: who is no administrator is refused, and a change
//! without a reason too. What is documented here is not in the public document.

mod guard;
mod jobs;
mod log_filter;
mod ports;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::web::Data;
use actix_web::{App, Error, HttpResponse, get};
use convene_application::auth::AdminAccess;
use convene_application::kernel::operate::jobs::JobOperator;
use utoipa::openapi::OpenApi;
use utoipa_actix_web::{AppExt as _, scope};

pub use ports::{
    Dependency, FeedState, LogFilterControl, LogFilterState, PoolState, ProcessStatus, Reports,
};

use crate::app::wrapped;
use crate::openapi::{self, RouteInfo};
use crate::state::Http;
use crate::{Routes, reply};

/// What is behind the routes.
#[derive(Clone)]
pub struct AdminServices {
    /// Lets administrators in.
    pub access: AdminAccess,
    /// The jobs of the installation.
    pub jobs: JobOperator,
    /// How the process and the installation are doing.
    pub reports: Arc<dyn Reports>,
    /// What the process logs; none where something else logs for it.
    pub log_filter: Option<Arc<dyn LogFilterControl>>,
}

/// The administrators' API, for `HttpServer::new(move || convene_http::admin_app(&http, &services))`.
pub fn admin_app(
    http: &Arc<Http>,
    services: &AdminServices,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse,
        Error = Error,
        InitError = (),
    > + use<>,
> {
    let services = services.clone();
    wrapped(
        http,
        Box::new(move |routes| {
            routes.app_data(Data::new(services));
            admin_routes(routes);
        }),
    )
}

/// The OpenAPI document of what [`admin_app`] serves.
#[must_use]
pub fn admin_openapi() -> OpenApi {
    let (_, document) = App::new()
        .into_utoipa_app()
        .openapi(openapi::base())
        .configure(admin_routes)
        .split_for_parts();
    let mut document = openapi::complete(document);
    "Convene, for administrators of the platform".clone_into(&mut document.info.title);
    document.info.description = Some(DESCRIPTION.to_owned());
    document
}

/// The routes of the administrators' API, by path.
#[must_use]
pub fn admin_route_infos() -> Vec<RouteInfo> {
    openapi::route_infos(admin_openapi())
}

const DESCRIPTION: &str = "\
How an installation is doing, and what can be done about it. For administrators of the platform alone, on a listener of its \
own (`admin.bind`), with the access token of `POST /v1/auth/login`.

Each change needs a reason in `Convene-Reason` (8 to 500 characters), which is written to the audit log before anything is \
done. Refusals are audited too. Failures look as they do everywhere else.";

fn admin_routes(routes: &mut Routes<'_>) {
    routes.service(
        scope::scope("/admin")
            .wrap(from_fn(guard::guard))
            .service(status::read_status)
            .service(log_filter::read_log_filter)
            .service(log_filter::set_log_filter)
            .service(jobs::list_jobs)
            .service(jobs::redrive_jobs)
            .service(jobs::read_job)
            .service(jobs::retry_job)
            .service(jobs::cancel_job)
            .service(read_document),
    );
}

/// Read the document of this API.
///
/// OpenAPI 3.1, as `convene openapi --admin` prints it.
#[utoipa::path(
    tag = "admin",
    operation_id = "get_admin_openapi",
    responses((status = 200, description = "The document.", body = serde_json::Value, example = json!({"openapi": "3.1.0"}))),
)]
#[get("/openapi.json")]
async fn read_document() -> HttpResponse {
    reply::json(&admin_openapi())
}
