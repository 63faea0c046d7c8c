//! A request of a client that pins an older version.

use actix_web::body::{BoxBody, MessageBody, to_bytes};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpMessage as _, HttpRequest};
use convene_application::kernel::error::Failure;
use convene_application::kernel::store::Source;
use serde_json::Value;

use super::{Adaptation, Change, tags};
use crate::problem::Problem;

/// What stands between a client of an older version and the handler.
#[derive(Clone, Debug)]
pub(crate) struct Older {
    version: &'static str,
    /// What later changes did to this operation, oldest first.
    adaptations: Vec<&'static Adaptation>,
}

impl Older {
    /// A client of that version calls the operation, if it is one, and does not know the changes.
    pub(crate) fn new(
        version: &'static str,
        unknown: &'static [Change],
        operation: Option<&str>,
    ) -> Self {
        let adaptations = unknown
            .iter()
            .flat_map(|change| change.adaptations)
            .filter(|adaptation| Some(adaptation.operation) == operation)
            .collect();
        Self { version, adaptations }
    }

    /// What [`Older::prepare`] left with a request of an older version.
    pub(crate) fn of(request: &HttpRequest) -> Option<Self> {
        request.extensions().get::<Self>().cloned()
    }

    /// Translates the preconditions of a request, and leaves word for whoever reads its body.
    pub(crate) fn prepare(&self, request: &mut ServiceRequest) {
        for name in [header::IF_MATCH, header::IF_NONE_MATCH] {
            translate_tags(request.headers_mut(), name, self.version);
        }
        request.extensions_mut().insert(self.clone());
    }

    /// The body as it is sent now.
    pub(crate) fn request(&self, body: Value) -> Value {
        let steps = self.adaptations.iter().filter_map(|adaptation| adaptation.request);
        steps.fold(body, |body, step| step(body))
    }

    /// The body as it was answered before.
    fn response(&self, body: Value) -> Value {
        let steps = self.adaptations.iter().rev().filter_map(|adaptation| adaptation.response);
        steps.fold(body, |body, step| step(body))
    }

    /// The reply as the client knows it. Failures have one form in all versions.
    pub(crate) async fn answer<B: MessageBody + 'static>(
        &self,
        mut response: ServiceResponse<B>,
    ) -> ServiceResponse<BoxBody> {
        self.mark_tag(response.headers_mut());
        let changed = self.adaptations.iter().any(|adaptation| adaptation.response.is_some());
        if !changed || !response.status().is_success() || !is_json(response.headers()) {
            return response.map_into_boxed_body();
        }
        let (request, response) = response.into_parts();
        let (response, body) = response.into_parts();
        match self.translated(body).await {
            Ok(bytes) => ServiceResponse::new(request, response.set_body(BoxBody::new(bytes))),
            Err(failure) => ServiceResponse::from_err(Problem::from(failure), request),
        }
    }

    async fn translated(&self, body: impl MessageBody) -> Result<Vec<u8>, Failure> {
        let unreadable = |error: String| Failure::internal(Source::from(error));
        let bytes = to_bytes(body)
            .await
            .map_err(|_| unreadable("the body of a reply could not be read".to_owned()))?;
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        let body = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
        serde_json::to_vec(&self.response(body)).map_err(|error| unreadable(error.to_string()))
    }

    fn mark_tag(&self, headers: &mut HeaderMap) {
        let tag = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
        let marked = tag.and_then(|tag| tags::marked(tag, self.version));
        if let Some(marked) = marked.and_then(|marked| HeaderValue::from_str(&marked).ok()) {
            headers.insert(header::ETAG, marked);
        }
    }
}

fn translate_tags(headers: &mut HeaderMap, name: HeaderName, version: &str) {
    let lines: Vec<&str> = headers.get_all(&name).filter_map(|line| line.to_str().ok()).collect();
    if lines.is_empty() {
        return;
    }
    let unmarked = tags::unmarked(&lines.join(","), version);
    if let Some(list) = unmarked.and_then(|list| HeaderValue::from_str(&list).ok()) {
        headers.insert(name, list);
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json")
}
