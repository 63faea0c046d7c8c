use serde_json::{Value, json};

use super::differences;

fn document() -> Value {
    json!({
        "security": [{ "bearer": [] }],
        "paths": {
            "/v1/notes": {
                "get": {
                    "operationId": "list_notes",
                    "security": [{}, { "bearer": [] }],
                    "parameters": [{ "in": "query", "name": "limit", "schema": { "type": "integer", "maximum": 100 } }],
                    "responses": {
                        "200": {
                            "headers": { "Link": {} },
                            "content": { "application/json": { "schema": {
                                "type": "array", "items": { "$ref": "#/components/schemas/Note" },
                            } } },
                        },
                        "404": { "$ref": "#/components/responses/Problem" },
                    },
                },
                "post": {
                    "operationId": "create_note",
                    "requestBody": {
                        "required": true,
                        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/NewNote" } } },
                    },
                    "responses": { "201": {} },
                },
            },
        },
        "components": {
            "responses": { "Problem": {} },
            "schemas": {
                "Kind": { "type": "string", "enum": ["a", "b"] },
                "NewNote": {
                    "type": "object",
                    "required": ["title"],
                    "properties": {
                        "title": { "type": "string", "minLength": 1, "maxLength": 10 },
                        "text": { "type": ["string", "null"] },
                        "kind": { "oneOf": [{ "$ref": "#/components/schemas/Kind" }, { "type": "null" }] },
                    },
                },
                "Note": {
                    "type": "object",
                    "required": ["title", "kind"],
                    "properties": {
                        "title": { "type": "string" },
                        "kind": { "$ref": "#/components/schemas/Kind" },
                        // Holds itself, with and without null beside it.
                        "parent": { "oneOf": [{ "type": "null" }, { "$ref": "#/components/schemas/Note" }] },
                        "answers": { "type": "array", "items": { "$ref": "#/components/schemas/Note" } },
                    },
                },
            },
        },
    })
}

/// What breaks when the value at the pointer becomes another; null takes it away.
fn after(pointer: &str, value: Value) -> Vec<String> {
    let mut new = document();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = new.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer} leads nowhere"));
    let name = name.replace("~1", "/");
    match (parent, value) {
        (Value::Object(object), Value::Null) => {
            object.remove(&name).unwrap_or_else(|| panic!("{pointer} leads nowhere"));
        }
        (Value::Object(object), value) => {
            object.insert(name, value);
        }
        (Value::Array(array), value) => array.insert(name.parse().unwrap(), value),
        (other, _) => panic!("{other} has no members"),
    }
    differences(&document(), &new)
        .into_iter()
        .map(|found| format!("{}: {}", found.pointer, found.what))
        .collect()
}

const GET: &str = "/paths/~1v1~1notes/get";
const POST: &str = "/paths/~1v1~1notes/post";
const SCHEMAS: &str = "/components/schemas";

#[track_caller]
fn breaks(pointer: &str, value: Value, expected: &str) {
    assert_eq!(after(pointer, value), [expected]);
}

#[track_caller]
fn passes(pointer: &str, value: Value) {
    assert_eq!(after(pointer, value), [""; 0]);
}

#[test]
fn the_same_document_breaks_nothing() {
    assert_eq!(differences(&document(), &document()), []);
}

#[test]
fn operations_stay_as_they_are_called() {
    assert_eq!(after("/paths/~1v1~1notes", Value::Null).len(), 2);
    breaks(POST, Value::Null, "/paths/~1v1~1notes/post: the operation is gone");
    breaks(
        &format!("{GET}/operationId"),
        json!("get_notes"),
        "/paths/~1v1~1notes/get/operationId: is \"get_notes\" now, and so are methods of clients",
    );
    breaks(
        &format!("{GET}/security"),
        json!([{ "bearer": [] }]),
        "/paths/~1v1~1notes/get/security: needs credentials now",
    );
    passes(&format!("{POST}/security"), json!([{}]));
    passes("/paths/~1v1~1others", json!({ "get": { "operationId": "list_others" } }));
}

#[test]
fn parameters_are_taken_as_before() {
    let parameters = "/paths/~1v1~1notes/get/parameters";
    let with = |change: Value| {
        let mut limit = json!({ "in": "query", "name": "limit", "schema": { "type": "integer", "maximum": 100 } });
        for (name, value) in change.as_object().unwrap() {
            limit[name] = value.clone();
        }
        json!([limit])
    };
    breaks(parameters, json!([]), &format!("{parameters}/0: the parameter limit is gone"));
    breaks(
        parameters,
        with(json!({ "required": true })),
        &format!("{parameters}/0: the parameter limit is required now"),
    );
    breaks(
        parameters,
        with(json!({ "schema": { "type": "integer", "maximum": 50 } })),
        &format!("{parameters}/0/schema: maximum is 50 now"),
    );
    passes(parameters, with(json!({ "schema": { "type": "integer", "maximum": 200 } })));
    let first = format!("{parameters}/0");
    breaks(
        &first,
        json!({ "in": "query", "name": "of", "required": true, "schema": {} }),
        &format!("{parameters}: a parameter that is required is new: of"),
    );
}

#[test]
fn requests_are_asked_for_no_more() {
    let body = "/paths/~1v1~1notes/post/requestBody/content/application~1json";
    breaks(
        &format!("{SCHEMAS}/NewNote/required"),
        json!(["title", "text"]),
        &format!("{body}/schema/required: the field text is required now"),
    );
    breaks(
        &format!("{SCHEMAS}/NewNote/properties/text"),
        Value::Null,
        &format!("{body}/schema/properties/text: the field is not taken any more"),
    );
    breaks(
        &format!("{SCHEMAS}/NewNote/properties/text"),
        json!({ "type": "string" }),
        &format!("{body}/schema/properties/text: null is not taken any more"),
    );
    breaks(
        &format!("{SCHEMAS}/NewNote/properties/kind"),
        json!({ "$ref": "#/components/schemas/Kind" }),
        &format!("{body}/schema/properties/kind: null is not taken any more"),
    );
    breaks(
        &format!("{SCHEMAS}/Kind/enum"),
        json!(["a"]),
        &format!("{body}/schema/properties/kind: the value \"b\" is not taken any more"),
    );
    for (bound, value) in [("minLength", 2), ("maxLength", 9)] {
        breaks(
            &format!("{SCHEMAS}/NewNote/properties/title/{bound}"),
            json!(value),
            &format!("{body}/schema/properties/title: {bound} is {value} now"),
        );
    }
    breaks(
        &format!("{SCHEMAS}/NewNote/properties/title/pattern"),
        json!("^a"),
        &format!("{body}/schema/properties/title: the pattern is \"^a\" now"),
    );
    breaks(
        body,
        Value::Null,
        &format!("{body}: bodies of application/json are not taken any more"),
    );
    breaks(
        &format!("{GET}/requestBody"),
        json!({ "required": true }),
        "/paths/~1v1~1notes/get/requestBody: a body is required now",
    );
    passes(&format!("{SCHEMAS}/NewNote/properties/title/maxLength"), json!(20));
    passes(&format!("{SCHEMAS}/NewNote/properties/more"), json!({ "type": "string" }));
    passes(&format!("{SCHEMAS}/NewNote/required"), json!([]));
}

#[test]
fn replies_tell_no_less() {
    let responses = "/paths/~1v1~1notes/get/responses";
    let note = format!("{responses}/200/content/application~1json/schema/items");
    breaks(
        &format!("{SCHEMAS}/Note/properties/title"),
        Value::Null,
        &format!("{note}/properties/title: the field is gone"),
    );
    breaks(
        &format!("{SCHEMAS}/Note/required"),
        json!(["title"]),
        &format!("{note}/required: the field kind may be missing now"),
    );
    breaks(
        &format!("{SCHEMAS}/Note/properties/title"),
        json!({ "type": ["string", "null"] }),
        &format!("{note}/properties/title: null is answered now"),
    );
    breaks(
        &format!("{SCHEMAS}/Note/properties/title"),
        json!({}),
        &format!("{note}/properties/title: other types than string are answered now"),
    );
    breaks(
        &format!("{responses}/200"),
        Value::Null,
        &format!("{responses}/200: this is not answered any more"),
    );
    breaks(
        &format!("{responses}/200/headers/Link"),
        Value::Null,
        &format!("{responses}/200/headers/Link: the header is gone"),
    );
    passes(&format!("{responses}/404"), Value::Null);
    passes(&format!("{responses}/202"), json!({}));
    passes(&format!("{SCHEMAS}/Kind/enum"), json!(["a", "b", "c"]));
    passes(&format!("{SCHEMAS}/Note/properties/more"), json!({ "type": "string" }));
}
