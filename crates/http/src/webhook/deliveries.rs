//! The routes of deliveries to a webhook endpoint. All are for a community's owner and admins.

use actix_web::web::Data;
use actix_web::{HttpResponse, get, post};
use convene_application::kernel::idempotency::StoredReply;
use convene_application::webhook::WebhookService;
use convene_application::webhook::ports::DeliveryView;
use convene_domain::community::CommunityRef;
use convene_domain::ids::{DeliveryId, WebhookId};

use super::dto::Delivery;
use crate::extract::{Caller, Ctx, IdempotencyKey, List, NoBody, NoFilter, PathId};
use crate::problem::Problem;
use crate::reply;
use crate::state::Http;

fn render(view: &DeliveryView) -> StoredReply {
    reply::accepted(&Delivery::from(view))
}

/// List the deliveries to a webhook endpoint.
///
/// Newest first, with their attempts; for the owner and admins.
#[utoipa::path(
    tag = "webhook",
    operation_id = "list_deliveries",
    params(PathId<CommunityRef>, PathId<WebhookId>, List<NoFilter>),
    responses((status = 200, description = "A page of them.", body = reply::PageOf<Delivery>)),
)]
#[get("/v1/communities/{community}/webhooks/{webhook}/deliveries")]
pub(super) async fn list(
    Caller(caller): Caller,
    PathId(community): PathId<CommunityRef>,
    PathId(webhook): PathId<WebhookId>,
    list: List<NoFilter>,
    webhooks: Data<WebhookService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let (query, frame) = list.open();
    let query = query.map(|query| query.page);
    let list = async move { webhooks.deliveries(caller, &community, webhook, query).await };
    let page = http.run(list).await?;
    Ok(frame.reply(page.map(|view| Delivery::from(&view))))
}

/// Send a delivery again, under the same id; for the owner and admins.
///
/// One that has succeeded or failed begins a new schedule, one that waits for its next attempt is due at once, and one
/// that is on its way stays as it is. Nothing is sent while the endpoint is disabled.
#[utoipa::path(
    tag = "webhook",
    operation_id = "resend_delivery",
    params(PathId<CommunityRef>, PathId<WebhookId>, PathId<DeliveryId>, IdempotencyKey),
    responses((status = 202, description = "The delivery, which will be sent.", body = Delivery)),
)]
#[post("/v1/communities/{community}/webhooks/{webhook}/deliveries/{delivery}/resend")]
pub(super) async fn resend(
    Caller(caller): Caller,
    Ctx(context): Ctx,
    PathId(community): PathId<CommunityRef>,
    PathId(webhook): PathId<WebhookId>,
    PathId(delivery): PathId<DeliveryId>,
    key: IdempotencyKey,
    body: NoBody,
    webhooks: Data<WebhookService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let idempotency = key.claim_alone(body, render);
    let resend = async move {
        webhooks.resend(&context, caller, &community, webhook, delivery, idempotency).await
    };
    Ok(reply::answer(http.run(resend).await?, render))
}

/// Send a test to a webhook endpoint; for the owner and admins.
///
/// A webhook of the type `webhook.test`, whichever events the endpoint gets, with the ids of its community and endpoint in
/// `data`. It is a delivery like any other: signed, attempted again if it fails, and listed. Nothing is sent while the
/// endpoint is disabled.
#[utoipa::path(
    tag = "webhook",
    operation_id = "test_webhook",
    params(PathId<CommunityRef>, PathId<WebhookId>, IdempotencyKey),
    responses((status = 202, description = "The delivery, which will be sent.", body = Delivery)),
)]
#[post("/v1/communities/{community}/webhooks/{webhook}/test")]
pub(super) async fn test(
    Caller(caller): Caller,
    Ctx(context): Ctx,
    PathId(community): PathId<CommunityRef>,
    PathId(webhook): PathId<WebhookId>,
    key: IdempotencyKey,
    body: NoBody,
    webhooks: Data<WebhookService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let idempotency = key.claim_alone(body, render);
    let test =
        async move { webhooks.test(&context, caller, &community, webhook, idempotency).await };
    Ok(reply::answer(http.run(test).await?, render))
}
