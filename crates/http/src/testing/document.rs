//! The document and the served routes are the same, in both directions.

use std::collections::BTreeSet;
use std::path::Path;

use actix_web::dev::Service as _;
use actix_web::http::Method;
use actix_web::test::{TestRequest, init_service};

use super::http;
use crate::app::app_of;
use crate::openapi::operations_mut;
use crate::{module_routes, openapi, routes};

/// Every route attribute in the sources: what could be served.
fn declared() -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if path.file_name().unwrap() != "testing" {
                    folders.push(path);
                }
                continue;
            }
            for line in std::fs::read_to_string(&path).unwrap().lines() {
                for method in ["get", "post", "put", "patch", "delete"] {
                    if let Some(rest) = line.strip_prefix(&format!("#[{method}(\"")) {
                        let template = rest.split('"').next().unwrap();
                        found.insert((method.to_uppercase(), template.to_owned()));
                    }
                }
            }
        }
    }
    found
}

fn documented() -> BTreeSet<(String, String)> {
    routes().into_iter().map(|route| (route.method, route.path)).collect()
}

/// Those of the administrators' listener, as their attributes have them: within a scope.
fn documented_for_administrators() -> BTreeSet<(String, String)> {
    let inside = |path: String| path.trim_start_matches("/admin").to_owned();
    let routes = crate::admin::admin_route_infos().into_iter();
    routes.map(|route| (route.method, inside(route.path))).collect()
}

#[test]
fn every_declared_route_is_documented() {
    let missing: Vec<_> = declared()
        .difference(&documented())
        .filter(|route| !documented_for_administrators().contains(route))
        .filter(|(_, path)| !path.starts_with("/dev/mail"))
        .cloned()
        .collect();
    assert_eq!(
        missing,
        [],
        "declared with a route attribute but not registered in its module's routes()"
    );
}

#[test]
fn every_operation_is_described() {
    let mut names = BTreeSet::new();
    for route in routes() {
        assert!(!route.summary.is_empty(), "{} {} has no summary", route.method, route.path);
        assert!(
            names.insert(route.operation.clone()),
            "{} is the name of two operations",
            route.operation
        );
    }
    let mut document = openapi();
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations_mut(item) {
            assert!(operation.tags.is_some(), "{method} {path} has no tag");
            let parameters = serde_json::to_value(&operation.parameters).unwrap();
            for name in path.split(['{', '}']).skip(1).step_by(2) {
                let named = parameters.as_array().into_iter().flatten().any(|parameter| {
                    parameter["in"] == "path"
                        && parameter["name"] == name
                        && parameter["required"] == true
                });
                assert!(named, "{method} {path} does not document {{{name}}}");
            }
        }
    }
}

/// References lead somewhere.
#[test]
fn the_document_is_complete_in_itself() {
    let document = serde_json::to_value(openapi()).unwrap();
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer} leads nowhere");
    }
}

/// The router knows every documented route: none is answered as if it did not exist.
#[actix_web::test]
async fn every_documented_route_is_served() {
    for route in routes() {
        let http = http();
        let path = route.path.replace(['{', '}'], "");
        let app = init_service(app_of(&http, Box::new(module_routes))).await;
        let request = TestRequest::default()
            .method(Method::from_bytes(route.method.as_bytes()).unwrap())
            .uri(&path)
            .insert_header(("host", "convene.example"))
            .insert_header(("x-request-id", "same"))
            .to_request();
        let response = app.call(request).await.unwrap();
        let pattern = response.request().match_pattern();
        assert_eq!(pattern.as_deref(), Some(route.path.as_str()), "{route:?}");
        assert_ne!(response.status().as_u16(), 405, "{route:?}");
    }
}
