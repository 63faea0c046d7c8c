//! Webhook endpoints and deliveries as clients read and write them.

use convene_application::kernel::error::Failure;
use convene_application::webhook::ports::{AttemptView, DeliveryView};
use convene_application::webhook::{CreatedEndpoint, EndpointChange, EndpointInput};
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
    /// What its webhooks are signed with, after Standard Webhooks: shown this once.
    #[schema(
        pattern = "^whsec_[A-Za-z0-9+/=]+$",
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
}

impl TryFrom<CreateWebhook> for EndpointInput {
    type Error = Failure;

    fn try_from(body: CreateWebhook) -> Result<Self, Failure> {
        let description = body.description.map(Description::new).transpose();
        Ok(Self {
            url: body.url,
            event_types: body.event_types,
            description: rules::checked("description", description)?,
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
    #[schema(value_type = Option<String>, max_length = 10_000)]
    description: Patch<String>,
    /// Whether anything is sent to it; cannot be null. One that is enabled again gets what was kept for it.
    #[serde(default, deserialize_with = "present")]
    #[garde(skip)]
    #[schema(nullable = false, example = "enabled")]
    status: Option<WebhookStatus>,
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
        })
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
        let mut expected =
            vec!["id", "url", "event_types", "description", "status", "created_at", "updated_at"];
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
    fn an_attempt_that_runs_has_no_end() {
        let ended = AttemptView {
            at: Timestamp::UNIX_EPOCH,
            status_code: Some(204),
            duration: Some(Duration::from_millis(38)),
            error: None,
        };
        let runs = AttemptView { status_code: None, duration: None, ..ended.clone() };
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
                { "at": at, "status_code": 204, "duration_ms": 38, "error": null },
                { "at": at, "status_code": null, "duration_ms": null, "error": null },
            ])
        );
        assert_eq!(delivery["status"], "pending");
    }
}
