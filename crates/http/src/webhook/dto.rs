//! Webhook endpoints and deliveries as clients read and write them.

use std::collections::BTreeMap;

use convene_application::kernel::error::{Failure, FieldError};
use convene_application::webhook::ports::{AttemptView, DeliveryView};
use convene_application::webhook::{
    CreatedEndpoint, EndpointChange, EndpointInput, HeadersChange, RotatedEndpoint, Rotation,
};
use convene_domain::text::Description;
use convene_domain::webhook as domain;
use garde::Validate;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::json::{Patch, present};
use crate::{id, rules};

/// A webhook endpoint: where a community has its events sent to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Webhook {
    /// Its id.
    id: id::Webhook,
    /// Where the events go.
    #[schema(max_length = 2_048, example = "https://hooks.example.org/convene")]
    url: String,
    /// Which events it gets: `*`, those of a module as `rsvp.*`, or types as `rsvp.confirmed`.
    #[schema(example = json!(["rsvp.*", "event.cancelled"]))]
    event_types: Vec<String>,
    /// What it is for.
    #[schema(required, max_length = 10_000, example = "Badge printer")]
    description: Option<String>,
    /// How its webhooks are signed.
    #[schema(example = "hmac")]
    signature: SignatureScheme,
    /// What verifies signatures by Ed25519: `whpk_` and the key in base64. Null where a secret is shared.
    #[schema(required, example = json!(null))]
    public_key: Option<String>,
    /// The names of the header fields that are sent along. Their values are not shown.
    #[schema(example = json!(["x-api-key"]))]
    header_names: Vec<String>,
    /// The most webhooks that it is sent in a second; null for as many as go.
    #[schema(required, minimum = 1, maximum = 1_000, example = 50)]
    max_per_second: Option<u16>,
    /// Whether anything is sent to it.
    #[schema(example = "enabled")]
    status: WebhookStatus,
    /// When it was made. It gets the events that were recorded later.
    #[schema(example = "2027-03-01T09:00:00.123456Z")]
    created_at: Timestamp,
    /// When it last changed.
    #[schema(example = "2027-03-01T09:00:00.123456Z")]
    updated_at: Timestamp,
}

impl From<&domain::Endpoint> for Webhook {
    fn from(endpoint: &domain::Endpoint) -> Self {
        Self {
            id: endpoint.id.into(),
            url: endpoint.url.as_str().to_owned(),
            event_types: endpoint.event_types.as_slice().to_vec(),
            description: endpoint.description.as_ref().map(ToString::to_string),
            signature: endpoint.signature.scheme().into(),
            public_key: endpoint.signature.public_key().map(str::to_owned),
            header_names: endpoint.header_names.clone(),
            max_per_second: endpoint.rate_limit.map(domain::RateLimit::as_per_second),
            status: endpoint.status.into(),
            created_at: endpoint.created_at,
            updated_at: endpoint.updated_at,
        }
    }
}

/// A new endpoint with its secret.
// No Debug: a secret must not get into a log.
#[derive(Serialize, ToSchema)]
pub(super) struct CreatedWebhook {
    /// The endpoint.
    #[serde(flatten)]
    webhook: Webhook,
    /// What its webhooks are verified with, after Standard Webhooks: the shared secret, shown this once, or for Ed25519 the
    /// public key; its private half is not shown to anybody.
    #[schema(
        pattern = "^wh(sec|pk)_[A-Za-z0-9+/=]+$",
        example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw+U6Ffg1m4Xk="
    )]
    secret: String,
}

impl From<&CreatedEndpoint> for CreatedWebhook {
    fn from(created: &CreatedEndpoint) -> Self {
        Self {
            webhook: Webhook::from(&created.endpoint),
            secret: created.secret.expose_secret().to_owned(),
        }
    }
}

/// An endpoint with another secret.
// No Debug: a secret must not get into a log.
#[derive(Serialize, ToSchema)]
pub(super) struct RotatedWebhook {
    /// The endpoint.
    #[serde(flatten)]
    webhook: Webhook,
    /// What its webhooks are verified with from now on: the shared secret, shown this once, or for Ed25519 the public key.
    #[schema(
        pattern = "^wh(sec|pk)_[A-Za-z0-9+/=]+$",
        example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw+U6Ffg1m4Xk="
    )]
    secret: String,
    /// Until when webhooks carry a signature by the secret of before, too. Null if it ended at once.
    #[schema(required, example = "2027-03-02T09:00:00.123456Z")]
    previous_secret_expires_at: Option<Timestamp>,
}

impl From<&RotatedEndpoint> for RotatedWebhook {
    fn from(rotated: &RotatedEndpoint) -> Self {
        Self {
            webhook: Webhook::from(&rotated.endpoint),
            secret: rotated.secret.expose_secret().to_owned(),
            previous_secret_expires_at: rotated.previous_until,
        }
    }
}

/// How webhooks are signed, after Standard Webhooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum SignatureScheme {
    /// HMAC-SHA-256 under a secret that the receiver shares: `v1`.
    #[default]
    Hmac,
    /// Ed25519, which the receiver verifies with a public key: `v1a`.
    Ed25519,
}

impl From<domain::SignatureScheme> for SignatureScheme {
    fn from(scheme: domain::SignatureScheme) -> Self {
        match scheme {
            domain::SignatureScheme::Hmac => Self::Hmac,
            domain::SignatureScheme::Ed25519 => Self::Ed25519,
        }
    }
}

impl From<SignatureScheme> for domain::SignatureScheme {
    fn from(scheme: SignatureScheme) -> Self {
        match scheme {
            SignatureScheme::Hmac => Self::Hmac,
            SignatureScheme::Ed25519 => Self::Ed25519,
        }
    }
}

/// Whether anything is sent to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum WebhookStatus {
    /// Deliveries are sent.
    Enabled,
    /// Deliveries are kept until it is enabled again. An endpoint that answers 410, or fails for five days, gets there by
    /// itself.
    Disabled,
}

impl From<domain::EndpointStatus> for WebhookStatus {
    fn from(status: domain::EndpointStatus) -> Self {
        match status {
            domain::EndpointStatus::Enabled => Self::Enabled,
            domain::EndpointStatus::Disabled => Self::Disabled,
        }
    }
}

impl From<WebhookStatus> for domain::EndpointStatus {
    fn from(status: WebhookStatus) -> Self {
        match status {
            WebhookStatus::Enabled => Self::Enabled,
            WebhookStatus::Disabled => Self::Disabled,
        }
    }
}

/// What a new endpoint is made of.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct CreateWebhook {
    /// Where the events go: https, port 443 or from 1024, to a public host.
    #[garde(skip)]
    #[schema(max_length = 2_048, example = "https://hooks.example.org/convene")]
    url: String,
    /// Which events it gets: `*`, those of a module as `rsvp.*`, or types as `rsvp.confirmed`.
    #[garde(skip)]
    #[schema(min_items = 1, max_items = 100, example = json!(["rsvp.*", "event.cancelled"]))]
    event_types: Vec<String>,
    /// What it is for.
    #[serde(default)]
    #[garde(inner(custom(rules::text(Description::check))))]
    #[schema(max_length = 10_000, example = "Badge printer")]
    description: Option<String>,
    /// How its webhooks are signed.
    #[serde(default)]
    #[garde(skip)]
    #[schema(default = "hmac", example = "hmac")]
    signature: SignatureScheme,
    /// Header fields that are sent along, such as a key of the receiver's: at most 20, of 8 KiB together. Names of letters,
    /// digits and hyphens, values of visible ASCII. Those of the message, of one hop, of where a request came from, and
    /// `content-*` and `webhook-*` are refused. The values are kept sealed, and not shown again.
    #[serde(default)]
    #[garde(skip)]
    #[schema(example = json!({"x-api-key": "k_7f3a"}))]
    headers: BTreeMap<String, String>,
    /// The most webhooks that it is sent in a second; null for as many as go.
    #[serde(default)]
    #[garde(range(min = 1, max = domain::RateLimit::MAX))]
    #[schema(minimum = 1, maximum = 1_000, example = 50)]
    max_per_second: Option<u16>,
}

impl TryFrom<CreateWebhook> for EndpointInput {
    type Error = Failure;

    fn try_from(body: CreateWebhook) -> Result<Self, Failure> {
        let description = body.description.map(Description::new).transpose();
        Ok(Self {
            url: body.url,
            event_types: body.event_types,
            description: rules::checked("description", description)?,
            signature: body.signature.into(),
            headers: body.headers,
            rate_limit: body.max_per_second.map(rate_limit).transpose()?,
        })
    }
}

/// What can be changed about an endpoint.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct PatchWebhook {
    /// Where the events go; cannot be null.
    #[serde(default, deserialize_with = "present")]
    #[garde(skip)]
    #[schema(nullable = false, max_length = 2_048, example = "https://hooks.example.org/convene")]
    url: Option<String>,
    /// Which events it gets; cannot be null.
    #[serde(default, deserialize_with = "present")]
    #[garde(skip)]
    #[schema(nullable = false, min_items = 1, max_items = 100, example = json!(["*"]))]
    event_types: Option<Vec<String>>,
    /// What it is for; null clears it.
    #[serde(default)]
    #[garde(inner(custom(rules::text(Description::check))))]
    #[schema(value_type = Option<String>, max_length = 10_000, example = "Posts to our chat")]
    description: Patch<String>,
    /// Whether anything is sent to it; cannot be null. One that is enabled again gets what was kept for it.
    #[serde(default, deserialize_with = "present")]
    #[garde(skip)]
    #[schema(nullable = false, example = "enabled")]
    status: Option<WebhookStatus>,
    /// Header fields that are sent along: those that are named are set, or taken away by null; null takes all away.
    #[serde(default)]
    #[garde(skip)]
    #[schema(value_type = Option<BTreeMap<String, Option<String>>>, example = json!({"x-api-key": "k_b04e"}))]
    headers: Patch<BTreeMap<String, Option<String>>>,
    /// The most webhooks that it is sent in a second; null for as many as go.
    #[serde(default)]
    #[garde(inner(range(min = 1, max = domain::RateLimit::MAX)))]
    #[schema(value_type = Option<u16>, minimum = 1, maximum = 1_000, example = 50)]
    max_per_second: Patch<u16>,
}

impl TryFrom<PatchWebhook> for EndpointChange {
    type Error = Failure;

    fn try_from(body: PatchWebhook) -> Result<Self, Failure> {
        let description = body
            .description
            .try_map(|text| rules::checked("description", Description::new(text)))?;
        Ok(Self {
            url: body.url,
            event_types: body.event_types,
            description: description.into_option(),
            status: body.status.map(domain::EndpointStatus::from),
            headers: match body.headers {
                Patch::Keep => HeadersChange::Keep,
                Patch::Clear => HeadersChange::Clear,
                Patch::Set(changes) => HeadersChange::Merge(changes),
            },
            rate_limit: body.max_per_second.try_map(rate_limit)?.into_option(),
        })
    }
}

/// How the secret of an endpoint is to be replaced.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct RotateSecret {
    /// For how many hours webhooks carry a signature by the secret of before, too. 0 ends it at once, and all before it: for
    /// a secret that somebody else has.
    #[serde(default = "a_day")]
    #[garde(range(max = domain::Overlap::MAX_HOURS))]
    #[schema(minimum = 0, maximum = 168, default = 24, example = 24)]
    overlap_hours: u16,
    /// Another way to sign; without it that of before stays.
    #[serde(default, deserialize_with = "present")]
    #[garde(skip)]
    #[schema(nullable = false, example = "ed25519")]
    signature: Option<SignatureScheme>,
}

fn rate_limit(count: u16) -> Result<domain::RateLimit, Failure> {
    domain::RateLimit::per_second(count).ok_or_else(|| {
        let detail = format!("must be from 1 to {}", domain::RateLimit::MAX);
        Failure::invalid(vec![FieldError::field("max_per_second", "out_of_range", detail)])
    })
}

fn a_day() -> u16 {
    domain::Overlap::default().as_hours()
}

impl TryFrom<RotateSecret> for Rotation {
    type Error = Failure;

    fn try_from(body: RotateSecret) -> Result<Self, Failure> {
        let overlap = domain::Overlap::hours(body.overlap_hours).ok_or_else(|| {
            let detail = format!("must be at most {}", domain::Overlap::MAX_HOURS);
            Failure::invalid(vec![FieldError::field("overlap_hours", "out_of_range", detail)])
        })?;
        Ok(Self { overlap, signature: body.signature.map(domain::SignatureScheme::from) })
    }
}

/// One event on its way to one endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Delivery {
    /// Its id, which is the header `webhook-id` of every attempt.
    id: id::Delivery,
    /// The id of the event: the `id` in the body.
    #[schema(example = "019ab3c4-7d5e-7a60-8f2b-6c1d9e0f4a37")]
    event_id: Uuid,
    /// The type of the event.
    #[schema(example = "rsvp.confirmed")]
    event_type: String,
    /// Where it stands.
    #[schema(example = "succeeded")]
    status: DeliveryStatus,
    /// Every attempt, the first first.
    attempts: Vec<DeliveryAttempt>,
}

impl From<&DeliveryView> for Delivery {
    fn from(view: &DeliveryView) -> Self {
        Self {
            id: view.id.into(),
            event_id: view.event_id,
            event_type: view.event_type.clone(),
            status: view.status.into(),
            attempts: view.attempts.iter().map(DeliveryAttempt::from).collect(),
        }
    }
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum DeliveryStatus {
    /// It is being attempted, or waits for its next attempt.
    Pending,
    /// The receiver answered 2xx.
    Succeeded,
    /// Every attempt failed.
    Failed,
}

impl From<domain::DeliveryStatus> for DeliveryStatus {
    fn from(status: domain::DeliveryStatus) -> Self {
        match status {
            domain::DeliveryStatus::Pending => Self::Pending,
            domain::DeliveryStatus::Succeeded => Self::Succeeded,
            domain::DeliveryStatus::Failed => Self::Failed,
        }
    }
}

/// One attempt of a delivery.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeliveryAttempt {
    /// When it began.
    #[schema(example = "2027-04-01T08:30:00.123456Z")]
    at: Timestamp,
    /// The status of the answer; null if none arrived.
    #[schema(required, minimum = 100, maximum = 999, example = 204)]
    status_code: Option<u16>,
    /// How long it took, in milliseconds; null while it runs, and if it was interrupted.
    #[schema(required, example = 38)]
    duration_ms: Option<u64>,
    /// What failed on the way, such as `timeout`, `connection_failed` or `interrupted`; null when the answer was read,
    /// whatever its status.
    #[schema(required, example = json!(null))]
    error: Option<String>,
    /// The beginning of the answer's body, at most 1 KiB; what is no UTF-8 is replaced. Empty without one.
    #[schema(example = "ok")]
    response: String,
}

impl From<&AttemptView> for DeliveryAttempt {
    fn from(attempt: &AttemptView) -> Self {
        let millis =
            |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            at: attempt.at,
            status_code: attempt.status_code,
            duration_ms: attempt.duration.map(millis),
            error: attempt.error.clone(),
            response: String::from_utf8_lossy(&attempt.response_head).into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use convene_application::kernel::error::Place;
    use convene_domain::ids::TypedId as _;
    use serde_json::{Value, json};

    use super::*;

    fn endpoint() -> domain::Endpoint {
        let new = domain::NewEndpoint {
            url: domain::EndpointUrl::new("https://hooks.example.org/convene").unwrap(),
            event_types: domain::EventTypes::new(vec!["rsvp.*".to_owned()]).unwrap(),
            description: None,
        };
        let id = Uuid::nil();
        let (id, community, by) = (
            convene_domain::ids::WebhookId::from_uuid(id),
            convene_domain::ids::CommunityId::from_uuid(id),
            convene_domain::ids::UserId::from_uuid(id),
        );
        domain::Endpoint::new(id, community, by, new, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn the_secret_is_in_the_first_reply_alone() {
        let created = CreatedEndpoint { endpoint: endpoint(), secret: "whsec_c2VjcmV0".into() };
        let first = serde_json::to_value(CreatedWebhook::from(&created)).unwrap();
        let later = serde_json::to_value(Webhook::from(&created.endpoint)).unwrap();
        let members =
            |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let mut expected = vec![
            "id",
            "url",
            "event_types",
            "description",
            "signature",
            "public_key",
            "header_names",
            "max_per_second",
            "status",
            "created_at",
            "updated_at",
        ];
        assert_eq!(members(&later), expected);
        expected.push("secret");
        assert_eq!(members(&first), expected);
        assert_eq!(first["secret"], "whsec_c2VjcmV0");
        assert_eq!((&first["description"], &first["status"]), (&Value::Null, &json!("enabled")));
    }

    #[test]
    fn null_clears_a_description_and_nothing_else() {
        let read = |body: Value| {
            crate::json::from_slice::<PatchWebhook>(&serde_json::to_vec(&body).unwrap())
        };
        let change =
            EndpointChange::try_from(read(json!({ "description": null })).unwrap()).unwrap();
        assert_eq!(change.description, Some(None));
        assert_eq!((change.url, change.event_types, change.status), (None, None, None));
        for field in ["url", "event_types", "status"] {
            let failure = read(json!({ field: null })).unwrap_err();
            assert_eq!(failure.errors[0].place, Place::Pointer(format!("/{field}")), "{field}");
        }
        let paused = read(json!({ "status": "disabled" })).unwrap();
        let paused = EndpointChange::try_from(paused).unwrap();
        assert_eq!(paused.status, Some(domain::EndpointStatus::Disabled));
    }

    #[test]
    fn header_fields_are_merged_or_taken_away() {
        let read = |body: Value| {
            let bytes = serde_json::to_vec(&body).unwrap();
            let body = crate::json::from_slice::<PatchWebhook>(&bytes).unwrap();
            EndpointChange::try_from(body).unwrap().headers
        };
        assert_eq!(read(json!({})), HeadersChange::Keep);
        assert_eq!(read(json!({ "headers": null })), HeadersChange::Clear);
        let changes = [("x-a", Some("1")), ("x-b", None)];
        let changes = changes.map(|(name, value)| (name.to_owned(), value.map(str::to_owned)));
        let merged = read(json!({ "headers": { "x-a": "1", "x-b": null } }));
        assert_eq!(merged, HeadersChange::Merge(changes.into()));
    }

    #[test]
    fn a_rotation_overlaps_a_day_if_nothing_is_said() {
        let read = |body: Value| {
            let bytes = serde_json::to_vec(&body).unwrap();
            crate::json::from_slice::<RotateSecret>(&bytes).and_then(Rotation::try_from)
        };
        assert_eq!(read(json!({})).unwrap(), Rotation::default());
        let longest = read(json!({ "overlap_hours": 168, "signature": "ed25519" })).unwrap();
        assert_eq!(longest.overlap.as_hours(), 168);
        assert_eq!(longest.signature, Some(domain::SignatureScheme::Ed25519));
        let longer = read(json!({ "overlap_hours": 169 })).unwrap_err();
        assert_eq!(longer.errors[0].place, Place::Pointer("/overlap_hours".to_owned()));
    }

    #[test]
    fn an_attempt_that_runs_has_no_end() {
        let ended = AttemptView {
            at: Timestamp::UNIX_EPOCH,
            status_code: Some(204),
            duration: Some(Duration::from_millis(38)),
            error: None,
            response_head: b"ok\xff".as_slice().into(),
        };
        let response_head = bytes::Bytes::new();
        let runs =
            AttemptView { status_code: None, duration: None, response_head, ..ended.clone() };
        let view = DeliveryView {
            id: convene_domain::ids::DeliveryId::from_uuid(Uuid::nil()),
            event_id: Uuid::nil(),
            event_type: "rsvp.confirmed".to_owned(),
            status: domain::DeliveryStatus::Pending,
            attempts: vec![ended, runs],
            in_flight: true,
            created_at: Timestamp::UNIX_EPOCH,
        };
        let delivery = serde_json::to_value(Delivery::from(&view)).unwrap();
        let at = "1970-01-01T00:00:00Z";
        assert_eq!(
            delivery["attempts"],
            json!([
                { "at": at, "status_code": 204, "duration_ms": 38, "error": null, "response": "ok\u{fffd}" },
                { "at": at, "status_code": null, "duration_ms": null, "error": null, "response": "" },
            ])
        );
        assert_eq!(delivery["status"], "pending");
    }
}
