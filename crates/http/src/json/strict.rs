//! From bytes to a tree, refusing what two readers could understand differently (RFC 7493).

use std::fmt;

use convene_application::kernel::error::{Checked, Failure, FieldError};
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{at, malformed, push_step};

/// How deep objects and arrays may nest.
const MAX_DEPTH: usize = 64;

/// Reads one JSON text.
pub(super) fn parse(body: &[u8]) -> Checked<Value> {
    let text = std::str::from_utf8(body).map_err(|_| malformed("The body is not UTF-8."))?;
    if text.trim_ascii().is_empty() {
        return Err(malformed("The body is empty."));
    }
    // Skipping over a value looks at the grammar alone, without recursion: what fails here does not parse, and what
    // fails later parses but has no meaning (`1e400`, half a surrogate pair).
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| malformed(syntax(&error)))?;

    let mut reading = Reading::default();
    let mut json = serde_json::Deserializer::from_str(text);
    let outcome = Node(&mut reading).deserialize(&mut json);
    if let Some(reason) = reading.malformed {
        return Err(malformed(reason));
    }
    match outcome {
        Err(error) => {
            let (code, detail) = meaningless(&error);
            reading.mistake(code, detail);
            Err(Failure::invalid(reading.mistakes))
        }
        Ok(_) if !reading.mistakes.is_empty() => Err(Failure::invalid(reading.mistakes)),
        Ok(value) => Ok(value),
    }
}

fn syntax(error: &serde_json::Error) -> String {
    format!("The body is not JSON: see line {}, column {}.", error.line(), error.column())
}

/// What is wrong with a token that the grammar allows.
fn meaningless(error: &serde_json::Error) -> (&'static str, &'static str) {
    if error.to_string().starts_with("number out of range") {
        ("out_of_range", "is a number too large to represent")
    } else {
        ("invalid_unicode", "holds half of a surrogate pair")
    }
}

/// Where the reader is and what it has found.
#[derive(Default)]
struct Reading {
    trail: Vec<Step>,
    /// Mistakes after which reading goes on.
    mistakes: Vec<FieldError>,
    /// Why reading ended, if the text is malformed.
    malformed: Option<String>,
}

enum Step {
    Field(String),
    Item(usize),
}

impl Reading {
    fn pointer(&self) -> String {
        let mut pointer = String::new();
        for step in &self.trail {
            match step {
                Step::Field(name) => push_step(&mut pointer, name),
                Step::Item(index) => push_step(&mut pointer, &index.to_string()),
            }
        }
        pointer
    }

    fn mistake(&mut self, code: &'static str, detail: &'static str) {
        self.mistakes.push(at(self.pointer(), code, detail));
    }

    fn refuse_nul(&mut self, text: &str) {
        if text.contains('\0') {
            self.mistake("control_character", "must not contain NUL");
        }
    }

    /// Ends the reading.
    fn refuse<E: serde::de::Error>(&mut self, reason: String) -> E {
        self.malformed = Some(reason);
        E::custom("malformed")
    }
}

/// One value, at the place where the reading is.
struct Node<'a>(&'a mut Reading);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Node<'_> {
    /// The trail holds one step per container around this value.
    fn open<E: serde::de::Error>(&mut self) -> Result<(), E> {
        if self.0.trail.len() < MAX_DEPTH {
            Ok(())
        } else {
            Err(self.0.refuse(format!("The body nests deeper than {MAX_DEPTH} levels.")))
        }
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        self.0.refuse_nul(value);
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        self.open()?;
        let mut array = Vec::new();
        loop {
            self.0.trail.push(Step::Item(array.len()));
            match items.next_element_seed(Node(self.0))? {
                Some(item) => array.push(item),
                None => break,
            }
            self.0.trail.pop();
        }
        self.0.trail.pop();
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<Value, A::Error> {
        self.open()?;
        let mut object = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            self.0.refuse_nul(&name);
            if object.contains_key(&name) {
                let place = self.0.pointer();
                return Err(self.0.refuse(format!(
                    "The object at \"{place}\" has a key twice: {}.",
                    Value::String(name)
                )));
            }
            self.0.trail.push(Step::Field(name.clone()));
            let value = fields.next_value_seed(Node(self.0))?;
            self.0.trail.pop();
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}
