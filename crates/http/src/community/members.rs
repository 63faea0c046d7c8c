//! The routes of a community's members.

use actix_web::web::Data;
use actix_web::{HttpResponse, get, post, put};
use convene_application::community::MemberView;
use convene_application::kernel::idempotency::StoredReply;
use convene_domain::community::{AssignableRole, CommunityRef};
use convene_domain::ids::UserId;

use super::Service;
use super::dto::{Member, PutRole};
use super::routes::render_done;
use crate::extract::{Body, Caller, Ctx, IdempotencyKey, List, NoBody, NoFilter, PathId, Query};
use crate::problem::Problem;
use crate::reply;
use crate::state::Http;

/// Without a tag, since no change of a member asks for one.
fn render(member: &MemberView) -> StoredReply {
    reply::untagged(reply::ok(&Member::from(member)))
}

/// Join a community.
///
/// Whoever is a member already stays as they are. A private community is not found.
#[utoipa::path(
    tag = "community",
    operation_id = "join_community",
    params(PathId<CommunityRef>, IdempotencyKey),
    responses((status = 200, description = "One's own membership.", body = Member)),
)]
#[post("/v1/communities/{community}/join")]
pub(super) async fn join(
    Caller(caller): Caller,
    Ctx(context): Ctx,
    PathId(community): PathId<CommunityRef>,
    key: IdempotencyKey,
    body: NoBody,
    service: Data<Service>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let idempotency = key.claim_alone(body, render);
    let join =
        async move { service.communities.join(&context, caller, &community, idempotency).await };
    Ok(reply::answer(http.run(join).await?, render))
}

/// Leave a community.
///
/// One's RSVPs to its future events are cancelled shortly after. Whoever is no member stays as they are. The owner cannot
/// leave.
#[utoipa::path(
    tag = "community",
    operation_id = "leave_community",
    params(PathId<CommunityRef>, IdempotencyKey),
    responses((status = 204, description = "One is no member.")),
)]
#[post("/v1/communities/{community}/leave")]
pub(super) async fn leave(
    Caller(caller): Caller,
    Ctx(context): Ctx,
    PathId(community): PathId<CommunityRef>,
    key: IdempotencyKey,
    body: NoBody,
    service: Data<Service>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let idempotency = key.claim_alone(body, render_done);
    let leave =
        async move { service.communities.leave(&context, caller, &community, idempotency).await };
    Ok(reply::answer(http.run(leave).await?, render_done))
}

/// List the members of a community.
///
/// By joining, oldest first; for members. Others who can see the community get 403 `membership_required`.
#[utoipa::path(
    tag = "community",
    operation_id = "list_members",
    params(PathId<CommunityRef>, List<NoFilter>),
    responses((status = 200, description = "A page of them.", body = reply::PageOf<Member>)),
)]
#[get("/v1/communities/{community}/members")]
pub(super) async fn list_members(
    Caller(caller): Caller,
    PathId(community): PathId<CommunityRef>,
    list: List<NoFilter>,
    service: Data<Service>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let (query, frame) = list.open();
    let query = query.map(|query| query.page);
    let members = async move { service.communities.members(caller, &community, query).await };
    Ok(frame.reply(http.run(members).await?.map(|member| Member::from(&member))))
}

/// Read one's own membership.
///
/// Tells one's role. Whoever can see the community and is no member gets 403 `membership_required`.
#[utoipa::path(
    tag = "community",
    operation_id = "get_my_membership",
    params(PathId<CommunityRef>),
    responses((status = 200, description = "One's own membership.", body = Member)),
)]
#[get("/v1/communities/{community}/members/me")]
pub(super) async fn get_mine(
    Caller(caller): Caller,
    PathId(community): PathId<CommunityRef>,
    query: Query<NoFilter>,
    service: Data<Service>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let membership = async move { service.communities.own_membership(caller, &community).await };
    let membership = http.run(membership).await?;
    query.open()?;
    Ok(reply::json(&Member::from(&membership)))
}

/// Give a member another role; for the owner and admins.
///
/// Admins appoint organizers and members, the owner admins too. Nobody changes their own role, nor that of an equal or a
/// higher rank.
#[utoipa::path(
    tag = "community",
    operation_id = "set_member_role",
    params(PathId<CommunityRef>, PathId<UserId>, IdempotencyKey),
    request_body = PutRole,
    responses((status = 200, description = "The member as it is now.", body = Member)),
)]
#[put("/v1/communities/{community}/members/{user}/role")]
pub(super) async fn set_role(
    Caller(caller): Caller,
    Ctx(context): Ctx,
    PathId(community): PathId<CommunityRef>,
    PathId(user): PathId<UserId>,
    key: IdempotencyKey,
    body: Body<PutRole>,
    service: Data<Service>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let (idempotency, input) = key.claim(body, render);
    let role = input.map(AssignableRole::from);
    let set_role = async move {
        let communities = &service.communities;
        communities.set_role(&context, caller, &community, user, role, idempotency).await
    };
    Ok(reply::answer(http.run(set_role).await?, render))
}
