//! From a tree to a DTO, with a place and a plain sentence for each mistake. serde's own messages name Rust types, which
//! mean nothing to a client, and end at the first mistake.

use std::cell::RefCell;

use convene_application::kernel::error::FieldError;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer as _, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};

use super::mistake::{Mistake, Place};
use super::{at, push_step};

/// More mistakes than anybody reads; also bounds the work spent on a body that is all wrong.
const MAX_MISTAKES: usize = 32;

/// Fills a DTO. Unknown fields are mistakes. After a mistake the field is taken out and the rest is read again, so that
/// all mistakes are told at once. `required` names the fields that the top level must have.
///
/// # Errors
/// The mistakes, at most about 32, in no particular order.
pub(crate) fn read<T: DeserializeOwned>(
    mut tree: Value,
    required: &dyn Fn() -> Vec<String>,
) -> Result<T, Vec<FieldError>> {
    let mut mistakes: Vec<FieldError> = Vec::new();
    let mut taken_out: Vec<String> = Vec::new();
    loop {
        let unknown = RefCell::new(Vec::new());
        let outcome = T::deserialize(Node { value: &tree, place: &Place::Root, unknown: &unknown });
        let mut unknown = unknown.into_inner();
        unknown.truncate(MAX_MISTAKES);
        match outcome {
            Ok(dto) if mistakes.is_empty() && unknown.is_empty() => return Ok(dto),
            Ok(_) => {
                mistakes.append(&mut unknown);
                return Err(mistakes);
            }
            Err(mistake) if mistake.missing && mistake.is_at_top() => {
                // Noticed last, when every field that is there has been read.
                let mut absent = vec![mistake.pointer()];
                absent.extend(
                    required()
                        .iter()
                        .filter(|name| tree.get(name).is_none())
                        .map(|name| step(name)),
                );
                absent.sort();
                absent.dedup();
                absent.retain(|pointer| !taken_out.contains(pointer));
                mistakes.extend(
                    absent.into_iter().map(|pointer| at(pointer, "required", "is required")),
                );
                mistakes.append(&mut unknown);
                return Err(mistakes);
            }
            Err(mistake) => {
                let pointer = mistake.pointer();
                let whole = if mistake.missing { parent(&pointer) } else { &pointer };
                let removed = take_out(&mut tree, whole);
                taken_out.push(whole.to_owned());
                mistakes.push(at(pointer, mistake.code, mistake.detail));
                if !removed || mistakes.len() >= MAX_MISTAKES {
                    mistakes.append(&mut unknown);
                    return Err(mistakes);
                }
            }
        }
    }
}

/// The pointer to a field of the top level.
fn step(name: &str) -> String {
    let mut pointer = String::new();
    push_step(&mut pointer, name);
    pointer
}

fn parent(pointer: &str) -> &str {
    pointer.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// Removes what the pointer points to: a field, or the field that holds the array with it.
fn take_out(tree: &mut Value, pointer: &str) -> bool {
    let mut steps =
        pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~"));
    let Some(first) = steps.next() else { return false };
    let mut name = first;
    let Value::Object(top) = tree else { return false };
    let mut object = top;
    for step in steps {
        if !matches!(object.get(&name), Some(Value::Object(_))) {
            break;
        }
        let Some(Value::Object(inner)) = object.get_mut(&name) else { return false };
        object = inner;
        name = step;
    }
    object.shift_remove(&name).is_some()
}

/// A value of the tree as serde wants to see it.
#[derive(Clone, Copy)]
struct Node<'a> {
    value: &'a Value,
    place: &'a Place<'a>,
    unknown: &'a RefCell<Vec<FieldError>>,
}

impl<'a> Node<'a> {
    fn located<T>(self, outcome: Result<T, Mistake>) -> Result<T, Mistake> {
        outcome.map_err(|mistake| mistake.located(self.place))
    }

    fn refuse<T>(self, expected: &str) -> Result<T, Mistake> {
        self.located(Err(Mistake::wrong_type(expected)))
    }

    fn text<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match self.value {
            Value::String(text) => self.located(visitor.visit_str(text)),
            _ => self.refuse("a string"),
        }
    }

    fn items<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match self.value {
            Value::Array(items) => {
                self.located(visitor.visit_seq(Items { node: self, items, next: 0 }))
            }
            _ => self.refuse("an array"),
        }
    }

    fn fields<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match self.value {
            Value::Object(object) => self.located(visitor.visit_map(Fields {
                node: self,
                fields: object.iter(),
                value: None,
            })),
            _ => self.refuse("an object"),
        }
    }

    /// An integer within the bounds of its type.
    fn integer<'de, V: Visitor<'de>>(
        self,
        visitor: V,
        min: i128,
        max: i128,
    ) -> Result<V::Value, Mistake> {
        let Value::Number(number) = self.value else { return self.refuse("an integer") };
        let outcome = if let Some(value) = number.as_u64().filter(|n| i128::from(*n) <= max) {
            visitor.visit_u64(value)
        } else if let Some(value) = number.as_i64().filter(|n| i128::from(*n) >= min && *n < 0) {
            visitor.visit_i64(value)
        } else if number.is_f64() && number.as_f64().is_some_and(|n| n.fract() != 0.0) {
            return self.refuse("an integer");
        } else {
            Err(Mistake::new("out_of_range", format!("must be an integer from {min} to {max}")))
        };
        self.located(outcome)
    }
}

macro_rules! integers {
    ($($method:ident: $integer:ty),+ $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
            self.integer(visitor, i128::from(<$integer>::MIN), i128::from(<$integer>::MAX))
        }
    )+};
}

impl<'de> serde::Deserializer<'de> for Node<'_> {
    type Error = Mistake;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match self.value {
            Value::Null => self.located(visitor.visit_unit()),
            Value::Bool(value) => self.located(visitor.visit_bool(*value)),
            Value::Number(number) => self.located(match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => visitor.visit_u64(value),
                (_, Some(value)) => visitor.visit_i64(value),
                _ => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            }),
            Value::String(_) => self.text(visitor),
            Value::Array(_) => self.items(visitor),
            Value::Object(_) => self.fields(visitor),
        }
    }

    integers! {
        deserialize_u8: u8,
        deserialize_u16: u16,
        deserialize_u32: u32,
        deserialize_u64: u64,
        deserialize_i8: i8,
        deserialize_i16: i16,
        deserialize_i32: i32,
        deserialize_i64: i64,
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match self.value.as_f64() {
            Some(value) => self.located(visitor.visit_f64(value)),
            None => self.refuse("a number"),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match self.value {
            Value::Bool(value) => self.located(visitor.visit_bool(*value)),
            _ => self.refuse("true or false"),
        }
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        self.text(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        self.text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        self.text(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        self.text(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match self.value {
            Value::Null => self.located(visitor.visit_none()),
            _ => self.located(visitor.visit_some(self)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        self.located(visitor.visit_newtype_struct(self))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        self.items(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Mistake> {
        self.items(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        self.fields(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        self.fields(visitor)
    }

    /// Enums in bodies are names.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        match self.value {
            Value::String(name) => {
                let name: StrDeserializer<'_, Mistake> = name.as_str().into_deserializer();
                self.located(visitor.visit_enum(name))
            }
            _ => self.refuse(&format!("one of: {}", variants.join(", "))),
        }
    }

    /// serde ignores exactly the fields that a DTO does not know.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        let error = at(self.place.pointer(), "unknown_field", "is not a known field");
        self.unknown.borrow_mut().push(error);
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i128 u128 bytes byte_buf unit unit_struct tuple_struct
    }
}

struct Items<'a> {
    node: Node<'a>,
    items: &'a [Value],
    next: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Mistake;

    fn next_element_seed<T: serde::de::DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Mistake> {
        let Some(value) = self.items.get(self.next) else { return Ok(None) };
        let place = Place::Item(self.node.place, self.next);
        self.next += 1;
        seed.deserialize(Node { value, place: &place, unknown: self.node.unknown }).map(Some)
    }
}

struct Fields<'a> {
    node: Node<'a>,
    fields: <&'a Map<String, Value> as IntoIterator>::IntoIter,
    value: Option<(&'a str, &'a Value)>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Mistake;

    fn next_key_seed<K: serde::de::DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Mistake> {
        let Some((name, value)) = self.fields.next() else { return Ok(None) };
        self.value = Some((name, value));
        let name: StrDeserializer<'_, Mistake> = name.as_str().into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: serde::de::DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, Mistake> {
        let (name, value) =
            self.value.take().ok_or_else(|| Mistake::new("invalid_format", "no value"))?;
        let place = Place::Field(self.node.place, name);
        seed.deserialize(Node { value, place: &place, unknown: self.node.unknown })
    }
}
