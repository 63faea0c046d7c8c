//! What bodies of events look like, and which are refused.

use actix_web::FromRequest as _;
use actix_web::test::TestRequest;
use actix_web::web::Data;
use convene_application::kernel::error::{Code, Failure};
use convene_domain::event::{self as domain, Capacity, EventPatch, Fold, NewEvent};
use convene_domain::ids::TypedId;
use convene_domain::text::Reason;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::dto::{CancelEvent, CreateEvent, Event, PatchEvent};
use crate::extract::{IdempotencyKey, OptionalBody};
use crate::json::from_slice;
use crate::settings::Settings;
use crate::{Http, reply};

fn create(body: &Value) -> Result<NewEvent, Failure> {
    from_slice::<CreateEvent>(body.to_string().as_bytes())?.try_into()
}

fn patch(body: &Value) -> Result<EventPatch, Failure> {
    from_slice::<PatchEvent>(body.to_string().as_bytes())?.try_into()
}

fn least() -> Value {
    json!({
        "title": "Async Rust",
        "starts_at_local": "2027-05-01T18:00",
        "ends_at_local": "2027-05-01T20:30:00",
        "time_zone": "Europe/Berlin",
    })
}

fn least_with(field: &str, value: Value) -> Value {
    let mut body = least();
    body[field] = value;
    body
}

fn shown(new: NewEvent) -> Value {
    let nil = Uuid::nil();
    let event = domain::Event::draft(
        TypedId::from_uuid(nil),
        TypedId::from_uuid(nil),
        new,
        Timestamp::UNIX_EPOCH,
    );
    serde_json::to_value(Event::from(&event.unwrap())).unwrap()
}

#[test]
fn an_event_shows_every_member_also_what_is_empty() {
    assert_eq!(
        shown(create(&least()).unwrap()),
        json!({
            "id": "event_00000000000000000000000000",
            "community_id": "comm_00000000000000000000000000",
            "title": "Async Rust",
            "description": null,
            "status": "draft",
            "starts_at_local": "2027-05-01T18:00:00",
            "ends_at_local": "2027-05-01T20:30:00",
            "time_zone": "Europe/Berlin",
            "fold": null,
            "starts_at": "2027-05-01T16:00:00Z",
            "ends_at": "2027-05-01T18:30:00Z",
            "capacity": null,
            "rsvp_opens_at": null,
            "rsvp_closes_at": null,
            "created_at": "1970-01-01T00:00:00Z",
            "updated_at": "1970-01-01T00:00:00Z",
        })
    );
}

#[test]
fn what_was_chosen_comes_back() {
    let mut body = least();
    body["description"] = json!("Doors open early.");
    body["fold"] = json!("later");
    body["capacity"] = json!(1_000_000);
    body["rsvp_opens_at"] = json!("2027-04-01T10:00:00.1234567+02:00");
    body["rsvp_closes_at"] = json!("2027-05-01T12:00:00Z");
    let shown = shown(create(&body).unwrap());
    assert_eq!(shown["description"], "Doors open early.");
    assert_eq!(shown["fold"], "later");
    assert_eq!(shown["capacity"], 1_000_000);
    assert_eq!(shown["rsvp_opens_at"], "2027-04-01T08:00:00.123456Z");
    assert_eq!(shown["rsvp_closes_at"], "2027-05-01T12:00:00Z");
}

#[test]
fn fields_out_of_their_rules_are_named() {
    for (field, value, code) in [
        ("capacity", json!(0), "out_of_range"),
        ("capacity", json!(1_000_001), "out_of_range"),
        ("capacity", json!(-1), "out_of_range"),
        ("capacity", json!("50"), "invalid_type"),
        ("fold", json!("first"), "unknown_value"),
        ("starts_at_local", json!("2027-05-01T18:00:00Z"), "invalid_format"),
        ("time_zone", json!("+02:00"), "invalid_format"),
        ("rsvp_opens_at", json!("2027-04-01"), "invalid_format"),
        ("title", json!("  "), "invalid_format"),
        ("status", json!("published"), "unknown_field"),
    ] {
        let failure = create(&least_with(field, value.clone())).unwrap_err();
        assert_eq!(failure.code, Code::ValidationFailed);
        let codes: Vec<_> = failure.errors.iter().map(|error| error.code).collect();
        assert_eq!(codes, [code], "{field}: {value}");
    }
}

#[test]
fn a_patch_tells_absent_from_null() {
    assert_eq!(patch(&json!({})).unwrap(), EventPatch::default());
    let cleared = json!({
        "description": null,
        "fold": null,
        "capacity": null,
        "rsvp_opens_at": null,
        "rsvp_closes_at": null,
    });
    let expected = EventPatch {
        description: Some(None),
        fold: Some(None),
        capacity: Some(None),
        rsvp_opens_at: Some(None),
        rsvp_closes_at: Some(None),
        ..EventPatch::default()
    };
    assert_eq!(patch(&cleared).unwrap(), expected);
    let set = patch(&json!({"capacity": 60, "fold": "earlier"})).unwrap();
    assert_eq!(set.capacity, Some(Capacity::new(60)));
    assert_eq!(set.fold, Some(Some(Fold::Earlier)));
    for field in ["title", "starts_at_local", "ends_at_local", "time_zone"] {
        assert!(patch(&json!({ field: null })).is_err(), "{field} cannot be cleared");
    }
}

#[actix_web::test]
async fn the_reason_of_a_cancellation_may_be_left_out() {
    let http = Http::new(Settings::default(), crate::testing::ports(), Handle::current());
    let reason = async |content_type: Option<&str>, body: &'static str| {
        let mut request = TestRequest::post().app_data(Data::from(http.clone())).set_payload(body);
        if let Some(content_type) = content_type {
            request = request.insert_header(("content-type", content_type));
        }
        let (request, mut payload) = request.to_http_parts();
        let key = IdempotencyKey::from_request(&request, &mut payload).await.unwrap();
        let body = OptionalBody::<CancelEvent>::from_request(&request, &mut payload).await.unwrap();
        let (_, input) = key.claim(body, |(): &()| reply::no_content());
        input.and_then(CancelEvent::reason)
    };
    let json = Some("application/json");
    let ill = Reason::new("The speaker is ill.").unwrap();
    assert_eq!(reason(None, "").await.unwrap(), None);
    assert_eq!(reason(json, "").await.unwrap(), None);
    assert_eq!(reason(json, "{}").await.unwrap(), None);
    assert_eq!(reason(json, r#"{"reason": null}"#).await.unwrap(), None);
    assert_eq!(reason(json, r#"{"reason": "The speaker is ill."}"#).await.unwrap(), Some(ill));
    for (content_type, body, code) in [
        (json, "{", Code::MalformedRequest),
        (json, r#"{"why": ""}"#, Code::ValidationFailed),
        (None, "{}", Code::UnsupportedMediaType),
    ] {
        assert_eq!(reason(content_type, body).await.unwrap_err().code, code, "{body}");
    }
}
