//! Entity tags (RFC 9110 §8.8.3): strong, over the bytes of the reply before compression.
//!
//! A compressed reply is another representation and needs another tag, so it carries the same one with the coding inside
//! the quotes (`"…-gz"`). Whatever is compared is stripped of it first.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use serde::Serialize;

/// The codings that a tag can be marked with.
pub(crate) const SUFFIXES: [(&str, &str); 3] = [("gzip", "-gz"), ("br", "-br"), ("deflate", "-df")];

/// The tag of a body, without quotes.
#[must_use]
pub fn of_bytes(body: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, body);
    // 128 bits: two versions of one resource never meet.
    digest.as_ref()[..16].iter().fold(String::with_capacity(32), |mut tag, byte| {
        write!(tag, "{byte:02x}").expect("writing to a string cannot fail");
        tag
    })
}

/// The tag of a resource, without quotes: of the bytes that [`crate::reply`] would send.
pub fn of<T: Serialize>(dto: &T) -> String {
    of_bytes(&crate::reply::bytes(dto))
}

/// What `If-Match` and `If-None-Match` hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TagList {
    /// `*`
    Any,
    /// Tags.
    Tags(Vec<Tag>),
}

/// One tag of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    /// Whether it is marked as weak.
    pub(crate) weak: bool,
    /// What stands in the quotes, without the mark of a coding.
    pub(crate) opaque: String,
    /// The tag as it was sent.
    pub(crate) sent: String,
}

/// Reads a list of tags; `None` if it is malformed. Tags may hold commas, so splitting at commas would be wrong.
pub(crate) fn parse_list(text: &str) -> Option<TagList> {
    let text = text.trim_matches(is_blank);
    if text == "*" {
        return Some(TagList::Any);
    }
    let mut tags = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (weak, quoted) = match rest.strip_prefix("W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let (opaque, behind) = quoted.strip_prefix('"')?.split_once('"')?;
        if !opaque.bytes().all(|b| b == 0x21 || (0x23..=0x7e).contains(&b) || b >= 0x80) {
            return None;
        }
        let sent = rest[..rest.len() - behind.len()].to_owned();
        tags.push(Tag { weak, opaque: without_coding(opaque).to_owned(), sent });
        rest = behind.trim_start_matches(is_blank);
        if !rest.is_empty() {
            // Empty elements are allowed between commas (RFC 9110 §5.6.1).
            rest = rest.strip_prefix(',')?.trim_start_matches(|c| is_blank(c) || c == ',');
        }
    }
    (!tags.is_empty()).then_some(TagList::Tags(tags))
}

fn is_blank(character: char) -> bool {
    character == ' ' || character == '\t'
}

fn without_coding(opaque: &str) -> &str {
    SUFFIXES.iter().find_map(|(_, suffix)| opaque.strip_suffix(suffix)).unwrap_or(opaque)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opaque(text: &str) -> Vec<String> {
        match parse_list(text) {
            Some(TagList::Tags(tags)) => tags.into_iter().map(|tag| tag.opaque).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_lists_of_tags() {
        assert_eq!(parse_list(" * "), Some(TagList::Any));
        assert_eq!(opaque(r#""a", "b,c" ,, W/"d""#), ["a", "b,c", "d"]);
        assert_eq!(opaque(r#""a-gz","b-br","c-df","d""#), ["a", "b", "c", "d"]);
        assert_eq!(opaque(r#""""#), [""]);
    }

    #[test]
    fn refuses_what_is_no_list_of_tags() {
        for bad in
            ["", "a", "\"a", "a\"", "\"a\" \"b\"", "\"a\";\"b\"", "*, \"a\"", "w/\"a\"", "\"a b\""]
        {
            assert_eq!(parse_list(bad), None, "{bad}");
        }
    }

    #[test]
    fn tags_differ_with_the_bytes() {
        assert_eq!(of_bytes(b"").len(), 32);
        assert_ne!(of_bytes(b"a"), of_bytes(b"b"));
    }
}
