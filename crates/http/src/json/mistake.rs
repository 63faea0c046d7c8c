//! Where a mistake is and what it is, in words for clients: serde's own messages name Rust types.

use std::fmt;

use serde::de::{Expected, Unexpected};

use super::push_step;

/// Where a value is, as a list from the value to the root.
pub(super) enum Place<'a> {
    Root,
    Field(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

impl Place<'_> {
    pub(super) fn pointer(&self) -> String {
        let mut pointer = match self {
            Self::Root => return String::new(),
            Self::Field(parent, _) | Self::Item(parent, _) => parent.pointer(),
        };
        match self {
            Self::Field(_, name) => push_step(&mut pointer, name),
            Self::Item(_, index) => push_step(&mut pointer, &index.to_string()),
            Self::Root => {}
        }
        pointer
    }
}

/// A mistake that ends one reading.
#[derive(Debug)]
pub(super) struct Mistake {
    /// Where, once that is known.
    pointer: Option<String>,
    /// The field within that place that is meant, if it is not the place itself.
    field: Option<String>,
    pub(super) code: &'static str,
    pub(super) detail: String,
    pub(super) missing: bool,
}

impl Mistake {
    pub(super) fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { pointer: None, field: None, code, detail: detail.into(), missing: false }
    }

    pub(super) fn wrong_type(expected: &str) -> Self {
        Self::new("invalid_type", format!("must be {expected}"))
    }

    /// Gives the mistake its place, unless a place further inside is known.
    pub(super) fn located(mut self, place: &Place<'_>) -> Self {
        if self.pointer.is_none() {
            let mut pointer = place.pointer();
            if let Some(field) = self.field.take() {
                push_step(&mut pointer, &field);
            }
            self.pointer = Some(pointer);
        }
        self
    }

    pub(super) fn pointer(&self) -> String {
        self.pointer.clone().unwrap_or_default()
    }

    /// Whether it is about a field of the top level.
    pub(super) fn is_at_top(&self) -> bool {
        self.pointer.as_ref().is_none_or(|pointer| pointer.matches('/').count() <= 1)
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Mistake {}

impl serde::de::Error for Mistake {
    /// What the type of a field says itself, a date for example.
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new("invalid_format", message.to_string())
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::wrong_type(&expected.to_string())
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new("out_of_range", format!("must be {expected}"))
    }

    fn invalid_length(_: usize, _: &dyn Expected) -> Self {
        Self::new("invalid_length", "has the wrong number of items")
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new("unknown_value", format!("must be one of: {}", expected.join(", ")))
    }

    fn unknown_field(field: &str, _: &'static [&'static str]) -> Self {
        Self { field: Some(field.to_owned()), ..Self::new("unknown_field", "is not a known field") }
    }

    fn missing_field(field: &'static str) -> Self {
        Self {
            field: Some(field.to_owned()),
            missing: true,
            ..Self::new("required", "is required")
        }
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new("duplicate_field", format!("{field} is given twice"))
    }
}
