//! Nothing in the document goes without explanation: each operation has a summary and a description, each parameter a
//! description, each field a description and an example, each failure a page.

use serde_json::Value;

use crate::openapi;
use crate::problem;

/// The document, and what is missing from it.
struct Walk {
    document: Value,
    omissions: Vec<String>,
}

impl Walk {
    /// What is meant: behind a reference, what it leads to.
    fn meant<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(reference) => {
                let target = self.document.pointer(reference.trim_start_matches('#'));
                self.meant(target.unwrap_or_else(|| panic!("{reference} leads nowhere")))
            }
            None => schema,
        }
    }

    fn miss(&mut self, place: &str, what: &str) {
        self.omissions.push(format!("{place} has no {what}"));
    }

    fn operation(&mut self, place: &str, operation: &Value) {
        for member in ["summary", "description", "operationId"] {
            if !is_told(&operation[member]) {
                self.miss(place, member);
            }
        }
        let summary = operation["summary"].as_str().unwrap_or_default();
        if !summary.ends_with('.') || summary.contains('\n') {
            self.miss(place, "summary of one sentence");
        }
        for parameter in items(&operation["parameters"]) {
            let place = format!("{place}, parameter {}", parameter["name"]);
            if !is_told(&parameter["description"]) {
                self.miss(&place, "description");
            }
            let given = ["example", "examples"].iter().any(|name| !parameter[*name].is_null());
            if !given && !self.shows(&parameter["schema"]) {
                self.miss(&place, "example");
            }
        }
        for (status, response) in members(&operation["responses"]) {
            if response["$ref"].is_null() && !is_told(&response["description"]) {
                self.miss(&format!("{place}, status {status}"), "description");
            }
            for (name, header) in members(&response["headers"]) {
                if !is_told(&header["description"]) {
                    self.miss(&format!("{place}, header {name}"), "description");
                }
            }
        }
    }

    fn schema(&mut self, name: &str, schema: &Value) {
        if !is_told(&schema["description"]) {
            self.miss(name, "description");
        }
        for (field, property) in members(&schema["properties"]) {
            let place = format!("{name}.{field}");
            // A field of another schema's type says what it is here, not only what the type is.
            let told = is_told(&property["description"])
                || items(&property["oneOf"]).any(|choice| is_told(&choice["description"]));
            if !told {
                self.miss(&place, "description");
            }
            if !self.shows(property) {
                self.miss(&place, "example");
            }
        }
    }

    /// Whether a reader sees what a value looks like: by an example, or since all values are listed, or by the fields of an
    /// object or the items of a list.
    fn shows(&self, schema: &Value) -> bool {
        let schema = if ["example", "examples"].iter().any(|name| schema.get(*name).is_some()) {
            return true;
        } else {
            self.meant(schema)
        };
        let names = ["example", "examples", "enum", "const", "properties"];
        names.iter().any(|name| schema.get(*name).is_some())
            || schema.get("items").is_some_and(|items| self.shows(items))
            || items(&schema["oneOf"])
                .filter(|choice| choice["type"] != "null")
                .any(|choice| self.shows(choice))
    }
}

fn is_told(text: &Value) -> bool {
    text.as_str().is_some_and(|text| !text.trim().is_empty())
}

fn items(array: &Value) -> impl Iterator<Item = &Value> {
    array.as_array().into_iter().flatten()
}

fn members(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

/// What a document leaves unexplained.
fn omissions(document: &Value) -> Vec<String> {
    let mut walk = Walk { document: document.clone(), omissions: Vec::new() };
    let tags: Vec<&Value> = items(&document["tags"]).collect();
    for (path, item) in members(&document["paths"]) {
        for (method, operation) in members(item) {
            let place = format!("{} {path}", method.to_uppercase());
            walk.operation(&place, operation);
            for tag in items(&operation["tags"]) {
                let known = tags.iter().find(|known| known["name"] == *tag);
                if !known.is_some_and(|known| is_told(&known["description"])) {
                    walk.miss(&place, "tag that is described");
                }
            }
        }
    }
    for (name, schema) in members(&document["components"]["schemas"]) {
        walk.schema(name, schema);
    }
    walk.omissions
}

#[test]
fn nothing_is_left_unexplained() {
    for document in [openapi(), crate::admin::admin_openapi()] {
        let omissions = omissions(&serde_json::to_value(document).unwrap());
        assert!(omissions.is_empty(), "{}", omissions.join("\n"));
    }
}

#[test]
fn an_omission_is_noticed() {
    let document = serde_json::json!({
        "tags": [{ "name": "note", "description": "Notes." }],
        "paths": { "/v1/notes": { "get": {
            "operationId": "list_notes",
            "summary": "List notes.",
            "description": "All of them.",
            "tags": ["note", "other"],
            "parameters": [
                { "name": "page", "schema": { "type": "integer" } },
                { "name": "kind", "description": "Which.", "schema": { "$ref": "#/components/schemas/Kind" } },
            ],
            "responses": { "200": { "description": "" } },
        } } },
        "components": { "schemas": {
            "Kind": { "description": "A kind.", "type": "string", "enum": ["a"] },
            "Note": { "description": "A note.", "properties": {
                "kind": { "$ref": "#/components/schemas/Kind" },
                "text": { "description": "What it says.", "type": "string" },
                "kinds": { "description": "All kinds.", "items": { "$ref": "#/components/schemas/Kind" } },
            } },
        } },
    });
    let mut found = omissions(&document);
    found.sort();
    assert_eq!(
        found,
        [
            "GET /v1/notes has no tag that is described",
            "GET /v1/notes, parameter \"page\" has no description",
            "GET /v1/notes, parameter \"page\" has no example",
            "GET /v1/notes, status 200 has no description",
            "Note.kind has no description",
            "Note.text has no example",
        ]
    );
}

/// The codes that clients may rely on, as they are published; each has a page.
#[test]
fn every_published_code_has_a_page() {
    let codes = "malformed_request validation_failed unauthenticated token_expired invalid_credentials \
        invalid_refresh_token invalid_token forbidden membership_required not_found method_not_allowed not_acceptable \
        unsupported_media_type payload_too_large request_timeout precondition_required precondition_failed \
        idempotency_in_flight idempotency_mismatch invalid_cursor slug_taken handle_taken invalid_transition \
        owner_cannot_leave community_archived rsvp_closed not_enough_seats capacity_below_confirmed nonexistent_time \
        ambiguous_time url_refused rate_limited overloaded unavailable internal";
    for code in codes.split_whitespace() {
        assert!(problem::page(code).is_some(), "{code} has no page");
    }
}
