//! What is the same for all operations, added to each of them.

use std::collections::BTreeSet;

use actix_web::http::Method;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::schema::ArrayItems;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{Deprecated, Object, ObjectBuilder, OpenApi, Ref, RefOr, Schema, Type};

use super::deprecation::Notice;
use super::{PROBLEM, needs_credentials, operations_mut};

/// The tags of what no module serves.
const PLATFORM_TAGS: [(&str, &str); 3] = [
    ("admin", "What administrators of the platform ask and do."),
    ("operations", "What operators and load balancers ask."),
    ("documentation", "What explains the API, its failures and its events."),
];

/// Adds to each operation what follows from its shape, and to the document what is told once.
pub(crate) fn complete(mut document: OpenApi) -> OpenApi {
    refer_to_items(&mut document);
    describe_tags(&mut document);
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations_mut(item) {
            if method == Method::PATCH {
                take_merge_patch(operation);
            }
            add_success_headers(operation);
            mark_deprecated(operation);
            for status in shared_problems(path, operation) {
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

/// Pages name the schema of their items: utoipa writes it out anew in each of them.
fn refer_to_items(document: &mut OpenApi) {
    let Some(components) = &mut document.components else { return };
    let names: BTreeSet<String> = components.schemas.keys().cloned().collect();
    for (name, schema) in &mut components.schemas {
        let item = name.strip_prefix("PageOf_").filter(|item| names.contains(*item));
        if let (Some(item), RefOr::T(Schema::Object(page))) = (item, schema)
            && let Some(RefOr::T(Schema::Array(data))) = page.properties.get_mut("data")
        {
            data.items = ArrayItems::RefOrSchema(Box::new(Ref::from_schema_name(item).into()));
        }
    }
}

/// Lists the tags that operations have, by name.
fn describe_tags(document: &mut OpenApi) {
    let used: BTreeSet<String> = document
        .paths
        .paths
        .values_mut()
        .flat_map(operations_mut)
        .flat_map(|(_, operation)| operation.tags.clone().unwrap_or_default())
        .collect();
    let known = crate::MODULES.iter().chain(&PLATFORM_TAGS);
    let described = |tag: &str| {
        let (_, description) = known.clone().find(|(name, _)| *name == tag)?;
        Some(TagBuilder::new().name(tag).description(Some(description.trim())).build())
    };
    // What is not known stays without a description, which a test refuses.
    document.tags = Some(used.iter().filter_map(|tag| described(tag)).collect());
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

/// Marks what has a notice, and the headers that tell it.
fn mark_deprecated(operation: &mut Operation) {
    let Some(notice) = Notice::of(operation) else { return };
    operation.deprecated = Some(Deprecated::True);
    let told = notice.headers();
    for response in operation.responses.responses.values_mut() {
        let RefOr::T(response) = response else { continue };
        let headers = [
            ("Deprecation", "From when on this should not be used any more (RFC 9745)."),
            ("Sunset", "From when on this may be gone (RFC 8594)."),
            ("Link", "Where it is explained (`rel=\"deprecation\"`), beside other links."),
        ];
        for (name, description) in headers {
            if told.iter().any(|(told, _)| told.as_str().eq_ignore_ascii_case(name)) {
                let header = HeaderBuilder::new()
                    .schema(Some(text()))
                    .description(Some(description))
                    .build();
                response.headers.insert(name.to_owned(), RefOr::T(header));
            }
        }
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

fn shared_problems(path: &str, operation: &Operation) -> Vec<&'static str> {
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
    // Whatever the API is asked, a parameter that it does not know is a mistake.
    if path.starts_with("/v1/") || has(ParameterIn::Query) {
        statuses.push("422");
    }
    if operation.request_body.is_some() {
        statuses.extend(["408", "413", "415", "422"]);
    }
    statuses
}

/// Whether credentials that are not good are refused, even if an operation needs none.
fn reads_credentials(operation: &Operation) -> bool {
    let nobody = SecurityRequirement::default();
    operation.security.as_ref().is_none_or(|security| security.iter().any(|way| *way != nobody))
}
