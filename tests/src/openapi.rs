//! The OpenAPI document of a running server, as tests walk through it.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::client::{Call, text};

/// The document that a server shows.
pub struct Document {
    json: Value,
    /// Its operations, in its order.
    pub operations: Vec<Operation>,
}

/// One documented operation.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Its stable name.
    pub id: String,
    /// The method.
    pub method: Method,
    /// The path template.
    pub path: String,
    /// Whether it asks for credentials.
    pub access: Access,
    /// The names of what stands in braces in the path.
    pub segments: Vec<String>,
    /// The names of its query parameters.
    pub query: Vec<String>,
    /// The names of its header parameters.
    pub headers: Vec<String>,
    /// The schema of its body, if it takes one.
    pub body: Option<Value>,
    /// The documented statuses, `default` aside.
    pub statuses: BTreeSet<u16>,
}

/// Whether an operation asks for credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It never asks who calls.
    Public,
    /// It answers anybody, and more to people who are logged in.
    Optional,
    /// It refuses anonymous callers.
    Required,
}

impl App {
    /// The document that this server shows.
    pub async fn openapi(&self) -> Document {
        Document::new(self.get("/openapi.json").await.expect(200).json())
    }

    /// A call of a documented operation, with what is to stand in the braces of its path.
    pub fn call_of(&self, operation: &Operation, segment: impl Fn(&str) -> String) -> Call<'_> {
        self.call(operation.method.clone(), operation.path_with(segment))
    }
}

impl Document {
    fn new(json: Value) -> Self {
        let members = |value: &Value| value.as_object().cloned().unwrap_or_default();
        let mut operations = Vec::new();
        for (path, item) in members(&json["paths"]) {
            for (method, operation) in members(&item) {
                operations.push(Operation::new(&path, &method, &operation));
            }
        }
        Self { json, operations }
    }

    /// The operation of that name.
    #[must_use]
    pub fn operation(&self, id: &str) -> &Operation {
        let found = self.operations.iter().find(|operation| operation.id == id);
        found.unwrap_or_else(|| panic!("no operation is named {id}"))
    }

    /// The operations that take a JSON body.
    pub fn with_body(&self) -> impl Iterator<Item = (&Operation, Map<String, Value>)> {
        self.operations.iter().filter_map(|operation| {
            let body = self.example(operation.body.as_ref()?);
            Some((operation, body.as_object()?.clone()))
        })
    }

    /// The operations that return pages.
    pub fn lists(&self) -> impl Iterator<Item = &Operation> {
        self.operations
            .iter()
            .filter(|operation| operation.query.iter().any(|name| name == "after"))
    }

    /// A value that fits a schema: its example, or one made of the examples within.
    #[must_use]
    pub fn example(&self, schema: &Value) -> Value {
        if let Some(example) = schema.get("example") {
            return example.clone();
        }
        if let Some(reference) = schema["$ref"].as_str() {
            return self.example(self.at(reference));
        }
        if let Some(value) = schema["enum"].as_array().and_then(|values| values.first()) {
            return value.clone();
        }
        if let Some(choice) = schema["oneOf"].as_array().and_then(|choices| {
            choices.iter().find(|choice| choice["type"] != "null").or(choices.first())
        }) {
            return self.example(choice);
        }
        match schema["properties"].as_object() {
            Some(properties) => properties
                .iter()
                .map(|(name, property)| (name.clone(), self.example(property)))
                .collect::<Map<_, _>>()
                .into(),
            None => json!(null),
        }
    }

    /// The properties of a body's schema, with what each is.
    #[must_use]
    pub fn properties(&self, operation: &Operation) -> Map<String, Value> {
        let Some(schema) = &operation.body else { return Map::new() };
        self.resolved(schema)["properties"].as_object().cloned().unwrap_or_default()
    }

    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let choice = schema["oneOf"]
            .as_array()
            .and_then(|choices| choices.iter().find(|choice| choice["type"] != "null"));
        match (choice, schema["$ref"].as_str()) {
            (Some(choice), _) => self.resolved(choice),
            (_, Some(reference)) => self.resolved(self.at(reference)),
            (None, None) => schema,
        }
    }

    fn at(&self, reference: &str) -> &Value {
        let pointer = reference.trim_start_matches('#');
        self.json.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
    }
}

impl Operation {
    fn new(path: &str, method: &str, operation: &Value) -> Self {
        let parameters = |place: &str| {
            let all = operation["parameters"].as_array().into_iter().flatten();
            let these = all.filter(|parameter| parameter["in"] == place);
            these.map(|parameter| text(&parameter["name"])).collect::<Vec<_>>()
        };
        let access = match operation["security"].as_array() {
            Some(ways) if ways.iter().all(|way| way == &json!({})) => Access::Public,
            Some(ways) if ways.contains(&json!({})) => Access::Optional,
            Some(_) | None => Access::Required,
        };
        let body = &operation["requestBody"]["content"]["application/json"]["schema"];
        let responses = operation["responses"].as_object().into_iter().flatten();
        Self {
            id: text(&operation["operationId"]),
            method: method.to_uppercase().parse().expect("a method of HTTP"),
            path: path.to_owned(),
            access,
            segments: parameters("path"),
            query: parameters("query"),
            headers: parameters("header"),
            body: (!body.is_null()).then(|| body.clone()),
            statuses: responses.filter_map(|(status, _)| status.parse().ok()).collect(),
        }
    }

    /// How it is called in messages: `GET /v1/communities/{community}`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The path with something in each brace.
    #[must_use]
    pub fn path_with(&self, segment: impl Fn(&str) -> String) -> String {
        self.segments.iter().fold(self.path.clone(), |path, name| {
            path.replace(&format!("{{{name}}}"), &segment(name))
        })
    }

    /// Whether a header is among its parameters.
    #[must_use]
    pub fn takes_header(&self, name: &str) -> bool {
        self.headers.iter().any(|header| header == name)
    }
}
