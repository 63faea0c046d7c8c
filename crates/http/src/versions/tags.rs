//! Entity tags of older versions.
//!
//! What an older client gets follows from what the handler answers, so its tag does too: the handler's own, marked with the
//! version (`"…-v2026-11-23"`, before the mark of a coding). Equal tags mean equal bytes, as a strong tag must, and a
//! precondition needs no second reading: the mark is taken off before the handler compares. A tag of another version
//! matches nothing.

use crate::etag::{SUFFIXES, TagList, parse_list};

/// The tag in quotes, marked with the version.
pub(super) fn marked(tag: &str, version: &str) -> Option<String> {
    let opaque = tag.strip_prefix('"')?.strip_suffix('"')?;
    let (opaque, coding) = split_coding(opaque);
    Some(format!("\"{opaque}-v{version}{coding}\""))
}

/// What `If-Match` or `If-None-Match` says to the handler; `None` if it is no list of tags, which is refused elsewhere.
pub(super) fn unmarked(list: &str, version: &str) -> Option<String> {
    let TagList::Tags(tags) = parse_list(list)? else { return Some("*".to_owned()) };
    let mark = format!("-v{version}");
    let tags: Vec<String> = tags
        .iter()
        .map(|tag| {
            let weak = if tag.weak { "W/" } else { "" };
            let sent = tag.sent.trim_start_matches("W/").trim_matches('"');
            let (_, coding) = split_coding(sent);
            match tag.opaque.strip_suffix(&mark) {
                Some(own) => format!("{weak}\"{own}{coding}\""),
                // No body has an empty tag.
                None => "\"\"".to_owned(),
            }
        })
        .collect();
    Some(tags.join(", "))
}

/// A tag without the mark of a coding, and that mark.
fn split_coding(opaque: &str) -> (&str, &str) {
    let bare = SUFFIXES.iter().find_map(|(_, suffix)| opaque.strip_suffix(suffix));
    opaque.split_at(bare.map_or(opaque.len(), str::len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_off_again() {
        for tag in ["\"a\"", "\"a-gz\"", "\"a-br\""] {
            let older = marked(tag, "2026-11-23").unwrap();
            assert_ne!(older, tag);
            assert_eq!(unmarked(&older, "2026-11-23").as_deref(), Some(tag));
        }
        assert_eq!(marked("\"a-gz\"", "2026-11-23").as_deref(), Some("\"a-v2026-11-23-gz\""));
    }

    #[test]
    fn tags_of_other_versions_match_nothing() {
        let list = r#"W/"a-v2026-11-23", "b", "c-v2027-01-10-gz""#;
        assert_eq!(unmarked(list, "2026-11-23").as_deref(), Some(r#"W/"a", "", """#));
        assert_eq!(unmarked("*", "2026-11-23").as_deref(), Some("*"));
        assert_eq!(unmarked("a", "2026-11-23"), None);
    }
}
