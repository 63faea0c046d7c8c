//! The routes of communities themselves.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, delete, get, patch, post};
use convene_application::kernel::idempotency::StoredReply;
use convene_domain::community::{self as domain, CommunityPatch, CommunityRef, NewCommunity};

use super::Service;
use super::dto::{Community, CreateCommunity, PatchCommunity};
use crate::expand::{Expander, OfCommunity};
use crate::extract::{
    Body, Caller, Ctx, Expand, IdempotencyKey, IfMatchHeader, IfNoneMatchHeader, List, MaybeCaller,
    NoBody, PathId, Query,
};
use crate::problem::Problem;
use crate::reply::Rendered;
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
///
/// A slug that another community has or had is refused with 409 `slug_taken`.
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

/// List communities.
///
/// The public ones and one's own, newest first, without archived ones.
#[utoipa::path(
    tag = "community",
    operation_id = "list_communities",
    params(List<Expand<OfCommunity>>),
    responses((status = 200, description = "A page of them.", body = reply::PageOf<Community>)),
    security((), ("bearer" = []))
)]
#[get("/v1/communities")]
pub(super) async fn list_communities(
    MaybeCaller(caller): MaybeCaller,
    list: List<Expand<OfCommunity>>,
    service: Data<Service>,
    expander: Data<Expander>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let viewer = caller.map(|caller| caller.user);
    let (query, frame) = list.open();
    let (query, expansion) = Expand::split(query);
    let list = async move {
        let page = service.communities.list(viewer, query).await?;
        let ids: Vec<_> = page.items.iter().map(|community| community.id).collect();
        let beside = expander.beside_communities(caller, &expansion, &ids).await?;
        Ok(page.zip(beside))
    };
    let page = http.run(list).await?;
    Ok(frame.reply(page.map(|(community, beside)| Community::from(&community).with(beside))))
}

/// List one's own communities.
///
/// Those that one is a member of, the one joined last first, without archived ones.
#[utoipa::path(
    tag = "community",
    operation_id = "list_my_communities",
    params(List<Expand<OfCommunity>>),
    responses((status = 200, description = "A page of them.", body = reply::PageOf<Community>)),
)]
#[get("/v1/users/me/communities")]
pub(super) async fn list_mine(
    Caller(caller): Caller,
    list: List<Expand<OfCommunity>>,
    service: Data<Service>,
    expander: Data<Expander>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let (query, frame) = list.open();
    let (query, expansion) = Expand::split(query);
    let list = async move {
        let page = service.communities.joined(caller, query).await?;
        let ids: Vec<_> = page.items.iter().map(|community| community.id).collect();
        let beside = expander.beside_communities(Some(caller), &expansion, &ids).await?;
        Ok(page.zip(beside))
    };
    let page = http.run(list).await?;
    Ok(frame.reply(page.map(|(community, beside)| Community::from(&community).with(beside))))
}

/// Read a community.
///
/// A private one is there for its members alone, an archived one for its owner and admins.
#[utoipa::path(
    tag = "community",
    operation_id = "get_community",
    params(PathId<CommunityRef>, Query<Expand<OfCommunity>>, IfNoneMatchHeader),
    responses((status = 200, description = "The community.", body = Community), (status = 304, description = "Unchanged.")),
    security((), ("bearer" = []))
)]
#[get("/v1/communities/{community}")]
pub(super) async fn get(
    request: HttpRequest,
    MaybeCaller(caller): MaybeCaller,
    PathId(community): PathId<CommunityRef>,
    query: Query<Expand<OfCommunity>>,
    service: Data<Service>,
    expander: Data<Expander>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let viewer = caller.map(|caller| caller.user);
    let community = match service.communities.peek(viewer, &community) {
        Some(known) => known?,
        None => {
            let service = service.clone();
            http.run(async move { service.communities.get(viewer, &community).await }).await?
        }
    };
    let expansion = query.open()?.expansion();
    if expansion.is_empty() {
        let rendered = |community: &_| Rendered::of(&Community::from(community));
        return Ok(community.made(rendered).reply(&request));
    }
    let asked = [community.id];
    let beside = async move { expander.beside_communities(caller, &expansion, &asked).await };
    let beside = http.run(beside).await?.pop().unwrap_or_default();
    Ok(reply::json(&Community::from(&**community).with(beside)))
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
    let idempotency = key.claim_alone(body, render_done);
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
