//! The application: routes inside of the middleware.

use std::sync::Arc;

use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::{Method, header};
use actix_web::middleware::{Compress, from_fn};
use actix_web::web::{self, Data};
use actix_web::{App, Error, HttpRequest, HttpResponse};
use convene_application::kernel::error::{Code, Failure};
use utoipa::openapi::OpenApi;
use utoipa_actix_web::AppExt as _;

use crate::openapi::{self, Document, RouteInfo};
use crate::problem::Problem;
use crate::state::Http;
use crate::{Routes, Services, dev_mail, docs, middleware, module_routes, operations, schemas};

/// Something that registers handlers. Boxed, so that the type of an application does not depend on what it borrows.
pub(crate) type Registration<'a> = Box<dyn FnOnce(&mut Routes<'_>) + 'a>;

/// The whole API, for `HttpServer::new(move || convene_http::app(&http, &services))` and for tests in the process. The
/// server around it must be set to [`SERVER_LIMITS`](crate::settings::SERVER_LIMITS).
pub fn app(
    http: &Arc<Http>,
    services: &Services,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse,
        Error = Error,
        InitError = (),
    > + use<>,
> {
    app_of(
        http,
        Box::new(|routes| {
            services.put_into(routes);
            module_routes(routes);
        }),
    )
}

/// Probes and metrics alone: for the worker's listener, and for a listener of operators beside the API.
pub fn operations_app(
    http: &Arc<Http>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse,
        Error = Error,
        InitError = (),
    > + use<>,
> {
    wrapped(http, Box::new(|routes| operations::routes(routes, true)))
}

/// The OpenAPI document of everything that [`app`] serves.
#[must_use]
pub fn openapi() -> OpenApi {
    let (_, document) = App::new()
        .into_utoipa_app()
        .openapi(openapi::base())
        .configure(|routes| {
            module_routes(routes);
            platform_routes(routes, true);
        })
        .split_for_parts();
    openapi::complete(document)
}

/// The routes of the API, by path.
#[must_use]
pub fn routes() -> Vec<RouteInfo> {
    openapi::route_infos(openapi())
}

fn platform_routes(routes: &mut Routes<'_>, with_metrics: bool) {
    operations::routes(routes, with_metrics);
    operations::keys(routes);
    docs::routes(routes);
    schemas::routes(routes);
}

/// An application with the given routes beside those of the platform.
pub(crate) fn app_of(
    http: &Arc<Http>,
    modules: Registration<'_>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse,
        Error = Error,
        InitError = (),
    > + use<>,
> {
    let dev_mail = http.ports.dev_mail.is_some();
    let with_metrics = http.settings.serve_metrics;
    wrapped(
        http,
        Box::new(move |routes| {
            modules(routes);
            platform_routes(routes, with_metrics);
            if dev_mail {
                dev_mail::routes(routes);
            }
        }),
    )
}

/// Routes inside of the middleware, which reads from the bottom: the last is the outermost.
pub(crate) fn wrapped(
    http: &Arc<Http>,
    routes: Registration<'_>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse,
        Error = Error,
        InitError = (),
    > + use<>,
> {
    let (app, document) = App::new()
        .app_data(Data::from(Arc::clone(http)))
        .into_utoipa_app()
        .openapi(openapi::base())
        .configure(routes)
        .split_for_parts();
    let unlisted: &[&str] = if http.ports.dev_mail.is_some() { &dev_mail::PATHS } else { &[] };
    let document = Document::new(openapi::complete(document), unlisted);
    app.app_data(Data::new(document))
        .default_service(web::to(unmatched))
        .wrap(from_fn(middleware::catch_panics))
        .wrap(from_fn(middleware::head_as_get))
        .wrap(from_fn(middleware::limit_callers))
        .wrap(from_fn(middleware::authenticate))
        .wrap(from_fn(middleware::announce_deprecation))
        .wrap(from_fn(middleware::well_formed))
        .wrap(from_fn(middleware::limit_clients))
        .wrap(from_fn(middleware::shed))
        .wrap(from_fn(middleware::pin_version))
        .wrap(from_fn(middleware::cache_control))
        .wrap(from_fn(middleware::problems))
        .wrap(from_fn(middleware::spare_small))
        .wrap(Compress::default())
        .wrap(from_fn(middleware::mark_tags))
        .wrap(middleware::cors(&http.settings))
        .wrap(from_fn(middleware::problems))
        .wrap(from_fn(middleware::security_headers))
        .wrap(from_fn(middleware::measure))
        .wrap(from_fn(middleware::identify))
}

/// What no route matches: no such path, or a path without this method.
async fn unmatched(request: HttpRequest, document: Data<Document>) -> HttpResponse {
    let Some(allowed) = document.allowed(request.path()) else {
        return HttpResponse::from_error(Problem::from(Failure::not_found()));
    };
    let mut response = if *request.method() == Method::OPTIONS {
        HttpResponse::NoContent().finish()
    } else {
        let detail = "This path has other methods: see the Allow header.";
        HttpResponse::from_error(Problem::from(Failure::new(Code::MethodNotAllowed, detail)))
    };
    response.headers_mut().insert(header::ALLOW, allowed);
    response
}
