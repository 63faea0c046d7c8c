//! The document as it is served, and what the router and the middleware look up in it.

use std::collections::HashMap;

use actix_web::dev::ResourceDef;
use actix_web::http::Method;
use actix_web::http::header::{HeaderName, HeaderValue};
use bytes::Bytes;
use utoipa::openapi::OpenApi;

use super::deprecation::Notice;
use super::operations_mut;
use crate::reply;

/// The finished document, and which methods each path has.
pub(crate) struct Document {
    pub(crate) json: Bytes,
    /// Whether any operation is deprecated.
    pub(crate) deprecates: bool,
    paths: Vec<(ResourceDef, Vec<Method>)>,
    /// By path template.
    operations: HashMap<String, Vec<(Method, ServedOperation)>>,
}

/// What is looked up about an operation while it is called.
pub(crate) struct ServedOperation {
    /// Its stable name.
    pub(crate) id: String,
    /// The headers that announce its end.
    pub(crate) notice: Vec<(HeaderName, HeaderValue)>,
}

impl Document {
    /// Finishes a document. `unlisted` are paths that are served with GET but not documented.
    pub(crate) fn new(mut document: OpenApi, unlisted: &[&str]) -> Self {
        let json = reply::bytes(&document);
        let mut operations = HashMap::new();
        let mut paths = Vec::new();
        for (path, item) in &mut document.paths.paths {
            let served: Vec<_> = operations_mut(item)
                .map(|(method, operation)| {
                    let id = operation.operation_id.clone().unwrap_or_default();
                    let notice = Notice::of(operation).map(|notice| notice.headers());
                    (method, ServedOperation { id, notice: notice.unwrap_or_default() })
                })
                .collect();
            let methods = served.iter().map(|(method, _)| method.clone()).collect();
            paths.push((ResourceDef::new(path.as_str()), methods));
            operations.insert(path.clone(), served);
        }
        paths.extend(unlisted.iter().map(|path| (ResourceDef::new(*path), vec![Method::GET])));
        let mut all = operations.values().flatten();
        let deprecates = all.any(|(_, operation)| !operation.notice.is_empty());
        Self { json, deprecates, paths, operations }
    }

    /// The operation of a method and a path template; HEAD is GET.
    pub(crate) fn operation(&self, method: &Method, template: &str) -> Option<&ServedOperation> {
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let operations = self.operations.get(template)?;
        operations.iter().find(|(served, _)| served == method).map(|(_, operation)| operation)
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
