//! The routes of events.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, get, patch, post};
use convene_application::event::EventService;
use convene_application::kernel::idempotency::StoredReply;
use convene_domain::community::CommunityRef;
use convene_domain::event::{self as domain, EventPatch, NewEvent};
use convene_domain::ids::EventId;

use super::dto::{CancelEvent, CreateEvent, Event, PatchEvent};
use crate::expand::{Expander, OfEvent};
use crate::extract::{
    Body, Caller, Ctx, Expand, IdempotencyKey, IfMatchHeader, IfNoneMatchHeader, List, MaybeCaller,
    NoBody, OptionalBody, PathId, Query,
};
use crate::problem::Problem;
use crate::reply::Rendered;
use crate::state::Http;
use crate::{etag, reply};

fn render_created(event: &domain::Event) -> StoredReply {
    reply::created(format!("/v1/events/{}", event.id), &Event::from(event))
}

fn render(event: &domain::Event) -> StoredReply {
    reply::ok(&Event::from(event))
}

/// Make a draft of an event; for the community's organizers, admins and owner.
///
/// Whoever makes it is an organiser of it. A local time that clocks skip is refused with `nonexistent_time`; one that
/// occurs twice is refused with `ambiguous_time`, unless `fold` says which one is meant.
#[utoipa::path(
    tag = "event",
    operation_id = "create_event",
    params(PathId<CommunityRef>, IdempotencyKey),
    request_body = CreateEvent,
    responses((status = 201, description = "The new draft.", body = Event)),
)]
#[post("/v1/communities/{community}/events")]
pub(super) async fn create(
    Caller(caller): Caller,
    Ctx(context): Ctx,
    PathId(community): PathId<CommunityRef>,
    key: IdempotencyKey,
    body: Body<CreateEvent>,
    events: Data<EventService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let (idempotency, input) = key.claim(body, render_created);
    let input = input.and_then(NewEvent::try_from);
    let create =
        async move { events.create(&context, caller, &community, input, idempotency).await };
    Ok(reply::answer(http.run(create).await?, render_created))
}

/// List the events of a community by their start.
///
/// Drafts are for their organisers, the community's admins and its owner.
#[utoipa::path(
    tag = "event",
    operation_id = "list_events",
    params(PathId<CommunityRef>, List<Expand<OfEvent>>),
    responses((status = 200, description = "A page of them.", body = reply::PageOf<Event>)),
    security((), ("bearer" = []))
)]
#[get("/v1/communities/{community}/events")]
pub(super) async fn list_of_community(
    MaybeCaller(caller): MaybeCaller,
    PathId(community): PathId<CommunityRef>,
    list: List<Expand<OfEvent>>,
    events: Data<EventService>,
    expander: Data<Expander>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let viewer = caller.map(|caller| caller.user);
    let (query, frame) = list.open();
    let (query, expansion) = Expand::split(query);
    let list = async move {
        let page = events.of_community(viewer, &community, query).await?;
        let ids: Vec<_> = page.items.iter().map(|event| (event.id, event.community)).collect();
        let beside = expander.beside_events(caller, &expansion, &ids).await?;
        Ok(page.zip(beside))
    };
    let page = http.run(list).await?;
    Ok(frame.reply(page.map(|(event, beside)| Event::from(&event).with(beside))))
}

/// Read an event.
///
/// What was never published is there for its organisers, the community's admins and its owner alone.
#[utoipa::path(
    tag = "event",
    operation_id = "get_event",
    params(PathId<EventId>, Query<Expand<OfEvent>>, IfNoneMatchHeader),
    responses((status = 200, description = "The event.", body = Event), (status = 304, description = "Unchanged.")),
    security((), ("bearer" = []))
)]
#[get("/v1/events/{event}")]
pub(super) async fn get(
    request: HttpRequest,
    MaybeCaller(caller): MaybeCaller,
    PathId(event): PathId<EventId>,
    query: Query<Expand<OfEvent>>,
    events: Data<EventService>,
    expander: Data<Expander>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let viewer = caller.map(|caller| caller.user);
    let event = match events.peek(viewer, event) {
        Some(known) => known?,
        None => http.run(async move { events.get(viewer, event).await }).await?,
    };
    let expansion = query.open()?.expansion();
    if expansion.is_empty() {
        return Ok(event.made(|event| Rendered::of(&Event::from(event))).reply(&request));
    }
    let asked = [(event.id, event.community)];
    let beside = async move { expander.beside_events(caller, &expansion, &asked).await };
    let beside = http.run(beside).await?.pop().unwrap_or_default();
    Ok(reply::json(&Event::from(&**event).with(beside)))
}

/// Change an event; for its organisers, the community's admins and its owner.
///
/// A change of nothing answers like any other, with the same tag. A greater capacity goes to those who wait, one below the
/// taken seats is refused with `capacity_below_confirmed`. What is cancelled does not change.
#[utoipa::path(
    tag = "event",
    operation_id = "update_event",
    params(PathId<EventId>, IfMatchHeader, IdempotencyKey),
    request_body = PatchEvent,
    responses((status = 200, description = "The event as it is now.", body = Event)),
)]
#[patch("/v1/events/{event}")]
pub(super) async fn update(
    Caller(caller): Caller,
    Ctx(context): Ctx,
    PathId(event): PathId<EventId>,
    if_match: IfMatchHeader,
    key: IdempotencyKey,
    body: Body<PatchEvent>,
    events: Data<EventService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let (idempotency, input) = key.claim(body, render);
    let patch = input.and_then(EventPatch::try_from);
    let if_match = if_match.on(|event: &domain::Event| etag::of(&Event::from(event)));
    let update =
        async move { events.update(&context, caller, event, patch, &if_match, idempotency).await };
    Ok(reply::answer(http.run(update).await?, render))
}

/// Announce a draft.
///
/// From then on everybody who can see the community sees the event. For its organisers, the community's admins and its
/// owner.
#[utoipa::path(
    tag = "event",
    operation_id = "publish_event",
    params(PathId<EventId>, IdempotencyKey),
    responses((status = 200, description = "The event as it is now.", body = Event)),
)]
#[post("/v1/events/{event}/publish")]
pub(super) async fn publish(
    Caller(caller): Caller,
    Ctx(context): Ctx,
    PathId(event): PathId<EventId>,
    key: IdempotencyKey,
    body: NoBody,
    events: Data<EventService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let idempotency = key.claim_alone(body, render);
    let publish = async move { events.publish(&context, caller, event, idempotency).await };
    Ok(reply::answer(http.run(publish).await?, render))
}

/// Cancel a draft or a published event; for its organisers, the community's admins and its owner.
///
/// Its RSVPs are cancelled shortly after, and each person is told once.
#[utoipa::path(
    tag = "event",
    operation_id = "cancel_event",
    params(PathId<EventId>, IdempotencyKey),
    request_body = Option<CancelEvent>,
    responses((status = 200, description = "The event as it is now.", body = Event)),
)]
#[post("/v1/events/{event}/cancel")]
pub(super) async fn cancel(
    Caller(caller): Caller,
    Ctx(context): Ctx,
    PathId(event): PathId<EventId>,
    key: IdempotencyKey,
    body: OptionalBody<CancelEvent>,
    events: Data<EventService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let (idempotency, input) = key.claim(body, render);
    let reason = input.and_then(CancelEvent::reason);
    let cancel = async move { events.cancel(&context, caller, event, reason, idempotency).await };
    Ok(reply::answer(http.run(cancel).await?, render))
}
