//! Replies of success.
//!
//! A change is rendered into a [`StoredReply`], the same value that an idempotency key keeps, so that a replay has the
//! same bytes; [`answer`] sends it. A read is sent by [`resource`] (with an `ETag`, answering 304) or [`json`] (without).

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use convene_application::kernel::idempotency::{Reply, StoredReply};
use serde::Serialize;
use utoipa::ToSchema;

use crate::etag::{self, TagList};
use crate::extract::tag_list;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The cursor that documentation shows.
pub(crate) const CURSOR_EXAMPLE: &str = "AZqzxH1eemCPK2wdng9KNwJ4c2VjcmV0";

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct PageOf<T> {
    /// The items, in the order of the list.
    pub data: Vec<T>,
    /// Whether there is more in the direction of travel.
    #[schema(example = true)]
    pub has_more: bool,
    /// The cursor for `after`; null on the last page.
    #[schema(required, example = json!(CURSOR_EXAMPLE))]
    pub next_cursor: Option<String>,
    /// The cursor for `before`; null on the first page.
    #[schema(required, example = json!(null))]
    pub prev_cursor: Option<String>,
}

/// The bytes of a body: the identity that an `ETag` is taken over.
pub fn bytes<T: Serialize>(dto: &T) -> Bytes {
    let json = serde_json::to_vec(dto).expect("DTOs have string keys and finite numbers");
    inert(json).into()
}

/// JSON without the characters that mean something to HTML and scripts, written as escapes instead: whoever puts a reply
/// into a page, or a browser that takes it for one, runs nothing of what people wrote. In JSON they occur within strings
/// alone.
pub(crate) fn inert(json: Vec<u8>) -> Vec<u8> {
    let escape = |at: usize| match &json[at..] {
        [b'<', ..] => Some(("\\u003c", 1)),
        [b'>', ..] => Some(("\\u003e", 1)),
        [b'&', ..] => Some(("\\u0026", 1)),
        // The line and paragraph separators, which end a line of a script.
        [0xe2, 0x80, 0xa8, ..] => Some(("\\u2028", 3)),
        [0xe2, 0x80, 0xa9, ..] => Some(("\\u2029", 3)),
        _ => None,
    };
    let Some(first) = (0..json.len()).find(|at| escape(*at).is_some()) else { return json };
    let mut escaped = json[..first].to_vec();
    let mut at = first;
    while at < json.len() {
        let (text, length) = escape(at).map_or((&json[at..=at], 1), |(e, n)| (e.as_bytes(), n));
        escaped.extend_from_slice(text);
        at += length;
    }
    escaped
}

/// 200 with a body that has no tag, because it depends on who asks or holds counters.
pub fn json<T: Serialize>(dto: &T) -> HttpResponse {
    with_body(StatusCode::OK, bytes(dto))
}

/// A single resource: 200 with its `ETag`, or 304 if the client has it already. To be called when it is decided that the
/// client may see it.
pub fn resource<T: Serialize>(request: &HttpRequest, dto: &T) -> HttpResponse {
    Rendered::of(dto).reply(request)
}

/// The bytes of a resource and its tag, made once for all who read it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Rendered {
    body: Bytes,
    /// With its quotes.
    tag: HeaderValue,
}

impl Rendered {
    /// Renders a resource.
    pub fn of<T: Serialize>(dto: &T) -> Self {
        Self::of_bytes(bytes(dto))
    }

    /// What is rendered already.
    #[must_use]
    pub fn of_bytes(body: Bytes) -> Self {
        let tag = HeaderValue::from_str(&quoted(&etag::of_bytes(&body)));
        Self { body, tag: tag.expect("a tag is hexadecimal") }
    }

    /// As [`resource`].
    #[must_use]
    pub fn reply(self, request: &HttpRequest) -> HttpResponse {
        let tag = self.tag.to_str().unwrap_or_default().trim_matches('"');
        match known_tag(request, tag) {
            Some(known) => {
                let mut response = HttpResponse::new(StatusCode::NOT_MODIFIED);
                set_header(&mut response, header::ETAG, &known);
                response
            }
            None => {
                let mut response = with_body(StatusCode::OK, self.body);
                response.headers_mut().insert(header::ETAG, self.tag);
                response
            }
        }
    }
}

/// The tag under which the client has these bytes, as it sent it: with the mark of the coding that it got them in.
fn known_tag(request: &HttpRequest, tag: &str) -> Option<String> {
    match tag_list(request.headers(), &header::IF_NONE_MATCH)? {
        TagList::Any => Some(quoted(tag)),
        TagList::Tags(tags) => tags
            .into_iter()
            .find(|known| known.opaque == tag)
            .map(|known| known.sent.trim_start_matches("W/").to_owned()),
    }
}

fn quoted(tag: &str) -> String {
    format!("\"{tag}\"")
}

/// 200 with a resource and its tag: the outcome of a change.
pub fn ok<T: Serialize>(dto: &T) -> StoredReply {
    let body = bytes(dto);
    StoredReply { status: 200, location: None, etag: Some(etag::of_bytes(&body)), body }
}

/// 201 with a new resource, its tag and its path.
pub fn created<T: Serialize>(location: impl Into<String>, dto: &T) -> StoredReply {
    StoredReply { status: 201, location: Some(location.into()), ..ok(dto) }
}

/// The same without a tag: for a body that is not what a later read gives, for example because it shows a secret once.
#[must_use]
pub fn untagged(reply: StoredReply) -> StoredReply {
    StoredReply { etag: None, ..reply }
}

/// 202: it will be done.
pub fn accepted<T: Serialize>(dto: &T) -> StoredReply {
    StoredReply { status: 202, location: None, etag: None, body: bytes(dto) }
}

/// 204: done, nothing to say.
#[must_use]
pub fn no_content() -> StoredReply {
    StoredReply { status: 204, location: None, etag: None, body: Bytes::new() }
}

/// Sends the outcome of a use case: rendered now, or as it was sent the first time, which `Idempotent-Replayed` tells.
pub fn answer<T>(reply: Reply<T>, render: fn(&T) -> StoredReply) -> HttpResponse {
    match reply {
        Reply::Fresh(outcome) => send(render(&outcome)),
        Reply::Replayed(stored) => {
            let mut response = send(stored);
            set_header(&mut response, HeaderName::from_static("idempotent-replayed"), "true");
            response
        }
    }
}

/// Sends a rendered reply.
#[must_use]
pub fn send(reply: StoredReply) -> HttpResponse {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = if reply.body.is_empty() {
        HttpResponse::new(status)
    } else {
        with_body(status, reply.body)
    };
    if let Some(location) = &reply.location {
        set_header(&mut response, header::LOCATION, location);
    }
    if let Some(tag) = &reply.etag {
        set_header(&mut response, header::ETAG, &quoted(tag));
    }
    response
}

fn with_body(status: StatusCode, body: Bytes) -> HttpResponse {
    let mut response = HttpResponse::with_body(status, body).map_into_boxed_body();
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// Sets a header to text that Convene made itself.
pub(crate) fn set_header<B>(response: &mut HttpResponse<B>, name: HeaderName, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) => {
            response.headers_mut().insert(name, value);
        }
        Err(error) => tracing::error!(%name, %error, "a header was left out"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_body_means_nothing_to_a_browser() {
        let text = json!({"a<b>": ["</script>&amp;", "\u{2028}\u{2029}\u{2027}é"], "c": "plain"});
        let bytes = bytes(&text);
        let written = std::str::from_utf8(&bytes).unwrap();
        assert!(!written.contains(['<', '>', '&', '\u{2028}', '\u{2029}']), "{written}");
        assert!(written.contains("\u{2027}é") && written.contains("\\u003c/script\\u003e"));
        assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), text);
    }
}
