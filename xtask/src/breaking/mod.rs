//! What a client of one OpenAPI document would miss in another: operations, statuses, headers, fields and values that it
//! relies on and that are gone, and demands that it does not know of.
//!
//! What only adds is not breaking: a client ignores fields and values of replies that it does not know.

mod schema;

use serde_json::Value;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// One thing that would break clients.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Breaking {
    /// Where, as a JSON pointer into the old document, through its references.
    pub(crate) pointer: String,
    /// What happened there.
    pub(crate) what: String,
}

/// Two documents, and what was found between them.
struct Comparison<'a> {
    old: &'a Value,
    new: &'a Value,
    found: Vec<Breaking>,
}

/// Everything in `new` that would break a client of `old`.
pub(crate) fn differences(old: &Value, new: &Value) -> Vec<Breaking> {
    let mut comparison = Comparison { old, new, found: Vec::new() };
    for (path, item) in members(&old["paths"]) {
        for method in METHODS {
            let Some(operation) = item.get(method) else { continue };
            let place = format!("/paths/{}/{method}", escaped(path));
            match new["paths"].get(path).and_then(|item| item.get(method)) {
                None => comparison.note(&place, "the operation is gone"),
                Some(now) => comparison.operation(&place, operation, now),
            }
        }
    }
    comparison.found
}

impl Comparison<'_> {
    fn note(&mut self, pointer: &str, what: impl Into<String>) {
        self.found.push(Breaking { pointer: pointer.to_owned(), what: what.into() });
    }

    fn operation(&mut self, place: &str, old: &Value, new: &Value) {
        if old["operationId"] != new["operationId"] {
            let what = format!("is {} now, and so are methods of clients", new["operationId"]);
            self.note(&format!("{place}/operationId"), what);
        }
        if is_open(self.old, old) && !is_open(self.new, new) {
            self.note(&format!("{place}/security"), "needs credentials now");
        }
        self.parameters(place, old, new);
        self.request_body(
            &format!("{place}/requestBody"),
            &old["requestBody"],
            &new["requestBody"],
        );
        self.responses(&format!("{place}/responses"), &old["responses"], &new["responses"]);
    }

    fn parameters(&mut self, place: &str, old: &Value, new: &Value) {
        let list = |operation: &Value, document: &Value| -> Vec<Value> {
            items(&operation["parameters"]).map(|one| meant(document, one).clone()).collect()
        };
        let (olds, news) = (list(old, self.old), list(new, self.new));
        let same =
            |one: &Value, other: &Value| one["in"] == other["in"] && one["name"] == other["name"];
        for (number, parameter) in olds.iter().enumerate() {
            let place = format!("{place}/parameters/{number}");
            let name = parameter["name"].as_str().unwrap_or_default();
            match news.iter().find(|now| same(now, parameter)) {
                None => self.note(&place, format!("the parameter {name} is gone")),
                Some(now) => {
                    if is_required(now) && !is_required(parameter) {
                        self.note(&place, format!("the parameter {name} is required now"));
                    }
                    let schemas = (&parameter["schema"], &now["schema"]);
                    self.request_schema(&format!("{place}/schema"), schemas.0, schemas.1);
                }
            }
        }
        for parameter in news.iter().filter(|now| is_required(now)) {
            if !olds.iter().any(|old| same(old, parameter)) {
                let name = parameter["name"].as_str().unwrap_or_default();
                self.note(
                    &format!("{place}/parameters"),
                    format!("a parameter that is required is new: {name}"),
                );
            }
        }
    }

    fn request_body(&mut self, place: &str, old: &Value, new: &Value) {
        let (old, new) = (meant(self.old, old).clone(), meant(self.new, new).clone());
        if is_required(&new) && !is_required(&old) {
            self.note(place, "a body is required now");
        }
        for (kind, content) in members(&old["content"]) {
            let place = format!("{place}/content/{}", escaped(kind));
            match new["content"].get(kind) {
                None => self.note(&place, format!("bodies of {kind} are not taken any more")),
                Some(now) => {
                    let place = format!("{place}/schema");
                    self.request_schema(&place, &content["schema"], &now["schema"]);
                }
            }
        }
    }

    fn responses(&mut self, place: &str, old: &Value, new: &Value) {
        for (status, response) in members(old) {
            let place = format!("{place}/{status}");
            let response = meant(self.old, response).clone();
            let Some(now) = new.get(status).map(|now| meant(self.new, now).clone()) else {
                // Which failures there are is told by their codes; what a client waits for is a success.
                if status.starts_with(['2', '3']) {
                    self.note(&place, "this is not answered any more");
                }
                continue;
            };
            for (name, _) in members(&response["headers"]) {
                if now["headers"].get(name).is_none() {
                    self.note(&format!("{place}/headers/{name}"), "the header is gone");
                }
            }
            for (kind, content) in members(&response["content"]) {
                let place = format!("{place}/content/{}", escaped(kind));
                match now["content"].get(kind) {
                    None => self.note(&place, format!("{kind} is not answered any more")),
                    Some(now) => {
                        let place = format!("{place}/schema");
                        self.response_schema(&place, &content["schema"], &now["schema"]);
                    }
                }
            }
        }
    }
}

fn is_required(value: &Value) -> bool {
    value["required"] == true
}

/// Whether an operation answers without credentials.
fn is_open(document: &Value, operation: &Value) -> bool {
    let security = operation.get("security").unwrap_or(&document["security"]);
    let ways = security.as_array().map_or(&[][..], Vec::as_slice);
    ways.is_empty() || ways.iter().any(|way| way.as_object().is_some_and(serde_json::Map::is_empty))
}

/// What a value says: behind a reference, what that leads to.
fn meant<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let target = value["$ref"].as_str().map(|reference| reference.trim_start_matches('#'));
    match target.and_then(|pointer| document.pointer(pointer)) {
        Some(target) => meant(document, target),
        None => value,
    }
}

fn items(array: &Value) -> impl Iterator<Item = &Value> {
    array.as_array().into_iter().flatten()
}

fn members(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

/// A step of a JSON pointer (RFC 6901 §3).
fn escaped(step: &str) -> String {
    step.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests;
