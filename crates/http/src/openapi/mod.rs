//! The OpenAPI 3.1 document, made of the routes that are served: [`Routes`](crate::Routes) takes a handler only together
//! with its documentation. What is the same for all operations (credentials, problem replies) is added here, once.

mod complete;
mod deprecation;
mod served;

use actix_web::http::Method;
use convene_application::kernel::authz::Action;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref,
    ResponseBuilder, Server,
};
use utoipa::{PartialSchema as _, ToSchema as _};

use crate::permissions::actions_of;
use crate::problem::{self, ProblemDetails, ProblemError};

pub(crate) use complete::complete;
#[cfg(test)]
pub(crate) use deprecation::Notice;
pub(crate) use served::Document;

const DESCRIPTION: &str = "\
Communities, events and RSVPs over HTTP and JSON.

**Begin** with `POST /v1/auth/register`, verify the address with the mailed token, log in, and send the access token as \
`Authorization: Bearer …`.

**Failures** are `application/problem+json` objects (RFC 9457) with a stable `code`; each code has a page under \
[/docs/problems](/docs/problems). **Lists** are pages of a keyset: follow `next_cursor` while `has_more` is true. \
**Changes** may carry an `Idempotency-Key`, which makes repeating them safe. **Single resources** have an `ETag`; changes \
that could overwrite another need it as `If-Match`.

**Versions** are dates. What changes within `/v1` only adds; where that is not possible, a client that sends \
`Convene-Version: YYYY-MM-DD` keeps what it was written for. Each reply tells its version in the same header, and what goes \
away says so in `Deprecation` and `Sunset`.";

const BEARER: &str = "bearer";
const PROBLEM: &str = "Problem";

/// What every document begins with.
pub(crate) fn base() -> OpenApi {
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("The access_token of POST /v1/auth/login."))
        .build();
    let problem = ResponseBuilder::new()
        .description("A failure: its code says which, its page under /docs/problems what to do.")
        .content(
            problem::CONTENT_TYPE,
            ContentBuilder::new().schema(Some(Ref::from_schema_name(PROBLEM))).build(),
        )
        .build();
    let license = LicenseBuilder::new()
        .name(env!("CARGO_PKG_LICENSE"))
        .identifier(Some(env!("CARGO_PKG_LICENSE")))
        .build();
    let mut schemas = vec![(PROBLEM.to_owned(), ProblemDetails::schema())];
    ProblemDetails::schemas(&mut schemas);
    schemas.push((ProblemError::name().into_owned(), ProblemError::schema()));
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Convene")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(DESCRIPTION))
                .license(Some(license))
                .build(),
        )
        .servers(Some([Server::new("/")]))
        .components(Some(
            ComponentsBuilder::new()
                .schemas_from_iter(schemas)
                .response(PROBLEM, problem)
                .security_scheme(BEARER, SecurityScheme::Http(scheme))
                .build(),
        ))
        .security(Some([SecurityRequirement::new(BEARER, Vec::<String>::new())]))
        .build()
}

/// Whether an operation refuses anonymous callers; those that do not say so themselves.
pub(crate) fn needs_credentials(operation: &Operation) -> bool {
    operation.security.as_ref().is_none_or(|security| {
        !security.is_empty() && !security.contains(&SecurityRequirement::default())
    })
}

/// The operations of a path with their methods.
pub(crate) fn operations_mut(
    item: &mut PathItem,
) -> impl Iterator<Item = (Method, &mut Operation)> {
    [
        (Method::GET, item.get.as_mut()),
        (Method::POST, item.post.as_mut()),
        (Method::PUT, item.put.as_mut()),
        (Method::PATCH, item.patch.as_mut()),
        (Method::DELETE, item.delete.as_mut()),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation?)))
}

/// One served route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteInfo {
    /// The method.
    pub method: String,
    /// The path template.
    pub path: String,
    /// The stable name of the operation.
    pub operation: String,
    /// What it does, in a line.
    pub summary: String,
    /// Whether it needs an access token.
    pub credentials: bool,
    /// What it asks of the policy.
    pub actions: &'static [Action],
}

/// The routes of a document, by path.
pub(crate) fn route_infos(mut document: OpenApi) -> Vec<RouteInfo> {
    let mut routes = Vec::new();
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations_mut(item) {
            let id = operation.operation_id.clone().unwrap_or_default();
            routes.push(RouteInfo {
                method: method.to_string(),
                path: path.clone(),
                actions: actions_of(&id),
                operation: id,
                summary: operation.summary.clone().unwrap_or_default(),
                credentials: needs_credentials(operation),
            });
        }
    }
    routes
}
