//! The documentation: the OpenAPI document, Swagger UI on it, and a page per problem. Everything is served from the binary,
//! so it works without a network, and no page has a script of its own, so that the content security policy can forbid it.

use std::sync::Arc;

use actix_web::http::header;
use actix_web::web::{self, Data, Path};
use actix_web::{HttpRequest, HttpResponse, get};
use convene_application::kernel::error::Failure;

use crate::Routes;
use crate::extract::IfNoneMatchHeader;
use crate::openapi::Document;
use crate::problem::{self, Problem};
use crate::reply;

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Convene API</title>
<link rel="icon" type="image/png" href="/docs/assets/favicon-32x32.png" sizes="32x32">
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/assets/start.js"></script>
</body>
</html>
"#;

/// No validator: it would send the document to somebody else's server.
const START: &str = r##"window.ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
"##;

/// The files of Swagger UI that the page needs.
const ASSETS: [&str; 3] = ["favicon-32x32.png", "swagger-ui-bundle.js", "swagger-ui.css"];

/// Registers the pages.
pub(crate) fn routes(routes: &mut Routes<'_>) {
    routes
        .service(openapi_json)
        .service(swagger_ui)
        .service(asset)
        .service(problems)
        .service(problem_page);
    // People type the slash.
    routes.map(|config| config.service(web::redirect("/docs/", "/docs")));
}

/// This document.
///
/// It describes what this server serves, in the version that runs.
#[utoipa::path(
    tag = "documentation",
    operation_id = "get_openapi",
    security(()),
    params(IfNoneMatchHeader),
    responses((status = 200, description = "The OpenAPI 3.1 document.", body = serde_json::Value), (status = 304, description = "Unchanged.")),
)]
#[get("/openapi.json")]
async fn openapi_json(request: HttpRequest, document: Data<Document>) -> HttpResponse {
    let mut response = reply::Rendered::of_bytes(document.json.clone()).reply(&request);
    reply::set_header(&mut response, header::CACHE_CONTROL, "no-cache");
    response
}

/// This document, to read and to try.
///
/// Everything that the page needs is served here; it loads nothing from elsewhere.
#[utoipa::path(
    tag = "documentation",
    operation_id = "get_docs",
    security(()),
    responses((status = 200, description = "The page.", body = String, content_type = "text/html")),
)]
#[get("/docs")]
async fn swagger_ui() -> HttpResponse {
    html(PAGE)
}

/// A file that the documentation page needs.
///
/// A script, a style sheet or an image; other names are not found.
#[utoipa::path(
    tag = "documentation",
    operation_id = "get_docs_asset",
    security(()),
    params(("file" = String, Path, description = "The name of the file.", example = "swagger-ui.css")),
    responses((
        status = 200,
        description = "The file.",
        content((String = "text/css"), (String = "text/javascript"), (String = "image/png")),
    )),
)]
#[get("/docs/assets/{file}")]
async fn asset(file: Path<String>) -> Result<HttpResponse, Problem> {
    let (content_type, bytes) = if *file == "start.js" {
        ("text/javascript".to_owned(), START.as_bytes().to_vec())
    } else if ASSETS.contains(&file.as_str()) {
        let config = Arc::new(utoipa_swagger_ui::Config::from("/openapi.json"));
        let found = utoipa_swagger_ui::serve(&file, config)
            .map_err(|error| Failure::internal(error.to_string()))?
            .ok_or_else(Failure::not_found)?;
        (found.content_type, found.bytes.into_owned())
    } else {
        return Err(Failure::not_found().into());
    };
    let mut response = HttpResponse::Ok().content_type(content_type).body(bytes);
    reply::set_header(&mut response, header::CACHE_CONTROL, "public, max-age=3600");
    Ok(response)
}

/// All problem codes.
///
/// One line each, with the status that it comes with and a link to its page.
#[utoipa::path(
    tag = "documentation",
    operation_id = "list_problems",
    security(()),
    responses((status = 200, description = "The page.", body = String, content_type = "text/html")),
)]
#[get("/docs/problems")]
async fn problems() -> HttpResponse {
    html(problem::index())
}

/// What one problem code means and what to do about it.
///
/// This is where the `type` of a failure leads.
#[utoipa::path(
    tag = "documentation",
    operation_id = "get_problem",
    security(()),
    params(("code" = String, Path, description = "The code.", example = "validation_failed")),
    responses((status = 200, description = "The page.", body = String, content_type = "text/html")),
)]
#[get("/docs/problems/{code}")]
async fn problem_page(code: Path<String>) -> Result<HttpResponse, Problem> {
    let page = problem::page(&code).ok_or_else(Failure::not_found)?;
    Ok(html(page))
}

pub(crate) fn html(page: impl Into<String>) -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(page.into())
}
