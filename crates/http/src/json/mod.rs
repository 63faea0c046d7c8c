//! Strict JSON: what cannot be parsed is told apart from what parses but is wrong, and every mistake has a place.
//!
//! `strict` reads the bytes, `reader` fills a DTO from what was read, and `patch` tells an absent field from `null`.

mod mistake;
mod patch;
mod reader;
mod strict;

pub use patch::{Patch, present};

use convene_application::kernel::error::{Checked, Code, Failure, FieldError, Place};
use garde::Validate;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::PartialSchema;

use crate::rules;

pub(crate) use reader::read;

/// Reads a DTO from the bytes of a body and checks its rules.
///
/// # Errors
/// 400 `malformed_request` for what is not JSON as RFC 8259 and RFC 7493 (I-JSON) know it, 422 `validation_failed` with
/// every mistake that can be found for the rest.
pub fn from_slice<T>(body: &[u8]) -> Checked<T>
where
    T: DeserializeOwned + PartialSchema + Validate<Context = ()>,
{
    from_slice_through(body, |value| value)
}

/// The same for a body that has another form than the DTO: `adapt` turns what was sent into what is read.
///
/// # Errors
/// As above; the places of mistakes are those after `adapt`.
pub(crate) fn from_slice_through<T>(body: &[u8], adapt: impl FnOnce(Value) -> Value) -> Checked<T>
where
    T: DeserializeOwned + PartialSchema + Validate<Context = ()>,
{
    let value = adapt(strict::parse(body)?);
    let dto: T = read(value, &|| required_fields::<T>()).map_err(Failure::invalid)?;
    rules::check(&dto).map_err(Failure::invalid)?;
    Ok(dto)
}

/// The names of the fields that a body must have, as the documentation says too.
fn required_fields<T: PartialSchema>() -> Vec<String> {
    match T::schema() {
        utoipa::openapi::RefOr::T(utoipa::openapi::Schema::Object(object)) => object.required,
        _ => Vec::new(),
    }
}

fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    Failure::new(Code::MalformedRequest, detail)
}

/// Appends a step to a JSON pointer (RFC 6901 §3).
pub(crate) fn push_step(pointer: &mut String, step: &str) {
    pointer.push('/');
    for character in step.chars() {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

fn at(
    pointer: String,
    code: &'static str,
    detail: impl Into<std::borrow::Cow<'static, str>>,
) -> FieldError {
    FieldError { place: Place::Pointer(pointer), code, detail: detail.into() }
}

#[cfg(test)]
mod tests;
