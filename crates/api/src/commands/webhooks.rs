//! `convene webhooks …`

use convene_application::webhook::ReplayInput;
use convene_application::webhook::ports::{DeliveryView, Replay};
use convene_domain::ids::WebhookId;
use convene_domain::webhook::{Endpoint, EndpointStatus};
use serde_json::{Value, json};

use super::session::Session;
use super::{listen, print_json, say, table};
use crate::cli::WebhooksCommand;
use crate::error::StartError;
use crate::wiring::operators;

pub(super) async fn run(command: WebhooksCommand, json: bool) -> Result<(), StartError> {
    let session = Session::open().await?;
    let webhooks = operators::webhooks(&session.platform);
    match command {
        WebhooksCommand::List { community, limit } => {
            let community = session.community(community.as_deref()).await?;
            list(&webhooks.list(community, limit).await?, json)
        }
        WebhooksCommand::Deliveries { endpoint, status, limit } => {
            deliveries(endpoint, &webhooks.deliveries(endpoint, status, limit).await?, json)
        }
        WebhooksCommand::Resend { delivery } => {
            let (endpoint, view) = webhooks.resend(&session.context, delivery).await?;
            resent(&endpoint, &view, json)
        }
        WebhooksCommand::Enable { endpoint } => {
            set(&session, endpoint, EndpointStatus::Enabled, json).await
        }
        WebhooksCommand::Disable { endpoint } => {
            set(&session, endpoint, EndpointStatus::Disabled, json).await
        }
        WebhooksCommand::Test { endpoint } => {
            let (endpoint, view) = webhooks.test(&session.context, endpoint).await?;
            sent(&endpoint, &view, "a test", json)
        }
        WebhooksCommand::Replay(asked) => {
            let input = ReplayInput { scope: asked.scope(), since: asked.since };
            let (endpoint, replay) =
                webhooks.replay(&session.context, asked.endpoint, input).await?;
            replayed(&endpoint, &replay, json)
        }
        WebhooksCommand::Listen(asked) => listen::run(&session, asked, json).await,
    }
}

fn list(endpoints: &[Endpoint], json: bool) -> Result<(), StartError> {
    if json {
        let endpoints: Vec<Value> = endpoints.iter().map(endpoint_json).collect();
        return print_json(&json!({ "endpoints": endpoints }));
    }
    let rows: Vec<_> = endpoints
        .iter()
        .map(|endpoint| {
            [
                endpoint.id.to_string(),
                endpoint.community.to_string(),
                endpoint.status.as_str().to_owned(),
                endpoint.health.failures.to_string(),
                table::or_dash(endpoint.health.failing_since),
                endpoint.url.as_str().to_owned(),
            ]
        })
        .collect();
    table::print(
        ["endpoint", "community", "status", "failures", "failing since", "url"],
        &rows,
        "No endpoints.",
    )
}

fn deliveries(
    endpoint: WebhookId,
    deliveries: &[DeliveryView],
    json: bool,
) -> Result<(), StartError> {
    if json {
        let deliveries: Vec<Value> = deliveries.iter().map(delivery_json).collect();
        return print_json(&json!({ "endpoint": endpoint.to_string(), "deliveries": deliveries }));
    }
    let rows: Vec<_> = deliveries
        .iter()
        .map(|delivery| {
            let last = delivery.attempts.last();
            let answer = last.and_then(|attempt| {
                attempt.status_code.map(|code| code.to_string()).or_else(|| attempt.error.clone())
            });
            [
                delivery.id.to_string(),
                delivery.event_type.clone(),
                delivery.status.as_str().to_owned(),
                delivery.attempts.len().to_string(),
                table::or_dash(answer),
                delivery.created_at.to_string(),
            ]
        })
        .collect();
    table::print(
        ["delivery", "type", "status", "attempts", "last answer", "made"],
        &rows,
        "No deliveries.",
    )
}

fn resent(endpoint: &Endpoint, view: &DeliveryView, json: bool) -> Result<(), StartError> {
    if json {
        return print_json(&delivery_json(view));
    }
    match (view.in_flight, endpoint.is_enabled()) {
        (true, _) => say(format_args!("{} is on its way already.", view.id)),
        (false, true) => say(format_args!("{} is sent again.", view.id)),
        (false, false) => say(format_args!(
            "{} is sent once its endpoint is enabled: `convene webhooks enable {}`",
            view.id, endpoint.id
        )),
    }
}

fn sent(
    endpoint: &Endpoint,
    view: &DeliveryView,
    what: &str,
    json: bool,
) -> Result<(), StartError> {
    if json {
        return print_json(&delivery_json(view));
    }
    if endpoint.is_enabled() {
        return say(format_args!("{} is sent, {what}.", view.id));
    }
    say(format_args!(
        "{}, {what}, is sent once its endpoint is enabled: `convene webhooks enable {}`",
        view.id, endpoint.id
    ))
}

fn replayed(endpoint: &Endpoint, replay: &Replay, json: bool) -> Result<(), StartError> {
    if json {
        return print_json(&json!({
            "id": replay.id.to_string(),
            "webhook_id": replay.webhook.to_string(),
            "scope": replay.scope.as_str(),
            "since": replay.since.to_string(),
            "status": replay.status.as_str(),
            "created_at": replay.created_at.to_string(),
        }));
    }
    let (id, scope) = (replay.id, replay.scope.as_str());
    let what = format!("{id} has begun: {scope} deliveries since {}", replay.since);
    if endpoint.is_enabled() {
        return say(format_args!("{what} are sent."));
    }
    say(format_args!(
        "{what} are sent once their endpoint is enabled: `convene webhooks enable {}`",
        endpoint.id
    ))
}

async fn set(
    session: &Session,
    webhook: WebhookId,
    status: EndpointStatus,
    json: bool,
) -> Result<(), StartError> {
    let webhooks = operators::webhooks(&session.platform);
    let endpoint = webhooks.set_status(&session.context, webhook, status).await?;
    if json {
        return print_json(&endpoint_json(&endpoint));
    }
    say(format_args!("{} is {}.", endpoint.id, endpoint.status.as_str()))
}

fn endpoint_json(endpoint: &Endpoint) -> Value {
    let health = &endpoint.health;
    json!({
        "id": endpoint.id.to_string(),
        "community_id": endpoint.community.to_string(),
        "url": endpoint.url.as_str(),
        "event_types": endpoint.event_types.as_slice(),
        "status": endpoint.status.as_str(),
        "failures": health.failures,
        "failing_since": health.failing_since.map(|at| at.to_string()),
        "paused_until": health.paused_until.map(|at| at.to_string()),
        "created_at": endpoint.created_at.to_string(),
        "updated_at": endpoint.updated_at.to_string(),
    })
}

fn delivery_json(delivery: &DeliveryView) -> Value {
    let attempts: Vec<Value> = delivery
        .attempts
        .iter()
        .map(|attempt| {
            json!({
                "at": attempt.at.to_string(),
                "status_code": attempt.status_code,
                "duration_ms": attempt.duration.map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
                "error": attempt.error,
                "response": String::from_utf8_lossy(&attempt.response_head),
            })
        })
        .collect();
    json!({
        "id": delivery.id.to_string(),
        "event_id": delivery.event_id,
        "event_type": delivery.event_type,
        "status": delivery.status.as_str(),
        "in_flight": delivery.in_flight,
        "attempts": attempts,
        "created_at": delivery.created_at.to_string(),
    })
}
