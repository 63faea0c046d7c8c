//! The routes that send many deliveries again. All are for a community's owner and admins.

use actix_web::web::Data;
use actix_web::{HttpResponse, get, post};
use convene_application::kernel::error::Failure;
use convene_application::kernel::idempotency::StoredReply;
use convene_application::webhook::{ReplayInput, WebhookService, ports};
use convene_domain::community::CommunityRef;
use convene_domain::ids::{ReplayId, WebhookId};
use convene_domain::webhook as domain;
use garde::Validate;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::extract::{Body, Caller, Ctx, IdempotencyKey, NoBody, NoFilter, PathId, Query};
use crate::json::present;
use crate::problem::Problem;
use crate::state::Http;
use crate::{id, reply};

/// What is to be sent again.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct CreateReplay {
    /// Which deliveries.
    #[garde(skip)]
    #[schema(example = "failed")]
    scope: ReplayScope,
    /// Those that were made, or whose events were recorded, at this time or later. Needed for `failed` and `all`; missing
    /// ones are made for all events since the endpoint was made, if it is not given.
    #[serde(default, deserialize_with = "present")]
    #[garde(skip)]
    #[schema(nullable = false, example = "2027-03-01T00:00:00Z")]
    since: Option<Timestamp>,
}

impl TryFrom<CreateReplay> for ReplayInput {
    type Error = Failure;

    fn try_from(body: CreateReplay) -> Result<Self, Failure> {
        Ok(Self { scope: body.scope.into(), since: body.since })
    }
}

/// Which of an endpoint's deliveries are sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReplayScope {
    /// Those that failed at every attempt.
    Failed,
    /// All, also those that succeeded.
    All,
    /// Those that were never made: of events that the endpoint wants now and has no delivery of.
    Missing,
}

impl From<ReplayScope> for domain::ReplayScope {
    fn from(scope: ReplayScope) -> Self {
        match scope {
            ReplayScope::Failed => Self::Failed,
            ReplayScope::All => Self::All,
            ReplayScope::Missing => Self::Missing,
        }
    }
}

impl From<domain::ReplayScope> for ReplayScope {
    fn from(scope: domain::ReplayScope) -> Self {
        match scope {
            domain::ReplayScope::Failed => Self::Failed,
            domain::ReplayScope::All => Self::All,
            domain::ReplayScope::Missing => Self::Missing,
        }
    }
}

/// Where a replay stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReplayStatus {
    /// It goes on.
    Running,
    /// Everything has been handed over for sending.
    Completed,
    /// Somebody stopped it.
    Cancelled,
}

impl From<domain::ReplayStatus> for ReplayStatus {
    fn from(status: domain::ReplayStatus) -> Self {
        match status {
            domain::ReplayStatus::Running => Self::Running,
            domain::ReplayStatus::Completed => Self::Completed,
            domain::ReplayStatus::Cancelled => Self::Cancelled,
        }
    }
}

/// Many deliveries that are sent again.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Replay {
    /// Its id.
    id: id::Replay,
    /// The endpoint.
    webhook_id: id::Webhook,
    /// Which of its deliveries.
    #[schema(example = "failed")]
    scope: ReplayScope,
    /// Those that were made, or whose events were recorded, at this time or later, and before the replay was asked for.
    #[schema(example = "2027-03-01T00:00:00Z")]
    since: Timestamp,
    /// Where it stands.
    #[schema(example = "running")]
    status: ReplayStatus,
    /// How many deliveries were handed over for sending so far.
    #[schema(example = 1_500)]
    redelivered: u64,
    /// When it was asked for.
    #[schema(example = "2027-03-02T09:00:00.123456Z")]
    created_at: Timestamp,
    /// When it was done, or stopped; null while it runs.
    #[schema(required, example = json!(null))]
    ended_at: Option<Timestamp>,
}

impl From<&ports::Replay> for Replay {
    fn from(replay: &ports::Replay) -> Self {
        Self {
            id: replay.id.into(),
            webhook_id: replay.webhook.into(),
            scope: replay.scope.into(),
            since: replay.since,
            status: replay.status.into(),
            redelivered: replay.redelivered,
            created_at: replay.created_at,
            ended_at: replay.ended_at,
        }
    }
}

fn render_begun(replay: &ports::Replay) -> StoredReply {
    let ports::Replay { id, community, webhook, .. } = replay;
    let location = format!("/v1/communities/{community}/webhooks/{webhook}/replays/{id}");
    StoredReply { location: Some(location), ..reply::accepted(&Replay::from(replay)) }
}

fn render(replay: &ports::Replay) -> StoredReply {
    reply::untagged(reply::ok(&Replay::from(replay)))
}

/// Send many deliveries again; for the owner and admins.
///
/// Each under its id, with its schedule from the beginning. It takes a while: ask for how far it got under `Location`. What
/// is made from now on is left alone, and so is what is on its way.
#[utoipa::path(
    tag = "webhook",
    operation_id = "replay_webhook",
    params(PathId<CommunityRef>, PathId<WebhookId>, IdempotencyKey),
    request_body = CreateReplay,
    responses((status = 202, description = "The replay, which has begun.", body = Replay)),
)]
#[post("/v1/communities/{community}/webhooks/{webhook}/replay")]
pub(super) async fn create(
    Caller(caller): Caller,
    Ctx(context): Ctx,
    PathId(community): PathId<CommunityRef>,
    PathId(webhook): PathId<WebhookId>,
    key: IdempotencyKey,
    body: Body<CreateReplay>,
    webhooks: Data<WebhookService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let (idempotency, input) = key.claim(body, render_begun);
    let input = input.and_then(ReplayInput::try_from);
    let replay = async move {
        webhooks.replay(&context, caller, &community, webhook, input, idempotency).await
    };
    Ok(reply::answer(http.run(replay).await?, render_begun))
}

/// See how far a replay has got; for the owner and admins.
///
/// It has ended once `status` is no longer `running`; what it handed over is sent like any other delivery.
#[utoipa::path(
    tag = "webhook",
    operation_id = "get_replay",
    params(PathId<CommunityRef>, PathId<WebhookId>, PathId<ReplayId>),
    responses((status = 200, description = "The replay.", body = Replay)),
)]
#[get("/v1/communities/{community}/webhooks/{webhook}/replays/{replay}")]
pub(super) async fn get(
    Caller(caller): Caller,
    PathId(community): PathId<CommunityRef>,
    PathId(webhook): PathId<WebhookId>,
    PathId(replay): PathId<ReplayId>,
    query: Query<NoFilter>,
    webhooks: Data<WebhookService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let get = async move { webhooks.get_replay(caller, &community, webhook, replay).await };
    let replay = http.run(get).await?;
    query.open()?;
    Ok(reply::json(&Replay::from(&replay)))
}

/// Stop a replay; for the owner and admins.
///
/// What it has handed over is sent. One that has ended stays as it is.
#[utoipa::path(
    tag = "webhook",
    operation_id = "cancel_replay",
    params(PathId<CommunityRef>, PathId<WebhookId>, PathId<ReplayId>, IdempotencyKey),
    responses((status = 200, description = "The replay as it is now.", body = Replay)),
)]
#[post("/v1/communities/{community}/webhooks/{webhook}/replays/{replay}/cancel")]
pub(super) async fn cancel(
    Caller(caller): Caller,
    Ctx(context): Ctx,
    PathId(community): PathId<CommunityRef>,
    PathId(webhook): PathId<WebhookId>,
    PathId(replay): PathId<ReplayId>,
    key: IdempotencyKey,
    body: NoBody,
    webhooks: Data<WebhookService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let idempotency = key.claim_alone(body, render);
    let cancel = async move {
        webhooks.cancel_replay(&context, caller, &community, webhook, replay, idempotency).await
    };
    Ok(reply::answer(http.run(cancel).await?, render))
}
