//! What every problem has in common.

use serde_json::Value;

use crate::client::Answer;

/// The codes of the contract, which is all there are.
pub const CODES: [&str; 35] = [
    "malformed_request",
    "validation_failed",
    "unauthenticated",
    "token_expired",
    "invalid_credentials",
    "invalid_refresh_token",
    "invalid_token",
    "forbidden",
    "membership_required",
    "not_found",
    "method_not_allowed",
    "not_acceptable",
    "unsupported_media_type",
    "payload_too_large",
    "request_timeout",
    "precondition_required",
    "precondition_failed",
    "idempotency_in_flight",
    "idempotency_mismatch",
    "invalid_cursor",
    "slug_taken",
    "handle_taken",
    "invalid_transition",
    "owner_cannot_leave",
    "community_archived",
    "rsvp_closed",
    "not_enough_seats",
    "capacity_below_confirmed",
    "nonexistent_time",
    "ambiguous_time",
    "url_refused",
    "rate_limited",
    "overloaded",
    "unavailable",
    "internal",
];

/// The bytes of a problem with the request id cut out, which is all that may differ between two of a kind.
///
/// # Panics
/// If the request id of the body is not that of the header.
#[must_use]
pub fn without_request_id(answer: &Answer) -> String {
    let id = answer.header("x-request-id").expect("every reply has a request id");
    let body = String::from_utf8_lossy(&answer.body);
    let (before, after) = body
        .split_once(&format!("\"request_id\":\"{id}\""))
        .unwrap_or_else(|| panic!("{} answered without the id {id}: {body}", answer.request));
    format!("{before}\"request_id\":\"…\"{after}")
}

/// The mistakes of a problem as `(place, code)`, sorted: `("/title", "required")`, `("limit", "out_of_range")`.
///
/// # Panics
/// If a mistake lacks its place, its code or its sentence.
#[must_use]
pub fn mistakes(problem: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut mistakes: Vec<_> = problem["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|mistake| {
            let places = (text(&mistake["pointer"]), text(&mistake["parameter"]));
            let ((Some(place), None) | (None, Some(place))) = places else {
                panic!("a mistake is in the body or in the query: {mistake}");
            };
            assert!(mistake["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
            (place, text(&mistake["code"]).unwrap_or_else(|| panic!("no code: {mistake}")))
        })
        .collect();
    mistakes.sort();
    mistakes
}
