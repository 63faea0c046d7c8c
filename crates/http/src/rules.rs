//! Rules of DTOs: garde's, and those of the domain's newtypes, with stable codes.
//!
//! A rule stands once, in the domain; a DTO names it:
//!
//! ```
//! use convene_domain::text::{Description, Slug};
//! use convene_http::rules;
//!
//! #[derive(serde::Deserialize, garde::Validate, utoipa::ToSchema)]
//! struct CreateCommunity {
//!     #[garde(custom(rules::text(Slug::check)))]
//!     slug: String,
//!     #[serde(default)]
//!     #[garde(inner(custom(rules::text(Description::check))))]
//!     description: Option<String>,
//! }
//! ```

use std::borrow::Cow;
use std::fmt::Display;

use convene_application::kernel::error::{Failure, FieldError, Place};
use convene_domain::text::TextError;
use garde::Validate;
use garde::i18n::{DefaultI18n, I18n, with_i18n};

use crate::problem::known;

/// Stands between the code and the sentence of a mistake, because garde's errors hold one text.
const SEPARATOR: char = '\u{1f}';

/// A mistake with one of the [known codes](crate::problem::MISTAKES), for rules written by hand.
#[must_use]
pub fn mistake(code: &'static str, detail: impl Display) -> garde::Error {
    debug_assert!(known(code).is_some(), "{code} is not in the list of mistakes");
    garde::Error::new(format!("{code}{SEPARATOR}{detail}"))
}

/// The rule of one of the domain's texts, `Slug::check` for example.
pub fn text<S: AsRef<str>>(
    check: fn(&str) -> Result<(), TextError>,
) -> impl FnOnce(&S, &()) -> garde::Result {
    move |value, ()| check(value.as_ref()).map_err(|error| mistake(error.code(), error))
}

/// A rule of the domain that knows only yes and no.
pub fn holds<T>(
    rule: impl FnOnce(&T) -> bool,
    code: &'static str,
    detail: &'static str,
) -> impl FnOnce(&T, &()) -> garde::Result {
    move |value, ()| if rule(value) { Ok(()) } else { Err(mistake(code, detail)) }
}

/// Makes the domain's text of a field whose rule was checked before, without trusting that it was.
///
/// # Errors
/// 422 naming the field.
pub fn checked<T>(field: &str, text: Result<T, TextError>) -> Result<T, Failure> {
    text.map_err(|error| Failure::invalid(vec![FieldError::text(field, &error)]))
}

/// Checks the rules of a DTO.
///
/// # Errors
/// Every mistake, with its place as a JSON pointer.
pub fn check<T: Validate<Context = ()>>(dto: &T) -> Result<(), Vec<FieldError>> {
    with_i18n(Coded, || dto.validate()).map_err(|report| {
        report
            .iter()
            .map(|(path, error)| {
                let (code, detail) = split(error.message());
                FieldError { place: Place::Pointer(pointer(path)), code, detail }
            })
            .collect()
    })
}

fn split(message: &str) -> (&'static str, Cow<'static, str>) {
    let (code, detail) = message.split_once(SEPARATOR).unwrap_or(("invalid_value", message));
    (known(code).unwrap_or("invalid_value"), Cow::Owned(detail.to_owned()))
}

/// `a.b[0].c` as `/a/b/0/c`.
fn pointer(path: &garde::Path) -> String {
    let path = path.to_string();
    path.split(['.', '['])
        .map(|step| step.trim_end_matches(']'))
        .filter(|step| !step.is_empty())
        .fold(String::new(), |mut pointer, step| {
            crate::json::push_step(&mut pointer, step);
            pointer
        })
}

/// garde's own rules with codes in front.
struct Coded;

macro_rules! coded {
    ($($code:literal: $name:ident($($argument:ident: $type:ty),*) => $text:expr;)+) => {$(
        fn $name(&self $(, $argument: $type)*) -> Cow<'static, str> {
            Cow::Owned(format!("{}{SEPARATOR}{}", $code, $text))
        }
    )+};
}

impl I18n for Coded {
    coded! {
        "too_short": length_lower_than(min: usize) => format_args!("must have at least {min} characters");
        "too_long": length_greater_than(max: usize) => format_args!("must have at most {max} characters");
        "out_of_range": range_lower_than(min: &dyn Display) => format_args!("must be at least {min}");
        "out_of_range": range_greater_than(max: &dyn Display) => format_args!("must be at most {max}");
        "invalid_format": credit_card_invalid(reason: garde::i18n::InvalidCreditCard) => DefaultI18n.credit_card_invalid(reason);
        "invalid_format": pattern_no_match(pattern: &dyn Display) => format_args!("must match {pattern}");
        "invalid_format": contains_missing(pattern: &dyn Display) => format_args!("must contain {pattern}");
        "invalid_format": url_invalid(reason: garde::i18n::InvalidUrl) => DefaultI18n.url_invalid(reason);
        "invalid_format": prefix_missing(pattern: &dyn Display) => format_args!("must begin with {pattern}");
        "invalid_format": suffix_missing(pattern: &dyn Display) => format_args!("must end with {pattern}");
        "invalid_format": phone_number_invalid(reason: garde::i18n::InvalidPhoneNumber) => DefaultI18n.phone_number_invalid(reason);
        "invalid_format": ip_invalid(kind: garde::i18n::IpKind) => DefaultI18n.ip_invalid(kind);
        "invalid_value": matches_field_mismatch(field: &dyn Display) => format_args!("must equal {field}");
        "invalid_format": email_invalid(reason: garde::i18n::InvalidEmail) => DefaultI18n.email_invalid(reason);
        "invalid_format": ascii_invalid() => "must be ASCII";
        "invalid_format": alphanumeric_invalid() => "must be letters and digits";
        "required": required_not_set() => "is required";
    }
}

#[cfg(test)]
mod tests {
    use convene_domain::text::Slug;

    use super::*;
    use crate::json::Patch;

    #[derive(Validate)]
    struct Dto {
        #[garde(custom(text(Slug::check)))]
        slug: String,
        #[garde(inner(range(min = 1, max = 10)))]
        party: Option<u32>,
        #[garde(inner(custom(text(Slug::check))))]
        new_slug: Patch<String>,
        #[garde(inner(length(chars, max = 3)))]
        words: Vec<String>,
    }

    #[test]
    fn every_mistake_has_a_place_and_a_code() {
        let dto = Dto {
            slug: "A".to_owned(),
            party: Some(11),
            new_slug: Patch::Set("-".repeat(3)),
            words: vec!["one".to_owned(), "three".to_owned()],
        };
        let mut mistakes = check(&dto).unwrap_err();
        mistakes.sort_by_key(|mistake| mistake.code);
        let told: Vec<_> = mistakes
            .iter()
            .map(|mistake| match &mistake.place {
                Place::Pointer(pointer) => (pointer.as_str(), mistake.code),
                Place::Parameter(_) => unreachable!(),
            })
            .collect();
        assert_eq!(
            told,
            [
                ("/new_slug", "invalid_format"),
                ("/party", "out_of_range"),
                ("/words/1", "too_long"),
                ("/slug", "too_short"),
            ]
        );
        assert_eq!(mistakes[1].detail, "must be at most 10");
    }

    #[test]
    fn what_follows_the_rules_passes() {
        let dto = Dto {
            slug: "rust-berlin".to_owned(),
            party: None,
            new_slug: Patch::Clear,
            words: Vec::new(),
        };
        assert_eq!(check(&dto), Ok(()));
    }
}
