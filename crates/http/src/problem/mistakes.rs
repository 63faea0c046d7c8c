//! The codes of single mistakes, `errors[].code`.

/// Every code that a single mistake may have, and what it means. A closed list, so that clients can rely on it.
pub const MISTAKES: [(&str, &str); 24] = [
    ("ambiguous_time", "The local time occurs twice in its time zone: say which with fold."),
    ("control_character", "The text holds a control character that it must not."),
    ("duplicate_field", "The field is given twice."),
    ("duplicate_parameter", "The parameter is given twice."),
    ("invalid_choice", "The value is none of those that can be chosen."),
    ("invalid_format", "The text does not have the form that is asked for."),
    ("invalid_length", "The list has the wrong number of items."),
    ("invalid_order", "The value must come after another one."),
    ("invalid_type", "The value is of another JSON type."),
    ("invalid_unicode", "The text holds half of a surrogate pair."),
    ("invalid_value", "The value breaks a rule that the detail names."),
    ("nonexistent_time", "The local time is skipped in its time zone."),
    ("not_allowed", "The value is well-formed but not taken here."),
    ("out_of_range", "The value is too small, too large, too early or too late."),
    ("password_too_common", "The password is among those that attackers try first."),
    ("required", "The field or the parameter is missing."),
    ("reserved", "The name is kept for Convene itself."),
    ("too_few", "The list has too few items."),
    ("too_long", "The text is too long."),
    ("too_many", "The list has too many items."),
    ("too_short", "The text is too short."),
    ("unknown_field", "There is no such field."),
    ("unknown_parameter", "There is no such parameter."),
    ("unknown_value", "The value is not one that Convene knows."),
];

/// The code of that name from the list.
pub(crate) fn known(code: &str) -> Option<&'static str> {
    MISTAKES.iter().map(|(known, _)| *known).find(|known| *known == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_order_and_says_something_about_each() {
        assert!(MISTAKES.is_sorted_by(|one, next| one.0 < next.0));
        assert!(MISTAKES.iter().all(|(_, meaning)| meaning.ends_with('.')));
        assert_eq!((known("too_long"), known("too_early")), (Some("too_long"), None));
    }
}
