//! Refusing what no handler could make sense of, before anybody asks who it is.

use actix_web::Error;
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{RequestHead, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::http::uri::Authority;
use actix_web::http::{StatusCode, Version};
use actix_web::middleware::Next;
use convene_application::kernel::error::{Checked, Code, Failure};

use crate::extract::http_of;
use crate::problem::Problem;
use crate::{etag, operations};

const MAX_HEADER_BYTES: usize = 32 * 1024;

/// Headers whose meaning is lost if they occur twice.
const SINGLE: [HeaderName; 4] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("convene-version"),
];

/// Refuses malformed paths, queries and headers with 400, too many headers with 431, and what cannot be answered in an
/// accepted form with 406.
pub(crate) async fn well_formed<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    if header_bytes(request.headers()) > MAX_HEADER_BYTES {
        let detail = format!("The headers are larger than {MAX_HEADER_BYTES} bytes.");
        let problem = Problem::from(Failure::new(Code::MalformedRequest, detail));
        let mut response = request.error_response(problem).map_into_right_body();
        *response.response_mut().status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Ok(response);
    }
    let http = http_of(request.request());
    match check(request.head()).and_then(|()| host(request.head(), &http.settings.allowed_hosts)) {
        Ok(()) => Ok(next.call(request).await?.map_into_left_body()),
        Err(failure) => Ok(request.error_response(Problem::from(failure)).map_into_right_body()),
    }
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

fn check(head: &RequestHead) -> Checked<()> {
    if !is_encoded_utf8(head.uri.path()) {
        return Err(malformed("The path is not percent-encoded UTF-8."));
    }
    if !is_encoded_utf8(head.uri.query().unwrap_or_default()) {
        return Err(malformed("The query is not percent-encoded UTF-8."));
    }
    if let Some(name) = SINGLE.iter().find(|name| head.headers.get_all(*name).nth(1).is_some()) {
        return Err(malformed(format!("The header {name} is given twice.")));
    }
    for name in [&header::IF_MATCH, &header::IF_NONE_MATCH] {
        if !tags_are_well_formed(&head.headers, name) {
            return Err(malformed(format!("The header {name} is not a list of entity tags.")));
        }
    }
    if head.uri.path().starts_with("/v1/") && !accepts_json(&head.headers) {
        return Err(Failure::new(
            Code::NotAcceptable,
            "The reply can only be application/json or application/problem+json.",
        ));
    }
    Ok(())
}

/// Whether the request says, and says once, which server it means (RFC 9112 §3.2), and it is this one. What a load balancer
/// asks by address is answered to anybody.
fn host(head: &RequestHead, allowed: &[String]) -> Checked<()> {
    let mut named = head.headers.get_all(header::HOST);
    let (named, another) = (named.next(), named.next());
    if another.is_some() || named.is_none() && head.version == Version::HTTP_11 {
        return Err(malformed("A request has one Host header."));
    }
    if allowed.is_empty() || operations::ALWAYS_SERVED.contains(&head.uri.path()) {
        return Ok(());
    }
    // The name of an absolute target counts more than the header (RFC 9112 §3.2.2).
    let authority = head.uri.authority().map(Authority::as_str);
    let name = authority.or_else(|| named?.to_str().ok()).map(without_port).unwrap_or_default();
    if allowed.iter().any(|host| host.eq_ignore_ascii_case(name)) {
        Ok(())
    } else {
        Err(malformed("The Host header names another server."))
    }
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    Failure::new(Code::MalformedRequest, detail)
}

/// Whether each `%` is followed by two hexadecimal digits and the octets are UTF-8 in the end.
fn is_encoded_utf8(text: &str) -> bool {
    if !text.contains('%') {
        return true;
    }
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            octets.push(*first);
            continue;
        }
        let Some((digits, behind)) = rest.split_first_chunk::<2>() else { return false };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (Some(high), Some(low)) = (digit(digits[0]), digit(digits[1])) else { return false };
        octets.push(u8::try_from(high * 16 + low).unwrap_or_default());
        rest = behind;
    }
    std::str::from_utf8(&octets).is_ok()
}

fn tags_are_well_formed(headers: &HeaderMap, name: &HeaderName) -> bool {
    if !headers.contains_key(name) {
        return true;
    }
    let lines: Vec<_> = headers.get_all(name).map(|line| line.to_str().ok()).collect();
    lines
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .is_some_and(|lines| etag::parse_list(&lines.join(",")).is_some())
}

/// Whether JSON is among what the client accepts (RFC 9110 §12.5.1); a weight of zero excludes.
fn accepts_json(headers: &HeaderMap) -> bool {
    let mut lines =
        headers.get_all(header::ACCEPT).filter_map(|line| line.to_str().ok()).peekable();
    if lines.peek().is_none() {
        return true;
    }
    lines.flat_map(|line| line.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let suits = ["", "*/*", "application/*", "application/json", "application/problem+json"]
            .iter()
            .any(|known| kind.eq_ignore_ascii_case(known));
        let excluded = parts.any(|parameter| {
            parameter
                .split_once('=')
                .filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
                .and_then(|(_, weight)| weight.trim().parse::<f32>().ok())
                .is_some_and(|weight| weight <= 0.0)
        });
        suits && !excluded
    })
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn paths_must_be_encoded_utf8() {
        for good in ["/", "/v1/a%20b", "/%C3%A9", "/%00"] {
            assert!(is_encoded_utf8(good), "{good}");
        }
        for bad in ["/%", "/%4", "/%zz", "/%FF", "/%C3"] {
            assert!(!is_encoded_utf8(bad), "{bad}");
        }
    }

    #[test]
    fn a_request_names_this_server_once() {
        let asked = |hosts: &[&'static str], path: &str| {
            let mut request = TestRequest::with_uri(path);
            for name in hosts {
                request = request.append_header((header::HOST, *name));
            }
            let allowed = ["api.example".to_owned(), "[::1]".to_owned()];
            host(request.to_srv_request().head(), &allowed).is_ok()
        };
        for good in ["api.example", "API.example", "api.example:443", "[::1]:8080", "[::1]"] {
            assert!(asked(&[good], "/v1/users/me"), "{good}");
        }
        for bad in ["evil.example", "api.example.evil.example", "api.example:x", "127.0.0.1", ""] {
            assert!(!asked(&[bad], "/v1/users/me"), "{bad}");
            assert!(asked(&[bad], "/livez"), "{bad}");
        }
        assert!(!asked(&[], "/livez"));
        assert!(!asked(&["api.example", "api.example"], "/livez"));
        assert!(!asked(&["api.example"], "http://evil.example/v1/users/me"));
    }

    #[test]
    fn json_must_be_acceptable() {
        let accepts = |value: &str| {
            accepts_json(
                TestRequest::default().insert_header(("accept", value)).to_srv_request().headers(),
            )
        };
        for good in
            ["*/*", "text/html, application/*;q=0.1", "application/json", "APPLICATION/JSON; q=1"]
        {
            assert!(accepts(good), "{good}");
        }
        for bad in ["text/html", "application/xml, text/*", "application/json;q=0"] {
            assert!(!accepts(bad), "{bad}");
        }
        assert!(accepts_json(TestRequest::default().to_srv_request().headers()));
    }
}
