//! A module of routes as small as possible, with a service that keeps to the order of checks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, get, patch, post};
use convene_application::kernel::context::{Principal, RequestContext};
use convene_application::kernel::error::{Checked, Code, Failure};
use convene_application::kernel::idempotency::{Claimed, Idempotency, Reply, StoredReply};
use convene_application::kernel::page::{Page, PageKey, Travel};
use convene_application::kernel::precondition::IfMatch;
use convene_domain::ids::{EventId, TypedId as _, UserId};
use convene_domain::text::Title;
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::extract::{
    Body, Caller, Ctx, IdempotencyKey, IfMatchHeader, IfNoneMatchHeader, List, ListQuery,
    MaybeCaller, NoBody, PathId,
};
use crate::json::{Patch, present};
use crate::{Http, Problem, Routes, etag, id, reply, rules};

pub(super) fn routes(routes: &mut Routes<'_>) {
    routes
        .service(read)
        .service(list)
        .service(change)
        .service(publish)
        .service(context)
        .service(panics)
        .service(panics_inside)
        .service(broken)
        .service(slow)
        .service(old_list);
}

type Digest = [u8; 32];

/// Note 1 belongs to user 1 and is visible to users 1 and 2. There are 5 items in the list.
pub(super) struct NoteService {
    note: Mutex<Note>,
    /// By scope, with the fingerprint of the body that they answered.
    replies: Mutex<HashMap<Digest, (Digest, StoredReply)>>,
    pub(super) effects: Arc<std::sync::atomic::AtomicUsize>,
}

impl Default for NoteService {
    fn default() -> Self {
        let note = Note {
            id: note_id(),
            title: "A title that is long enough for a compressed reply "
                .repeat(3)
                .trim()
                .to_owned(),
            text: None,
            published: false,
        };
        Self { note: Mutex::new(note), replies: Mutex::default(), effects: Arc::default() }
    }
}

pub(super) fn note_id() -> EventId {
    EventId::from_uuid(Uuid::from_u128(1))
}

#[derive(Clone)]
pub(super) struct Note {
    id: EventId,
    title: String,
    text: Option<String>,
    published: bool,
}

impl NoteService {
    fn visible(&self, principal: Principal, note: EventId) -> Result<Note, Failure> {
        let readers = [1, 2].map(|number| UserId::from_uuid(Uuid::from_u128(number)));
        if note == note_id() && readers.contains(&principal.user) {
            Ok(self.note.lock().unwrap().clone())
        } else {
            Err(Failure::not_found())
        }
    }

    fn own(&self, principal: Principal, note: EventId) -> Result<Note, Failure> {
        let found = self.visible(principal, note)?;
        if principal.user == UserId::from_uuid(Uuid::from_u128(1)) {
            Ok(found)
        } else {
            Err(Failure::new(Code::Forbidden, "Only the author may do this."))
        }
    }

    fn replay(
        &self,
        idempotency: Option<&Idempotency<Note>>,
    ) -> Result<Option<Reply<Note>>, Failure> {
        let Some(Idempotency { claim, .. }) = idempotency else { return Ok(None) };
        let claim = claim.as_ref().map_err(Clone::clone)?;
        let claimed = match self.replies.lock().unwrap().get(&claim.scope) {
            None => Claimed::First,
            Some((fingerprint, reply)) if *fingerprint == claim.fingerprint => {
                Claimed::Done(reply.clone())
            }
            Some(_) => Claimed::Mismatch,
        };
        Ok(claimed.proceed()?.map(Reply::Replayed))
    }

    fn commit(&self, note: Note, idempotency: Option<Idempotency<Note>>) -> Reply<Note> {
        if let Some(Idempotency { claim: Ok(claim), render }) = idempotency {
            self.replies.lock().unwrap().insert(claim.scope, (claim.fingerprint, render(&note)));
        }
        self.effects.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        *self.note.lock().unwrap() = note.clone();
        Reply::Fresh(note)
    }

    fn change(
        &self,
        principal: Principal,
        note: EventId,
        input: Checked<PatchNote>,
        if_match: &IfMatch<Note>,
        idempotency: Option<Idempotency<Note>>,
    ) -> Result<Reply<Note>, Failure> {
        let mut note = self.own(principal, note)?;
        if let Some(reply) = self.replay(idempotency.as_ref())? {
            return Ok(reply);
        }
        if_match.check(&note)?;
        let input = input?;
        if note.published {
            return Err(Failure::new(Code::InvalidTransition, "The note is published."));
        }
        note.title = input.title.unwrap_or(note.title);
        match input.text {
            Patch::Keep => {}
            Patch::Clear => note.text = None,
            Patch::Set(text) => note.text = Some(text),
        }
        Ok(self.commit(note, idempotency))
    }
}

#[derive(Serialize, ToSchema)]
struct NoteBody {
    id: id::Event,
    title: String,
    text: Option<String>,
    published: bool,
}

impl From<&Note> for NoteBody {
    fn from(note: &Note) -> Self {
        Self {
            id: note.id.into(),
            title: note.title.clone(),
            text: note.text.clone(),
            published: note.published,
        }
    }
}

#[derive(Deserialize, Validate, ToSchema)]
pub(super) struct PatchNote {
    #[serde(default, deserialize_with = "present")]
    #[garde(inner(custom(rules::text(Title::check))))]
    #[schema(nullable = false)]
    title: Option<String>,
    #[serde(default)]
    #[garde(inner(length(chars, max = 10)))]
    #[schema(value_type = Option<String>)]
    text: Patch<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct NoteFilter {
    #[garde(skip)]
    colour: Option<Colour>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Colour {
    Red,
    DarkBlue,
}

fn rendered(note: &Note) -> StoredReply {
    reply::ok(&NoteBody::from(note))
}

/// Reads a note.
#[utoipa::path(
    tag = "note",
    operation_id = "get_note",
    params(PathId<EventId>, IfNoneMatchHeader),
    responses((status = 200, description = "The note.", body = NoteBody))
)]
#[get("/v1/notes/{event}")]
async fn read(
    caller: Caller,
    note: PathId<EventId>,
    request: HttpRequest,
    notes: Data<NoteService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let note = http.run(async move { notes.visible(caller.0, note.0) }).await?;
    Ok(reply::resource(&request, &NoteBody::from(&note)))
}

/// Lists the numbers from 1 to 5.
#[utoipa::path(
    tag = "note",
    operation_id = "list_notes",
    params(List<NoteFilter>),
    security((), ("bearer" = [])),
    responses((status = 200, description = "A page.", body = reply::PageOf<i64>))
)]
#[get("/v1/notes")]
async fn list(
    _caller: MaybeCaller,
    list: List<NoteFilter>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let (query, frame) = list.open();
    let page = http.run(async move { numbers(query) }).await?;
    Ok(frame.reply(page))
}

fn numbers(query: Checked<ListQuery<NoteFilter>>) -> Result<Page<i64>, Failure> {
    let ListQuery { page, filter } = query?;
    let all = if filter.colour == Some(Colour::DarkBlue) { 11..=15 } else { 1..=5_i64 };
    let fetch = usize::try_from(page.fetch()).unwrap();
    let rows = match page.travel {
        Travel::First => all.take(fetch).collect(),
        Travel::After(edge) => all.filter(|n| *n > edge.sort).take(fetch).collect(),
        Travel::Before(edge) => all.rev().filter(|n| *n < edge.sort).take(fetch).collect(),
    };
    Ok(page.page(rows, |n| PageKey { sort: *n, id: Uuid::nil() }))
}

/// Changes a note.
#[utoipa::path(
    tag = "note",
    operation_id = "update_note",
    params(PathId<EventId>, IfMatchHeader, IdempotencyKey),
    request_body = PatchNote,
    responses((status = 200, description = "The note.", body = NoteBody))
)]
#[patch("/v1/notes/{event}")]
async fn change(
    caller: Caller,
    _context: Ctx,
    note: PathId<EventId>,
    if_match: IfMatchHeader,
    key: IdempotencyKey,
    body: Body<PatchNote>,
    notes: Data<NoteService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let (idempotency, input) = key.claim(body, rendered);
    let if_match = if_match.on(|note: &Note| etag::of(&NoteBody::from(note)));
    let work = async move { notes.change(caller.0, note.0, input, &if_match, idempotency) };
    Ok(reply::answer(http.run(work).await?, rendered))
}

/// Publishes a note.
#[utoipa::path(
    tag = "note",
    operation_id = "publish_note",
    params(PathId<EventId>, IdempotencyKey),
    responses((status = 200, description = "The note.", body = NoteBody))
)]
#[post("/v1/notes/{event}/publish")]
async fn publish(
    caller: Caller,
    note: PathId<EventId>,
    key: IdempotencyKey,
    body: NoBody,
    notes: Data<NoteService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let idempotency = key.claim_alone(body, rendered);
    let work = async move {
        let note = notes.own(caller.0, note.0)?;
        if let Some(reply) = notes.replay(idempotency.as_ref())? {
            return Ok(reply);
        }
        Ok(notes.commit(Note { published: true, ..note }, idempotency))
    };
    Ok(reply::answer(http.run(work).await?, rendered))
}

/// Tells what a use case learns of the request.
#[utoipa::path(
    tag = "note",
    operation_id = "get_context",
    security(()),
    responses((status = 200, description = "The context.", body = serde_json::Value))
)]
#[get("/v1/context")]
async fn context(context: Ctx) -> HttpResponse {
    let RequestContext { actor, request_id, traceparent, client_ip, user_agent, .. } = context.0;
    reply::json(&serde_json::json!({
        "actor": actor.to_string(),
        "request_id": request_id,
        "traceparent": traceparent,
        "client_ip": client_ip,
        "user_agent": user_agent,
    }))
}

/// Panics in the handler.
#[utoipa::path(
    tag = "note",
    operation_id = "panic",
    security(()),
    responses((status = 200, description = "Never."))
)]
#[get("/v1/panic")]
async fn panics() -> HttpResponse {
    panic!("secret reason")
}

/// Panics in the use case.
#[utoipa::path(
    tag = "note",
    operation_id = "panic_inside",
    security(()),
    responses((status = 200, description = "Never."))
)]
#[get("/v1/panic-inside")]
async fn panics_inside(http: Data<Http>) -> Result<HttpResponse, Problem> {
    http.run::<(), _>(async { panic!("secret reason") }).await?;
    Ok(reply::send(reply::no_content()))
}

/// Fails because of something else.
#[utoipa::path(
    tag = "note",
    operation_id = "broken",
    security(()),
    responses((status = 200, description = "Never."))
)]
#[get("/v1/broken")]
async fn broken(http: Data<Http>) -> Result<HttpResponse, Problem> {
    http.run::<(), _>(async { Err(Failure::unavailable("secret reason")) }).await?;
    Ok(reply::send(reply::no_content()))
}

/// Takes its time, and has an effect.
#[utoipa::path(
    tag = "note",
    operation_id = "slow",
    security(()),
    responses((status = 204, description = "Done."))
)]
#[post("/v1/slow")]
async fn slow(notes: Data<NoteService>, http: Data<Http>) -> Result<HttpResponse, Problem> {
    let effects = Arc::clone(&notes.effects);
    http.run(async move {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        effects.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Ok(())
    })
    .await?;
    Ok(reply::send(reply::no_content()))
}

/// List notes as it was done before.
///
/// Takes the same query as the list that replaces it.
#[utoipa::path(
    tag = "note",
    operation_id = "list_old_notes",
    params(List<NoteFilter>),
    security(()),
    responses((status = 200, description = "A page.", body = reply::PageOf<i64>)),
    extensions(("x-deprecation" = json!({"since": "2023-06-30", "sunset": "2025-06-30", "link": "/docs/changes"})))
)]
#[get("/v1/old-notes")]
async fn old_list(query: List<NoteFilter>) -> HttpResponse {
    let (_, frame) = query.open();
    frame.reply(Page { items: vec![1], has_more: false, next: None, prev: None })
}
