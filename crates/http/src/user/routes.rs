//! The routes of profiles.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, get, patch};
use convene_application::kernel::idempotency::StoredReply;
use convene_application::user::UserService;
use convene_domain::user;
use convene_domain::user::ProfileChange;

use super::dto::{PatchUser, User};
use crate::extract::{
    Body, Caller, Ctx, IdempotencyKey, IfMatchHeader, IfNoneMatchHeader, NoFilter, Query,
};
use crate::problem::Problem;
use crate::state::Http;
use crate::{etag, reply};

/// The reply to a change.
fn render(user: &user::User) -> StoredReply {
    reply::ok(&User::from(user))
}

/// Read one's own profile.
///
/// Its tag is what a change of it needs as `If-Match`.
#[utoipa::path(
    tag = "user",
    operation_id = "get_me",
    params(IfNoneMatchHeader),
    responses((status = 200, description = "The profile.", body = User), (status = 304, description = "Unchanged.")),
)]
#[get("/v1/users/me")]
pub(super) async fn get_me(
    request: HttpRequest,
    Caller(caller): Caller,
    query: Query<NoFilter>,
    users: Data<UserService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let user = http.run(async move { users.me(caller).await }).await?;
    query.open()?;
    Ok(reply::resource(&request, &User::from(&user)))
}

/// Change one's own profile.
///
/// A handle that another person has is refused with 409 `handle_taken`.
#[utoipa::path(
    tag = "user",
    operation_id = "update_me",
    params(IfMatchHeader, IdempotencyKey),
    request_body = PatchUser,
    responses((status = 200, description = "The profile as it is now.", body = User)),
)]
#[patch("/v1/users/me")]
pub(super) async fn patch_me(
    Caller(caller): Caller,
    Ctx(context): Ctx,
    if_match: IfMatchHeader,
    key: IdempotencyKey,
    body: Body<PatchUser>,
    users: Data<UserService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let (idempotency, input) = key.claim(body, render);
    let change = input.and_then(ProfileChange::try_from);
    let if_match = if_match.on(|user: &user::User| etag::of(&User::from(user)));
    let update =
        async move { users.update(&context, caller, change, &if_match, idempotency).await };
    Ok(reply::answer(http.run(update).await?, render))
}
