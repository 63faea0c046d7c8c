//! The OpenAPI 3.1 document, made of the routes that are served: [`Routes`](crate::Routes) takes a handler only together
//! with its documentation. What is the same for all operations (credentials, problem replies) is added here, once.

use actix_web::dev::ResourceDef;
use actix_web::http::Method;
use actix_web::http::header::HeaderValue;
use bytes::Bytes;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, License, Object, ObjectBuilder, OpenApi,
    OpenApiBuilder, Ref, RefOr, ResponseBuilder, Server, Type,
};
use utoipa::{PartialSchema as _, ToSchema as _};

use crate::problem::{self, ProblemDetails, ProblemError};
use crate::reply;

const DESCRIPTION: &str = "\
Communities, events and RSVPs over HTTP and JSON.

**Begin** with `POST /v1/auth/register`, verify the address with the mailed token, log in, and send the access token as \
`Authorization: Bearer …`.

**Failures** are `application/problem+json` objects (RFC 9457) with a stable `code`; each code has a page under \
[/docs/problems](/docs/problems). **Lists** are pages of a keyset: follow `next_cursor` while `has_more` is true. \
**Changes** may carry an `Idempotency-Key`, which makes repeating them safe. **Single resources** have an `ETag`; changes \
that could overwrite another need it as `If-Match`.";

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
    let mut schemas = vec![(PROBLEM.to_owned(), ProblemDetails::schema())];
    ProblemDetails::schemas(&mut schemas);
    schemas.push((ProblemError::name().into_owned(), ProblemError::schema()));
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Convene")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(DESCRIPTION))
                .license(Some(License::new(env!("CARGO_PKG_LICENSE"))))
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

/// Adds to each operation what follows from its shape.
pub(crate) fn complete(mut document: OpenApi) -> OpenApi {
    for item in document.paths.paths.values_mut() {
        for (method, operation) in operations_mut(item) {
            if method == Method::PATCH {
                take_merge_patch(operation);
            }
            add_success_headers(operation);
            for status in shared_problems(operation) {
                operation
                    .responses
                    .responses
                    .entry(status.to_owned())
                    .or_insert_with(|| RefOr::Ref(Ref::from_response_name(PROBLEM)));
            }
        }
    }
    document
}

/// PATCH bodies are merge patches, under both names of the type.
fn take_merge_patch(operation: &mut Operation) {
    if let Some(RefOr::T(body)) = &mut operation.request_body
        && let Some(content) = body.content.get("application/json").cloned()
    {
        body.content.insert("application/merge-patch+json".to_owned(), content);
    }
}

/// The headers of good replies: a tag where the operation works with tags, a location where something is made, links of
/// pages, and the mark of a replay.
fn add_success_headers(operation: &mut Operation) {
    let tagged = has_header(operation, "If-Match") || has_header(operation, "If-None-Match");
    let replayable = has_header(operation, "Idempotency-Key");
    let paged = parameters(operation).any(|parameter| parameter.name == "after");
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        let with_body = status.starts_with('2') && status != "204";
        let mut add = |applies: bool, name: &str, description: &str| {
            if applies {
                let header = HeaderBuilder::new()
                    .schema(Some(text()))
                    .description(Some(description))
                    .build();
                response.headers.entry(name.to_owned()).or_insert(RefOr::T(header));
            }
        };
        add(tagged && (with_body || status == "304"), "ETag", "The tag of what the body shows.");
        add(status == "201", "Location", "The path of what was made.");
        add(paged && with_body, "Link", "The pages before and after (RFC 8288).");
        add(replayable && status.starts_with('2'), "Idempotent-Replayed", "`true` on a replay.");
    }
}

fn text() -> Object {
    ObjectBuilder::new().schema_type(Type::String).build()
}

fn parameters(operation: &Operation) -> impl Iterator<Item = &Parameter> {
    operation.parameters.iter().flatten().filter_map(|parameter| match parameter {
        RefOr::T(parameter) => Some(parameter),
        RefOr::Ref(_) => None,
    })
}

fn has_header(operation: &Operation, name: &str) -> bool {
    parameters(operation)
        .any(|parameter| parameter.parameter_in == ParameterIn::Header && parameter.name == name)
}

fn shared_problems(operation: &Operation) -> Vec<&'static str> {
    let has =
        |place: ParameterIn| parameters(operation).any(|parameter| parameter.parameter_in == place);
    // Whatever else may happen to a request, such as 405, 406 or 429, looks the same too.
    let mut statuses = vec!["400", "500", "503", "default"];
    if reads_credentials(operation) {
        statuses.push("401");
    }
    if needs_credentials(operation) && has(ParameterIn::Path) {
        statuses.push("403");
    }
    if has(ParameterIn::Path) {
        statuses.push("404");
    }
    if has_header(operation, "If-Match") {
        statuses.extend(["412", "428"]);
    }
    if has_header(operation, "Idempotency-Key") {
        statuses.extend(["409", "422"]);
    }
    if has(ParameterIn::Query) {
        statuses.push("422");
    }
    if operation.request_body.is_some() {
        statuses.extend(["408", "413", "415", "422"]);
    }
    statuses
}

/// Whether an operation refuses anonymous callers; those that do not say so themselves.
pub(crate) fn needs_credentials(operation: &Operation) -> bool {
    operation.security.as_ref().is_none_or(|security| {
        !security.is_empty() && !security.contains(&SecurityRequirement::default())
    })
}

/// Whether credentials that are not good are refused, even if an operation needs none.
fn reads_credentials(operation: &Operation) -> bool {
    let nobody = SecurityRequirement::default();
    operation.security.as_ref().is_none_or(|security| security.iter().any(|way| *way != nobody))
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
}

/// The routes of a document, by path.
pub(crate) fn route_infos(mut document: OpenApi) -> Vec<RouteInfo> {
    let mut routes = Vec::new();
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations_mut(item) {
            routes.push(RouteInfo {
                method: method.to_string(),
                path: path.clone(),
                operation: operation.operation_id.clone().unwrap_or_default(),
                summary: operation.summary.clone().unwrap_or_default(),
                credentials: needs_credentials(operation),
            });
        }
    }
    routes
}

/// The finished document, and which methods each path has.
pub(crate) struct Document {
    pub(crate) json: Bytes,
    paths: Vec<(ResourceDef, Vec<Method>)>,
}

impl Document {
    /// Finishes a document. `unlisted` are paths that are served with GET but not documented.
    pub(crate) fn new(mut document: OpenApi, unlisted: &[&str]) -> Self {
        let json = reply::bytes(&document);
        let mut paths: Vec<_> = document
            .paths
            .paths
            .iter_mut()
            .map(|(path, item)| {
                let methods = operations_mut(item).map(|(method, _)| method).collect();
                (ResourceDef::new(path.as_str()), methods)
            })
            .collect();
        paths.extend(unlisted.iter().map(|path| (ResourceDef::new(*path), vec![Method::GET])));
        Self { json, paths }
    }

    /// What `Allow` says about a path; `None` if there is no such path.
    pub(crate) fn allowed(&self, path: &str) -> Option<HeaderValue> {
        let mut allowed: Vec<&str> = self
            .paths
            .iter()
            .filter(|(template, _)| template.is_match(path))
            .flat_map(|(_, methods)| methods.iter().map(Method::as_str))
            .collect();
        if allowed.is_empty() {
            return None;
        }
        if allowed.contains(&"GET") {
            allowed.push("HEAD");
        }
        allowed.push("OPTIONS");
        allowed.sort_unstable();
        allowed.dedup();
        HeaderValue::from_str(&allowed.join(", ")).ok()
    }
}
