//! The routes of webhook endpoints. All are for a community's owner and admins.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, delete, get, patch, post};
use convene_application::kernel::idempotency::StoredReply;
use convene_application::webhook::{
    CreatedEndpoint, EndpointChange, EndpointInput, RotatedEndpoint, Rotation, WebhookService,
};
use convene_domain::community::CommunityRef;
use convene_domain::ids::WebhookId;
use convene_domain::webhook::Endpoint;

use super::dto::{
    CreateWebhook, CreatedWebhook, PatchWebhook, RotateSecret, RotatedWebhook, Webhook,
};
use crate::extract::{
    Body, Caller, Ctx, IdempotencyKey, IfMatchHeader, IfNoneMatchHeader, List, NoBody, NoFilter,
    PathId, Query,
};
use crate::problem::Problem;
use crate::state::Http;
use crate::{etag, reply};

/// The tag is that of the endpoint as it can be read from now on, without the secret.
fn render_created(created: &CreatedEndpoint) -> StoredReply {
    let Endpoint { id, community, .. } = created.endpoint;
    let location = format!("/v1/communities/{community}/webhooks/{id}");
    let etag = Some(tag(&created.endpoint));
    StoredReply { etag, ..reply::created(location, &CreatedWebhook::from(created)) }
}

fn render(endpoint: &Endpoint) -> StoredReply {
    reply::ok(&Webhook::from(endpoint))
}

/// The tag is that of the endpoint as it can be read from now on, without the secret.
fn render_rotated(rotated: &RotatedEndpoint) -> StoredReply {
    let etag = Some(tag(&rotated.endpoint));
    StoredReply { etag, ..reply::ok(&RotatedWebhook::from(rotated)) }
}

fn tag(endpoint: &Endpoint) -> String {
    etag::of(&Webhook::from(endpoint))
}

/// Make a webhook endpoint; for the owner and admins.
///
/// It gets the events that are recorded from now on, one POST each, signed after
/// [Standard Webhooks](https://www.standardwebhooks.com) with the secret of this reply, which is not shown again. Answer
/// 2xx within 15 seconds; anything else is attempted again, ten times in all over three days.
#[utoipa::path(
    tag = "webhook",
    operation_id = "create_webhook",
    params(PathId<CommunityRef>, IdempotencyKey),
    request_body = CreateWebhook,
    responses((status = 201, description = "The new endpoint, with its secret.", body = CreatedWebhook)),
)]
#[post("/v1/communities/{community}/webhooks")]
pub(super) async fn create(
    Caller(caller): Caller,
    Ctx(context): Ctx,
    PathId(community): PathId<CommunityRef>,
    key: IdempotencyKey,
    body: Body<CreateWebhook>,
    webhooks: Data<WebhookService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let (idempotency, input) = key.claim(body, render_created);
    let input = input.and_then(EndpointInput::try_from);
    let create =
        async move { webhooks.create(&context, caller, &community, input, idempotency).await };
    Ok(reply::answer(http.run(create).await?, render_created))
}

/// List the webhook endpoints of a community.
///
/// Newest first; for the owner and admins.
#[utoipa::path(
    tag = "webhook",
    operation_id = "list_webhooks",
    params(PathId<CommunityRef>, List<NoFilter>),
    responses((status = 200, description = "A page of them.", body = reply::PageOf<Webhook>)),
)]
#[get("/v1/communities/{community}/webhooks")]
pub(super) async fn list_endpoints(
    Caller(caller): Caller,
    PathId(community): PathId<CommunityRef>,
    list: List<NoFilter>,
    webhooks: Data<WebhookService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let (query, frame) = list.open();
    let query = query.map(|query| query.page);
    let page = http.run(async move { webhooks.list(caller, &community, query).await }).await?;
    Ok(frame.reply(page.map(|endpoint| Webhook::from(&endpoint))))
}

/// Read a webhook endpoint.
///
/// For the owner and admins. The secret is not shown again.
#[utoipa::path(
    tag = "webhook",
    operation_id = "get_webhook",
    params(PathId<CommunityRef>, PathId<WebhookId>, IfNoneMatchHeader),
    responses((status = 200, description = "The endpoint.", body = Webhook), (status = 304, description = "Unchanged.")),
)]
#[get("/v1/communities/{community}/webhooks/{webhook}")]
pub(super) async fn get(
    request: HttpRequest,
    Caller(caller): Caller,
    PathId(community): PathId<CommunityRef>,
    PathId(webhook): PathId<WebhookId>,
    query: Query<NoFilter>,
    webhooks: Data<WebhookService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let endpoint = http.run(async move { webhooks.get(caller, &community, webhook).await }).await?;
    query.open()?;
    Ok(reply::resource(&request, &Webhook::from(&endpoint)))
}

/// Change a webhook endpoint; for the owner and admins.
///
/// One that is enabled again gets what was kept for it. A change of nothing answers like any other, with the same tag.
#[utoipa::path(
    tag = "webhook",
    operation_id = "update_webhook",
    params(PathId<CommunityRef>, PathId<WebhookId>, IfMatchHeader, IdempotencyKey),
    request_body = PatchWebhook,
    responses((status = 200, description = "The endpoint as it is now.", body = Webhook)),
)]
#[patch("/v1/communities/{community}/webhooks/{webhook}")]
pub(super) async fn update(
    Caller(caller): Caller,
    Ctx(context): Ctx,
    PathId(community): PathId<CommunityRef>,
    PathId(webhook): PathId<WebhookId>,
    if_match: IfMatchHeader,
    key: IdempotencyKey,
    body: Body<PatchWebhook>,
    webhooks: Data<WebhookService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let (idempotency, input) = key.claim(body, render);
    let change = input.and_then(EndpointChange::try_from);
    let if_match = if_match.on(tag);
    let update = async move {
        webhooks.update(&context, caller, &community, webhook, change, &if_match, idempotency).await
    };
    Ok(reply::answer(http.run(update).await?, render))
}

/// Delete a webhook endpoint.
///
/// With all its deliveries; for the owner and admins.
#[utoipa::path(
    tag = "webhook",
    operation_id = "delete_webhook",
    params(PathId<CommunityRef>, PathId<WebhookId>, IfMatchHeader, IdempotencyKey),
    responses((status = 204, description = "It is no more.")),
)]
#[delete("/v1/communities/{community}/webhooks/{webhook}")]
pub(super) async fn delete(
    Caller(caller): Caller,
    Ctx(context): Ctx,
    PathId(community): PathId<CommunityRef>,
    PathId(webhook): PathId<WebhookId>,
    if_match: IfMatchHeader,
    key: IdempotencyKey,
    body: NoBody,
    webhooks: Data<WebhookService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    fn render(_: &()) -> StoredReply {
        reply::no_content()
    }
    let idempotency = key.claim_alone(body, render);
    let if_match = if_match.on(tag);
    let delete = async move {
        webhooks.delete(&context, caller, &community, webhook, &if_match, idempotency).await
    };
    Ok(reply::answer(http.run(delete).await?, render))
}

/// Replace the secret of a webhook endpoint; for the owner and admins.
///
/// Webhooks carry a signature by the new secret at once, and until the overlap ends one by the secret of before beside it,
/// with a space between them: change your receivers over in that time. The new secret is in this reply, which is not shown
/// again. Naming another `signature` changes how webhooks are signed, in the same way.
#[utoipa::path(
    tag = "webhook",
    operation_id = "rotate_webhook_secret",
    params(PathId<CommunityRef>, PathId<WebhookId>, IdempotencyKey),
    request_body = RotateSecret,
    responses((status = 200, description = "The endpoint, with its new secret.", body = RotatedWebhook)),
)]
#[post("/v1/communities/{community}/webhooks/{webhook}/rotate-secret")]
pub(super) async fn rotate_secret(
    Caller(caller): Caller,
    Ctx(context): Ctx,
    PathId(community): PathId<CommunityRef>,
    PathId(webhook): PathId<WebhookId>,
    key: IdempotencyKey,
    body: Body<RotateSecret>,
    webhooks: Data<WebhookService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let (idempotency, input) = key.claim(body, render_rotated);
    let rotation = input.and_then(Rotation::try_from);
    let rotate = async move {
        webhooks.rotate_secret(&context, caller, &community, webhook, rotation, idempotency).await
    };
    Ok(reply::answer(http.run(rotate).await?, render_rotated))
}
