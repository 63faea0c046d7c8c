//! What must not leave the process, taken out of text: addresses of people and machines, credentials, tokens.
//!
//! Errors quote what they failed on, such as the URL of a connection or the key of a row, so text is looked through word by
//! word. Ids of ours stay: without them nobody finds what failed.

use std::fmt::Write as _;
use std::net::IpAddr;

use uuid::Uuid;

/// The most characters of one text that are sent.
const LENGTH: usize = 2_048;
/// Words of letters and digits that are as long as this are taken for secrets: 128 bits in base64 have 22 characters, and
/// what people or programmers call things has fewer, or is no mixture.
const SECRET_LENGTH: usize = 22;
/// What a name says whose value is nobody's business.
const PRIVATE_NAMES: [&str; 16] = [
    "address",
    "api_key",
    "apikey",
    "authorization",
    "body",
    "client_ip",
    "cookie",
    "credential",
    "email",
    "header",
    "passwd",
    "password",
    "payload",
    "secret",
    "token",
    "user_agent",
];

/// Whether a field's value is not to be sent, whatever it is.
pub(super) fn is_private(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    PRIVATE_NAMES.iter().any(|private| name.contains(private))
}

/// The text without what must not leave the process, cut to 2,048 characters.
pub(super) fn redacted(text: &str) -> String {
    let mut clean = String::with_capacity(text.len().min(LENGTH));
    // What stands behind `password=` or `Bearer` is a secret however it looks.
    let mut expects_secret = false;
    for piece in text.split_inclusive(is_separator) {
        let (word, separator) = split_end(piece);
        if word.is_empty() {
            clean.push_str(separator);
            continue;
        }
        if expects_secret && !is_scheme(word) {
            clean.push_str("[secret]");
        } else {
            write_word(&mut clean, word);
        }
        expects_secret = is_scheme(word) || (word.ends_with([':', '=']) && is_private(word));
        clean.push_str(separator);
        if clean.len() > LENGTH * 4 {
            break;
        }
    }
    if let Some((end, _)) = clean.char_indices().nth(LENGTH) {
        clean.truncate(end);
        clean.push('…');
    }
    clean
}

/// The text with every word that has a digit in it made the same, so that failures which differ in an id are one.
pub(super) fn shape(text: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let mut shape = String::with_capacity(text.len());
    for piece in text.split_inclusive(|c| !is_word(c)) {
        let word = piece.trim_end_matches(|c| !is_word(c));
        let rest = &piece[word.len()..];
        shape.push_str(if word.contains(|c: char| c.is_ascii_digit()) { "#" } else { word });
        shape.push_str(rest);
    }
    shape
}

fn is_separator(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, '"' | '\'' | '`' | '(' | ')' | '{' | '}' | ',' | ';' | '<' | '>' | '|')
}

fn split_end(piece: &str) -> (&str, &str) {
    match piece.char_indices().next_back() {
        Some((place, c)) if is_separator(c) => piece.split_at(place),
        _ => (piece, ""),
    }
}

fn is_scheme(word: &str) -> bool {
    ["bearer", "basic"].iter().any(|scheme| word.eq_ignore_ascii_case(scheme))
}

fn write_word(clean: &mut String, word: &str) {
    let bare = word.trim_matches(|c| matches!(c, '.' | ':' | '[' | ']' | '!' | '?'));
    // Writing to a string cannot fail.
    let _ = if let Some((scheme, rest)) = word.split_once("://") {
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        // A query may hold anything, and a path what a person was mailed.
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let path: Vec<&str> =
            path.split('/').map(|part| if is_secret(part) { "[secret]" } else { part }).collect();
        write!(clean, "{scheme}://{host}{}", path.join("/"))
    } else if let Some((name, value)) = word.split_once('=') {
        clean.push_str(name);
        clean.push('=');
        match value {
            "" => {}
            _ if is_private(name) => clean.push_str("[secret]"),
            _ => write_word(clean, value),
        }
        Ok(())
    } else if bare.contains('@') {
        write!(clean, "[email]")
    } else if is_address(bare) {
        write!(clean, "[address]")
    } else if bare.contains('/') && !bare.contains("::") {
        let parts: Vec<&str> =
            word.split('/').map(|part| if is_secret(part) { "[secret]" } else { part }).collect();
        write!(clean, "{}", parts.join("/"))
    } else if is_secret(bare) {
        write!(clean, "[secret]")
    } else {
        write!(clean, "{word}")
    };
}

/// An IP address, with or without a port. `::` alone is a path of Rust's.
fn is_address(word: &str) -> bool {
    let alone = word.parse::<IpAddr>().is_ok();
    (alone || word.parse::<std::net::SocketAddr>().is_ok()) && word.len() > 2
}

/// Whether a word looks made by a machine to be kept: long, of letters and digits, and no id of ours.
fn is_secret(word: &str) -> bool {
    // A signed token (RFC 7519), whose parts may be short: each begins with the base 64 of `{"`.
    if word.starts_with("eyJ") && word.matches('.').count() == 2 {
        return true;
    }
    word.split(['.', ':']).any(|part| {
        let of_alphabet =
            |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'+' | b'=');
        part.len() >= SECRET_LENGTH
            && part.bytes().all(of_alphabet)
            && part.bytes().any(|b| b.is_ascii_digit())
            && part.bytes().any(|b| b.is_ascii_alphabetic())
            && !is_id(part)
    })
}

/// A UUID, or a UUID in base 32 behind the name of what it identifies.
fn is_id(word: &str) -> bool {
    let typed = |word: &str| {
        word.rsplit_once('_').is_some_and(|(prefix, id)| {
            prefix.len() <= 8
                && prefix.bytes().all(|b| b.is_ascii_lowercase())
                && id.len() == 26
                && id.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
        })
    };
    Uuid::try_parse(word).is_ok_and(|_| word.len() == 36) || typed(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_machines_and_secrets_are_taken_out() {
        for (text, clean) in [
            ("nothing to hide", "nothing to hide"),
            ("mail to <ada@example.org> failed", "mail to <[email]> failed"),
            (
                "Key (email)=(ada@example.org) already exists.",
                "Key (email)=([email]) already exists.",
            ),
            ("postgres://convene:hunter2@db:5432/convene?sslmode=x", "postgres://db:5432/convene"),
            ("https://a.example/x?code=1#y", "https://a.example/x"),
            ("secret: abc", "secret: [secret]"),
            ("password=hunter2, host=db", "password=[secret], host=db"),
            ("Authorization: Bearer abc", "Authorization: Bearer [secret]"),
            (
                "the token \"eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxMjM0NSJ9.c2lnbmF0dXJlMTIz\" is old",
                "the token \"[secret]\" is old",
            ),
            ("from 203.0.113.7:4711, [2001:db8::1]", "from [address], [address]"),
            ("GET /v1/x/0123456789abcdef0123456789abcdef", "GET /v1/x/[secret]"),
            (
                "event_01kaxyz0abcdefghjkmnpqrstv is full",
                "event_01kaxyz0abcdefghjkmnpqrstv is full",
            ),
            (
                "019ab3c4-7d5e-7a60-8f2b-6c1d9e0f4a37 timed out",
                "019ab3c4-7d5e-7a60-8f2b-6c1d9e0f4a37 timed out",
            ),
            (
                "called `Option::unwrap()` on a `None` value",
                "called `Option::unwrap()` on a `None` value",
            ),
            ("convene_application::kernel::operate", "convene_application::kernel::operate"),
        ] {
            assert_eq!(redacted(text), clean);
        }
    }

    #[test]
    fn text_is_cut_between_characters() {
        let cut = redacted(&"ä ".repeat(3_000));
        assert_eq!(cut.chars().count(), LENGTH + 1);
        assert!(cut.ends_with('…'));
    }

    #[test]
    fn names_tell_what_is_private() {
        for name in ["password", "client_ip", "User-Agent", "set-cookie", "webhook_secret"] {
            assert!(is_private(name), "{name}");
        }
        for name in ["request_id", "route", "count", "kind"] {
            assert!(!is_private(name), "{name}");
        }
    }

    #[test]
    fn failures_that_differ_in_an_id_have_one_shape() {
        assert_eq!(shape("job 17 of user_01abc: timed out"), "job # of #: timed out");
        assert_eq!(shape("job 17 of user_01abc"), shape("job 4 of user_02def"));
        assert_ne!(shape("refused"), shape("reset"));
    }
}
