//! What consumers of events read: the AsyncAPI document, and the schema that an event's `dataschema` leads to.

use std::collections::BTreeMap;

use actix_web::http::header;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse, get};
use bytes::Bytes;
use convene_application::kernel::error::Failure;
use convene_contracts::{SchemaBase, asyncapi, schema};

use crate::extract::IfNoneMatchHeader;
use crate::problem::Problem;
use crate::state::Http;
use crate::{Routes, reply};

/// The documents as they are sent. They depend on nothing but the place where the schemas are published.
pub(crate) struct EventDocuments {
    asyncapi: Bytes,
    schemas: BTreeMap<String, Bytes>,
}

impl EventDocuments {
    pub(crate) fn of(base: &SchemaBase) -> Self {
        Self {
            asyncapi: reply::bytes(&asyncapi::document(base)),
            schemas: schema::documents(base)
                .into_iter()
                .map(|(name, document)| (name, reply::bytes(&document)))
                .collect(),
        }
    }
}

/// Registers the documents.
pub(crate) fn routes(routes: &mut Routes<'_>) {
    routes.service(asyncapi_json).service(schema_json);
}

/// The events that are published, as an AsyncAPI document.
///
/// For consumers of the broker and receivers of webhooks.
#[utoipa::path(
    tag = "documentation",
    operation_id = "get_asyncapi",
    security(()),
    params(IfNoneMatchHeader),
    responses((status = 200, description = "The AsyncAPI 3.0 document.", body = serde_json::Value), (status = 304, description = "Unchanged.")),
)]
#[get("/asyncapi.json")]
async fn asyncapi_json(request: HttpRequest, http: Data<Http>) -> HttpResponse {
    let mut response =
        reply::Rendered::of_bytes(http.event_documents().asyncapi.clone()).reply(&request);
    reply::set_header(&mut response, header::CACHE_CONTROL, "no-cache");
    response
}

/// The JSON Schema of one version of an event's data, where its `dataschema` points to.
///
/// Beside them lie those of the envelope (`envelope.v1`) and of a webhook's body (`webhook_body.v1`). A version only ever
/// gains members.
#[utoipa::path(
    tag = "documentation",
    operation_id = "get_schema",
    security(()),
    params(("document" = String, Path, description = "`{type}.v{version}`.", example = "rsvp.confirmed.v1"), IfNoneMatchHeader),
    responses((status = 200, description = "The schema.", body = serde_json::Value, content_type = "application/schema+json"), (status = 304, description = "Unchanged.")),
)]
#[get("/schemas/{document}.json")]
async fn schema_json(
    request: HttpRequest,
    document: Path<String>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let schema = http.event_documents().schemas.get(&*document).ok_or_else(Failure::not_found)?;
    let mut response = reply::Rendered::of_bytes(schema.clone()).reply(&request);
    reply::set_header(&mut response, header::CONTENT_TYPE, "application/schema+json");
    reply::set_header(&mut response, header::CACHE_CONTROL, "public, max-age=3600");
    Ok(response)
}
