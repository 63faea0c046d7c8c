//! Schemas: a request may be asked for less, never for more, and a reply may tell more, never less.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Comparison, escaped, items, meant, members};

/// Which way a body goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

/// Bounds, and whether a greater one admits less.
const BOUNDS: [(&str, bool); 6] = [
    ("minLength", true),
    ("minimum", true),
    ("minItems", true),
    ("maxLength", false),
    ("maximum", false),
    ("maxItems", false),
];

impl Comparison<'_> {
    pub(super) fn request_schema(&mut self, place: &str, old: &Value, new: &Value) {
        self.schema(place, old, new, Way::In, &mut Vec::new());
    }

    pub(super) fn response_schema(&mut self, place: &str, old: &Value, new: &Value) {
        self.schema(place, old, new, Way::Out, &mut Vec::new());
    }

    /// `path` holds the references that led here, so that a schema that holds itself ends.
    fn schema(&mut self, place: &str, old: &Value, new: &Value, way: Way, path: &mut Vec<String>) {
        let behind = path.len();
        let (old_types, new_types) = (types(self.old, old), types(self.new, new));
        let new = core(self.new, new, &mut Vec::new()).clone();
        let old = core(self.old, old, path).clone();
        if (behind..path.len()).any(|at| path[..at].contains(&path[at])) {
            path.truncate(behind);
            return;
        }
        self.types(place, &old_types, &new_types, way);
        self.values(place, &old, &new, way);
        if way == Way::In {
            self.bounds(place, &old, &new);
        }
        self.fields(place, &old, &new, way, path);
        if let (Some(old), Some(new)) = (old.get("items"), new.get("items")) {
            self.schema(&format!("{place}/items"), old, new, way, path);
        }
        path.truncate(behind);
    }

    fn types(&mut self, place: &str, old: &BTreeSet<String>, new: &BTreeSet<String>, way: Way) {
        // A schema without a type admits all of them.
        let holds = |all: &BTreeSet<String>, kind: &String| {
            all.is_empty() || all.contains(kind) || (kind == "integer" && all.contains("number"))
        };
        let (fewer, more, what) = match way {
            Way::In => (old, new, "not taken any more"),
            Way::Out => (new, old, "answered now"),
        };
        for kind in fewer.iter().filter(|kind| !holds(more, kind)) {
            self.note(place, format!("{kind} is {what}"));
        }
        if fewer.is_empty() && !more.is_empty() {
            self.note(place, format!("other types than {} are {what}", list(more)));
        }
    }

    fn values(&mut self, place: &str, old: &Value, new: &Value, way: Way) {
        if way == Way::Out || new.get("enum").is_none() {
            return;
        }
        if old.get("enum").is_none() {
            self.note(place, "only some values are taken now");
        }
        let taken: Vec<&Value> = items(&new["enum"]).collect();
        for value in items(&old["enum"]).filter(|value| !taken.contains(value)) {
            self.note(place, format!("the value {value} is not taken any more"));
        }
    }

    fn bounds(&mut self, place: &str, old: &Value, new: &Value) {
        for (name, greater_is_less) in BOUNDS {
            let Some(now) = new[name].as_f64() else { continue };
            let narrower = old[name]
                .as_f64()
                .is_none_or(|before| if greater_is_less { now > before } else { now < before });
            if narrower {
                self.note(place, format!("{name} is {} now", new[name]));
            }
        }
        if new.get("pattern").is_some() && old.get("pattern") != new.get("pattern") {
            self.note(place, format!("the pattern is {} now", new["pattern"]));
        }
    }

    fn fields(&mut self, place: &str, old: &Value, new: &Value, way: Way, path: &mut Vec<String>) {
        for (name, field) in members(&old["properties"]) {
            let place = format!("{place}/properties/{}", escaped(name));
            match (new["properties"].get(name), way) {
                // Unknown fields are refused, so one that is not known any more is, too.
                (None, Way::In) => self.note(&place, "the field is not taken any more"),
                (None, Way::Out) => self.note(&place, "the field is gone"),
                (Some(now), _) => self.schema(&place, field, now, way, path),
            }
        }
        let required = |schema: &Value| -> BTreeSet<String> {
            items(&schema["required"]).filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let (before, now) = (required(old), required(new));
        let (demands, what) = match way {
            Way::In => (now.difference(&before), "is required now"),
            Way::Out => (before.difference(&now), "may be missing now"),
        };
        for name in demands.filter(|name| way == Way::In || new["properties"].get(name).is_some()) {
            self.note(&format!("{place}/required"), format!("the field {name} {what}"));
        }
    }
}

/// The schema itself, where the only alternative to it is null. `path` gets the references that lead there.
fn core<'a>(document: &'a Value, schema: &'a Value, path: &mut Vec<String>) -> &'a Value {
    path.extend(schema["$ref"].as_str().map(str::to_owned));
    let schema = meant(document, schema);
    let mut real = choices(schema).filter(|choice| choice["type"] != "null");
    match (real.next(), real.next()) {
        (Some(only), None) => core(document, only, path),
        _ => schema,
    }
}

fn types(document: &Value, schema: &Value) -> BTreeSet<String> {
    let schema = meant(document, schema);
    let mut all: BTreeSet<String> = match &schema["type"] {
        Value::String(one) => [one.clone()].into(),
        several => items(several).filter_map(Value::as_str).map(str::to_owned).collect(),
    };
    for choice in choices(schema) {
        all.extend(types(document, choice));
    }
    all
}

fn choices(schema: &Value) -> impl Iterator<Item = &Value> {
    items(&schema["oneOf"]).chain(items(&schema["anyOf"]))
}

fn list(kinds: &BTreeSet<String>) -> String {
    kinds.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}
