//! The routes of RSVPs.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, delete, get, put};
use convene_application::kernel::idempotency::StoredReply;
use convene_application::rsvp::RsvpService;
use convene_domain::ids::EventId;
use convene_domain::rsvp::{Admission, PartySize, Status};

use super::dto::{EventAvailability, PutRsvp, Rsvp, RsvpFilter};
use crate::expand::{Expander, OfRsvp};
use crate::extract::{
    Body, Caller, Ctx, Expand, IdempotencyKey, IfNoneMatchHeader, List, MaybeCaller, NoBody,
    NoFilter, PathId, Query,
};
use crate::problem::Problem;
use crate::reply;
use crate::state::Http;

/// The reply to a change: 201 for a new RSVP, 200 for one that was there.
fn render(admission: &Admission) -> StoredReply {
    let rsvp = Rsvp::from(admission);
    if admission.created {
        reply::created(format!("/v1/events/{}/rsvps/me", admission.rsvp.event), &rsvp)
    } else {
        reply::ok(&rsvp)
    }
}

/// Come to an event, or change the party.
///
/// A whole party is confirmed or waits. Who waits keeps the place when the party changes. After cancelling this makes a
/// new RSVP at the back of the line.
#[utoipa::path(
    tag = "rsvp",
    operation_id = "put_my_rsvp",
    params(PathId<EventId>, IdempotencyKey),
    request_body = PutRsvp,
    responses((status = 200, description = "The RSVP, which was there before.", body = Rsvp), (status = 201, description = "A new RSVP.", body = Rsvp)),
)]
#[put("/v1/events/{event}/rsvps/me")]
pub(super) async fn put_mine(
    Caller(caller): Caller,
    Ctx(context): Ctx,
    PathId(event): PathId<EventId>,
    key: IdempotencyKey,
    body: Body<PutRsvp>,
    rsvps: Data<RsvpService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let (idempotency, input) = key.claim(body, render);
    let party = input.map(PartySize::from);
    let attend = async move { rsvps.attend(context, caller, event, party, idempotency).await };
    Ok(reply::answer(http.run(attend).await?, render))
}

/// Come no more.
///
/// Works until the event ends. The freed seats go to the head of the line at once. Doing it again changes nothing.
#[utoipa::path(
    tag = "rsvp",
    operation_id = "cancel_my_rsvp",
    params(PathId<EventId>, IdempotencyKey),
    responses((status = 200, description = "The RSVP, cancelled.", body = Rsvp)),
)]
#[delete("/v1/events/{event}/rsvps/me")]
pub(super) async fn delete_mine(
    Caller(caller): Caller,
    Ctx(context): Ctx,
    PathId(event): PathId<EventId>,
    key: IdempotencyKey,
    body: NoBody,
    rsvps: Data<RsvpService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let idempotency = key.claim_alone(body, render);
    let withdraw = async move { rsvps.withdraw(context, caller, event, idempotency).await };
    Ok(reply::answer(http.run(withdraw).await?, render))
}

/// Read one's own RSVP to an event.
///
/// The last if there were several; a cancelled one stays readable.
#[utoipa::path(
    tag = "rsvp",
    operation_id = "get_my_rsvp",
    params(PathId<EventId>, Query<Expand<OfRsvp>>, IfNoneMatchHeader),
    responses((status = 200, description = "The RSVP.", body = Rsvp), (status = 304, description = "Unchanged.")),
)]
#[get("/v1/events/{event}/rsvps/me")]
pub(super) async fn get_mine(
    request: HttpRequest,
    Caller(caller): Caller,
    PathId(event): PathId<EventId>,
    query: Query<Expand<OfRsvp>>,
    rsvps: Data<RsvpService>,
    expander: Data<Expander>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let view = http.run(async move { rsvps.mine(caller, event).await }).await?;
    let expansion = query.open()?.expansion();
    if expansion.is_empty() {
        return Ok(reply::resource(&request, &Rsvp::from(&view)));
    }
    let beside = async move { expander.beside_rsvps(caller, &expansion, &[event]).await };
    let beside = http.run(beside).await?.pop().unwrap_or_default();
    Ok(reply::json(&Rsvp::from(&view).with(beside)))
}

/// List the RSVPs of an event.
///
/// By creation, oldest first; for its organisers, the community's admins and its owner.
#[utoipa::path(
    tag = "rsvp",
    operation_id = "list_rsvps",
    params(PathId<EventId>, List<RsvpFilter>),
    responses((status = 200, description = "A page of them.", body = reply::PageOf<Rsvp>)),
)]
#[get("/v1/events/{event}/rsvps")]
pub(super) async fn list_of_event(
    Caller(caller): Caller,
    PathId(event): PathId<EventId>,
    list: List<RsvpFilter>,
    rsvps: Data<RsvpService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let (query, frame) = list.open();
    let query = query.map(|query| (query.filter.status.map(Status::from), query.page));
    let page = http.run(async move { rsvps.of_event(caller, event, query).await }).await?;
    Ok(frame.reply(page.map(|view| Rsvp::from(&view))))
}

/// List one's own RSVPs.
///
/// Newest first, cancelled ones included.
#[utoipa::path(
    tag = "rsvp",
    operation_id = "list_my_rsvps",
    params(List<Expand<OfRsvp>>),
    responses((status = 200, description = "A page of them.", body = reply::PageOf<Rsvp>)),
)]
#[get("/v1/users/me/rsvps")]
pub(super) async fn list_mine(
    Caller(caller): Caller,
    list: List<Expand<OfRsvp>>,
    rsvps: Data<RsvpService>,
    expander: Data<Expander>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let (query, frame) = list.open();
    let (query, expansion) = Expand::split(query);
    let list = async move {
        let page = rsvps.of_user(caller, query).await?;
        let events: Vec<_> = page.items.iter().map(|view| view.rsvp.event).collect();
        let beside = expander.beside_rsvps(caller, &expansion, &events).await?;
        Ok(page.zip(beside))
    };
    let page = http.run(list).await?;
    Ok(frame.reply(page.map(|(view, beside)| Rsvp::from(&view).with(beside))))
}

/// Read how many seats an event has left.
///
/// Counts change with each RSVP, so the reply has no tag. Without a capacity `capacity` and `seats_left` are null.
#[utoipa::path(
    tag = "rsvp",
    operation_id = "get_availability",
    params(PathId<EventId>),
    responses((status = 200, description = "The seats now.", body = EventAvailability)),
    security((), ("bearer" = []))
)]
#[get("/v1/events/{event}/availability")]
pub(super) async fn availability(
    MaybeCaller(caller): MaybeCaller,
    PathId(event): PathId<EventId>,
    query: Query<NoFilter>,
    rsvps: Data<RsvpService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let viewer = caller.map(|caller| caller.user);
    let seats = http.run(async move { rsvps.availability(viewer, event).await }).await?;
    query.open()?;
    Ok(reply::json(&EventAvailability::from(seats)))
}
