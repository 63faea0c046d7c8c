//! A page per failure code, so that `type` leads somewhere. Nothing here comes from a request.

use std::fmt::Write as _;

use convene_application::kernel::error::Code;
use strum::IntoEnumIterator;

use super::{MISTAKES, entry};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem;color:#1b1f24}\
    code{background:#eef1f4;padding:.1em .3em;border-radius:3px}h1{font-size:1.6rem}a{color:#0550ae}\
    table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #d8dee4}";

fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>{STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )
}

/// The page of the code with that name.
pub(crate) fn page(name: &str) -> Option<String> {
    let code = Code::iter().find(|code| code.as_ref() == name)?;
    let entry = entry(code);
    let body = format!(
        "<p><a href=\"/docs/problems\">Problems</a></p>\n<h1>{}</h1>\n\
         <p><code>{name}</code>, HTTP status {}</p>\n\
         <h2>What it means</h2>\n<p>{}</p>\n<h2>What to do</h2>\n<p>{}</p>{}",
        entry.title,
        entry.status,
        entry.meaning,
        entry.remedy,
        if names_mistakes(code) { mistakes() } else { String::new() },
    );
    Some(document(entry.title, &body))
}

/// Whether failures with this code name single mistakes.
fn names_mistakes(code: Code) -> bool {
    matches!(
        code,
        Code::MalformedRequest
            | Code::ValidationFailed
            | Code::NonexistentTime
            | Code::AmbiguousTime
            | Code::UrlRefused
    )
}

/// The codes of single mistakes.
fn mistakes() -> String {
    let rows: String = MISTAKES
        .iter()
        .map(|(code, meaning)| format!("<tr><td><code>{code}</code></td><td>{meaning}</td></tr>\n"))
        .collect();
    format!(
        "\n<h2>Single mistakes</h2>\n<p>Each of <code>errors[]</code> says where a mistake is, by a JSON pointer into the \
         body or by the name of a query parameter, and has one of these codes:</p>\n\
         <table><tr><th>code</th><th>meaning</th></tr>\n{rows}</table>"
    )
}

/// The list of all codes.
pub(crate) fn index() -> String {
    let mut rows = String::new();
    for code in Code::iter() {
        let entry = entry(code);
        writeln!(
            rows,
            "<tr><td><a href=\"/docs/problems/{code}\"><code>{code}</code></a></td><td>{}</td><td>{}</td></tr>",
            entry.status.as_u16(),
            entry.title,
        )
        .expect("writing to a string cannot fail");
    }
    document(
        "Problems",
        &format!(
            "<h1>Problems</h1>\n<p>Every failure is an <code>application/problem+json</code> object (RFC 9457) with \
             one of these codes.</p>\n<table><tr><th>code</th><th>status</th><th>title</th></tr>\n{rows}</table>"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_in_the_list() {
        let list = index();
        for code in Code::iter() {
            let page = page(code.as_ref()).unwrap();
            assert!(page.contains(entry(code).title), "{code}");
            assert!(list.contains(&format!("/docs/problems/{code}\"")), "{code}");
        }
        assert_eq!(page("no_such_code"), None);
    }

    #[test]
    fn the_page_of_invalid_fields_explains_each_mistake() {
        let invalid = page("validation_failed").unwrap();
        for (code, _) in MISTAKES {
            assert!(invalid.contains(&format!("<code>{code}</code>")), "{code}");
        }
        assert!(!page("not_found").unwrap().contains("<code>too_long</code>"));
    }
}
