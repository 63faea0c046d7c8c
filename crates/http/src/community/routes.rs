//! The routes of communities themselves.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, delete, get, patch, post};
use convene_application::kernel::idempotency::StoredReply;
use convene_domain::community::{self as domain, CommunityPatch, CommunityRef, NewCommunity};

use super::Service;
use super::dto::{Community, CreateCommunity, PatchCommunity};
use crate::extract::{
    Body, Caller, Ctx, IdempotencyKey, IfMatchHeader, IfNoneMatchHeader, List, MaybeCaller, NoBody,
    NoFilter, PathId,
};
use crate::problem::Problem;
use crate::state::Http;
use crate::{etag, reply};

fn render_created(community: &domain::Community) -> StoredReply {
    reply::created(format!("/v1/communities/{}", community.id), &Community::from(community))
}

fn render(community: &domain::Community) -> StoredReply {
    reply::ok(&Community::from(community))
}

fn tag(community: &domain::Community) -> String {
    etag::of(&Community::from(community))
}

/// Make a community, and own it.
#[utoipa::path(
    tag = "community",
    operation_id = "create_community",
    params(IdempotencyKey),
    request_body = CreateCommunity,
    responses((status = 201, description = "The new community.", body = Community)),
)]
#[post("/v1/communities")]
pub(super) async fn create(
    Caller(caller): Caller,
    Ctx(context): Ctx,
    key: IdempotencyKey,
    body: Body<CreateCommunity>,
    service: Data<Service>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let (idempotency, input) = key.claim(body, render_created);
    let input = input.and_then(NewCommunity::try_from);
    let create =
        async move { service.communities.create(&context, caller, input, idempotency).await };
    Ok(reply::answer(http.run(create).await?, render_created))
}

/// List public communities and one's own, newest first, without archived ones.
#[utoipa::path(
    tag = "community",
    operation_id = "list_communities",
    params(List<NoFilter>),
    responses((status = 200, description = "A page of them.", body = reply::PageOf<Community>)),
    security((), ("bearer" = []))
)]
#[get("/v1/communities")]
pub(super) async fn list_communities(
    MaybeCaller(caller): MaybeCaller,
    list: List<NoFilter>,
    service: Data<Service>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let viewer = caller.map(|caller| caller.user);
    let (query, frame) = list.open();
    let query = query.map(|query| query.page);
    let page = http.run(async move { service.communities.list(viewer, query).await }).await?;
    Ok(frame.reply(page.map(|community| Community::from(&community))))
}

/// List one's own communities, the one joined last first, without archived ones.
#[utoipa::path(
    tag = "community",
    operation_id = "list_my_communities",
    params(List<NoFilter>),
    responses((status = 200, description = "A page of them.", body = reply::PageOf<Community>)),
)]
#[get("/v1/users/me/communities")]
pub(super) async fn list_mine(
    Caller(caller): Caller,
    list: List<NoFilter>,
    service: Data<Service>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let (query, frame) = list.open();
    let query = query.map(|query| query.page);
    let page = http.run(async move { service.communities.joined(caller, query).await }).await?;
    Ok(frame.reply(page.map(|community| Community::from(&community))))
}

/// Read a community.
///
/// A private one is there for its members alone, an archived one for its owner and admins.
#[utoipa::path(
    tag = "community",
    operation_id = "get_community",
    params(PathId<CommunityRef>, IfNoneMatchHeader),
    responses((status = 200, description = "The community.", body = Community), (status = 304, description = "Unchanged.")),
    security((), ("bearer" = []))
)]
#[get("/v1/communities/{community}")]
pub(super) async fn get(
    request: HttpRequest,
    MaybeCaller(caller): MaybeCaller,
    PathId(community): PathId<CommunityRef>,
    service: Data<Service>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let viewer = caller.map(|caller| caller.user);
    let community =
        http.run(async move { service.communities.get(viewer, &community).await }).await?;
    Ok(reply::resource(&request, &Community::from(&community)))
}

/// Change a community; for its owner and admins.
///
/// A change of nothing answers like any other, with the same tag.
#[utoipa::path(
    tag = "community",
    operation_id = "update_community",
    params(PathId<CommunityRef>, IfMatchHeader, IdempotencyKey),
    request_body = PatchCommunity,
    responses((status = 200, description = "The community as it is now.", body = Community)),
)]
#[patch("/v1/communities/{community}")]
pub(super) async fn update(
    Caller(caller): Caller,
    Ctx(context): Ctx,
    PathId(community): PathId<CommunityRef>,
    if_match: IfMatchHeader,
    key: IdempotencyKey,
    body: Body<PatchCommunity>,
    service: Data<Service>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let (idempotency, input) = key.claim(body, render);
    let patch = input.and_then(CommunityPatch::try_from);
    let if_match = if_match.on(tag);
    let update = async move {
        let communities = &service.communities;
        communities.update(&context, caller, &community, patch, &if_match, idempotency).await
    };
    Ok(reply::answer(http.run(update).await?, render))
}

/// Archive a community; for its owner.
///
/// It leaves every list, takes no changes any more, and is read by its owner and admins alone.
#[utoipa::path(
    tag = "community",
    operation_id = "archive_community",
    params(PathId<CommunityRef>, IfMatchHeader, IdempotencyKey),
    responses((status = 204, description = "It is archived.")),
)]
#[delete("/v1/communities/{community}")]
pub(super) async fn archive(
    Caller(caller): Caller,
    Ctx(context): Ctx,
    PathId(community): PathId<CommunityRef>,
    if_match: IfMatchHeader,
    key: IdempotencyKey,
    body: NoBody,
    service: Data<Service>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let (idempotency, input) = key.claim(body, render_done);
    input?;
    let if_match = if_match.on(tag);
    let archive = async move {
        let communities = &service.communities;
        communities.archive(&context, caller, &community, &if_match, idempotency).await
    };
    Ok(reply::answer(http.run(archive).await?, render_done))
}

/// The reply to a change after which there is nothing to say.
pub(super) fn render_done((): &()) -> StoredReply {
    reply::no_content()
}
