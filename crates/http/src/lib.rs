//! Convene's HTTP API: routes, DTOs, problems, OpenAPI.
//!
//! [`app`] makes the application that the server and the tests run. Around each handler lies the middleware of
//! `middleware`; a failure becomes `application/problem+json` in [`problem`] and nowhere else.
//!
//! # Adding a route
//!
//! A module has a folder with `mod.rs` (registration), `dto.rs` (bodies) and `routes.rs` (handlers). A handler is thin:
//! extractors in the order of their refusals, the use case through [`Http::run`], a reply. Three things keep the order of
//! checks (400 → 401 → 404 → 403 → idempotency → 428, 412 → 415, 400, 422 of the body → 409) without anybody thinking of it:
//!
//! - [`extract::Caller`] stands before [`extract::PathId`], and only these two refuse a request;
//! - [`extract::Body`] and [`extract::List`] hand over what is wrong as a
//!   [`Checked`](convene_application::kernel::error::Checked) value, which the use case opens with `?` in its place, and
//!   [`extract::IdempotencyKey`] inside of the claim, which `uow::replay` opens;
//! - a use case that takes no body gets nothing to open, so the handler opens it (`input?`): all that can be wrong with it
//!   is that it did not arrive.
//!
//! A handler's name is a unit struct to its module (the route macro makes it one), so no handler takes an argument that is
//! named like another handler.
//!
//! What a route asks of the policy is a line in [`permissions`], beside its registration.
//!
//! Names in `params(…)` are the extractors themselves. Problem replies that follow from the shape of a route (401, 404,
//! 412, 415, 422 …) are documented by [`openapi()`]; a handler documents what is its own. Public routes say `security(())`,
//! those that answer more to people who are logged in `security((), ("bearer" = []))`.
//!
//! | for | use |
//! |---|---|
//! | who asks | [`extract::Caller`], [`extract::MaybeCaller`] |
//! | what events and audit remember | [`extract::Ctx`] |
//! | an id in the path | [`extract::PathId`]; another kind of segment implements [`extract::PathSegment`] |
//! | a body | [`extract::Body`], [`extract::OptionalBody`]; [`extract::NoBody`] where there is none but an idempotency key may be |
//! | `Idempotency-Key` | [`extract::IdempotencyKey`], on every change outside `/v1/auth` |
//! | `If-Match` | [`extract::IfMatchHeader`] |
//! | a list | [`extract::List`], filters as a struct or [`extract::NoFilter`] |
//! | the query of another read | [`extract::Query`] |
//! | `?expand=` | [`extract::Expand`], as the query or the filter; what comes with it is read in `expand` |
//! | a field of a merge patch | [`json::Patch`] if `null` clears it, `Option` with [`json::present`] if not |
//! | an id, a rule of the domain in a DTO | [`id::Event`] and its siblings, [`rules::text`] |
//! | a reply | [`reply`]: `resource`, `json`, `answer` with `ok`, `created`, `accepted`, `no_content` |
//!
//! The pattern to copy, whole:
//!
//! ```
//! use std::sync::Arc;
//!
//! use actix_web::web::Data;
//! use actix_web::{HttpRequest, HttpResponse, get, patch, post};
//! use convene_application::kernel::context::{Principal, RequestContext};
//! use convene_application::kernel::error::{Checked, Failure};
//! use convene_application::kernel::idempotency::{Idempotency, Reply, StoredReply};
//! use convene_application::kernel::page::Page;
//! use convene_application::kernel::precondition::IfMatch;
//! use convene_domain::ids::EventId;
//! use convene_domain::text::{Description, Title};
//! use convene_http::extract::{
//!     Body, Caller, Ctx, IdempotencyKey, IfMatchHeader, IfNoneMatchHeader, List, ListQuery, NoBody, PathId,
//! };
//! use convene_http::json::{Patch, present};
//! use convene_http::{Http, Problem, Routes, etag, id, reply, rules};
//! use garde::Validate;
//! use jiff::Timestamp;
//! use serde::{Deserialize, Serialize};
//! use utoipa::{IntoParams, ToSchema};
//!
//! // ---- application: what the module's service offers -----------------------------------------------------------
//! # pub struct NoteService;
//! # #[derive(Clone)]
//! pub struct Note { id: EventId, title: Title, text: Option<Description>, updated_at: Timestamp }
//! pub struct NoteChange { title: Option<Title>, text: Patch<Description> }
//! # impl NoteService {
//! #   async fn read(&self, _: Principal, _: EventId) -> Result<Note, Failure> { Err(Failure::not_found()) }
//! #   async fn list(&self, _: Principal, _: Checked<ListQuery<NoteFilter>>) -> Result<Page<Note>, Failure> { Err(Failure::not_found()) }
//! #   async fn change(&self, _: &RequestContext, _: Principal, _: EventId, _: Checked<NoteChange>, _: IfMatch<Note>,
//! #       _: Option<Idempotency<Note>>) -> Result<Reply<Note>, Failure> { Err(Failure::not_found()) }
//! #   async fn publish(&self, _: &RequestContext, _: Principal, _: EventId, _: Option<Idempotency<Note>>)
//! #       -> Result<Reply<Note>, Failure> { Err(Failure::not_found()) }
//! # }
//!
//! // ---- mod.rs ----------------------------------------------------------------------------------------------------
//! /// What the handlers take as `Data`; `convene_http::Services` has a field of this type.
//! pub type Service = NoteService;
//!
//! /// Registers the routes of this module, and with them their documentation.
//! pub fn routes(routes: &mut Routes<'_>) {
//!     routes.service(read).service(list).service(change).service(publish);
//! }
//!
//! // ---- dto.rs ----------------------------------------------------------------------------------------------------
//! /// A note.
//! #[derive(Serialize, ToSchema)]
//! struct NoteBody {
//!     /// Its id.
//!     id: id::Event,
//!     /// What it is called.
//!     #[schema(example = "Bring cake")]
//!     title: String,
//!     /// What it says.
//!     text: Option<String>,
//!     /// When it last changed.
//!     updated_at: Timestamp,
//! }
//!
//! impl From<&Note> for NoteBody {
//!     fn from(note: &Note) -> Self {
//!         Self {
//!             id: note.id.into(),
//!             title: note.title.to_string(),
//!             text: note.text.as_ref().map(ToString::to_string),
//!             updated_at: note.updated_at,
//!         }
//!     }
//! }
//!
//! /// What can be changed about a note. (No `deny_unknown_fields`: the reader refuses them, all at once.)
//! #[derive(Deserialize, Validate, ToSchema)]
//! struct PatchNote {
//!     /// What it is called; cannot be null.
//!     #[serde(default, deserialize_with = "present")]
//!     #[garde(inner(custom(rules::text(Title::check))))]
//!     #[schema(nullable = false, min_length = 1, max_length = 200, example = "Bring cake")]
//!     title: Option<String>,
//!     /// What it says; null clears it.
//!     #[serde(default)]
//!     #[garde(inner(custom(rules::text(Description::check))))]
//!     #[schema(value_type = Option<String>, max_length = 10_000, example = "Two of them")]
//!     text: Patch<String>,
//! }
//!
//! impl TryFrom<PatchNote> for NoteChange {
//!     type Error = Failure;
//!
//!     fn try_from(body: PatchNote) -> Result<Self, Failure> {
//!         Ok(Self {
//!             title: body.title.map(|title| rules::checked("title", Title::new(title))).transpose()?,
//!             text: body.text.try_map(|text| rules::checked("text", Description::new(text)))?,
//!         })
//!     }
//! }
//!
//! /// Which notes.
//! #[derive(Deserialize, Validate, IntoParams)]
//! #[into_params(parameter_in = Query)]
//! struct NoteFilter {
//!     /// Only those of this author.
//!     #[garde(skip)]
//!     author: Option<String>,
//! }
//!
//! // ---- routes.rs -------------------------------------------------------------------------------------------------
//! /// Reads a note.
//! #[utoipa::path(
//!     tag = "note",
//!     operation_id = "get_note",
//!     params(PathId<EventId>, IfNoneMatchHeader),
//!     responses((status = 200, description = "The note.", body = NoteBody), (status = 304, description = "Unchanged.")),
//! )]
//! #[get("/v1/notes/{event}")]
//! async fn read(
//!     caller: Caller,
//!     note: PathId<EventId>,
//!     request: HttpRequest,
//!     notes: Data<NoteService>,
//!     http: Data<Http>,
//! ) -> Result<HttpResponse, Problem> {
//!     let note = http.run(async move { notes.read(caller.0, note.0).await }).await?;
//!     Ok(reply::resource(&request, &NoteBody::from(&note)))
//! }
//!
//! /// Lists the notes, newest first.
//! #[utoipa::path(
//!     tag = "note",
//!     operation_id = "list_notes",
//!     params(List<NoteFilter>),
//!     responses((status = 200, description = "A page of them.", body = reply::PageOf<NoteBody>)),
//! )]
//! #[get("/v1/notes")]
//! async fn list(
//!     caller: Caller,
//!     query: List<NoteFilter>,
//!     notes: Data<NoteService>,
//!     http: Data<Http>,
//! ) -> Result<HttpResponse, Problem> {
//!     let (query, frame) = query.open();
//!     let page = http.run(async move { notes.list(caller.0, query).await }).await?;
//!     Ok(frame.reply(page.map(|note| NoteBody::from(&note))))
//! }
//!
//! /// Changes a note.
//! #[utoipa::path(
//!     tag = "note",
//!     operation_id = "update_note",
//!     params(PathId<EventId>, IfMatchHeader, IdempotencyKey),
//!     request_body = PatchNote,
//!     responses((status = 200, description = "The note as it is now.", body = NoteBody)),
//! )]
//! #[patch("/v1/notes/{event}")]
//! async fn change(
//!     caller: Caller,
//!     context: Ctx,
//!     note: PathId<EventId>,
//!     if_match: IfMatchHeader,
//!     key: IdempotencyKey,
//!     body: Body<PatchNote>,
//!     notes: Data<NoteService>,
//!     http: Data<Http>,
//! ) -> Result<HttpResponse, Problem> {
//!     let (idempotency, input) = key.claim(body, rendered);
//!     let input = input.and_then(NoteChange::try_from);
//!     let if_match = if_match.on(|note: &Note| etag::of(&NoteBody::from(note)));
//!     let reply = http
//!         .run(async move { notes.change(&context.0, caller.0, note.0, input, if_match, idempotency).await })
//!         .await?;
//!     Ok(reply::answer(reply, rendered))
//! }
//!
//! /// Publishes a note.
//! #[utoipa::path(
//!     tag = "note",
//!     operation_id = "publish_note",
//!     params(PathId<EventId>, IdempotencyKey),
//!     responses((status = 200, description = "The note as it is now.", body = NoteBody)),
//! )]
//! #[post("/v1/notes/{event}/publish")]
//! async fn publish(
//!     caller: Caller,
//!     context: Ctx,
//!     note: PathId<EventId>,
//!     key: IdempotencyKey,
//!     body: NoBody,
//!     notes: Data<NoteService>,
//!     http: Data<Http>,
//! ) -> Result<HttpResponse, Problem> {
//!     let idempotency = key.claim_alone(body, rendered);
//!     let reply = http.run(async move { notes.publish(&context.0, caller.0, note.0, idempotency).await }).await?;
//!     Ok(reply::answer(reply, rendered))
//! }
//!
//! /// The reply to a change: what is sent now and what an idempotency key keeps. 201 would be
//! /// `reply::created(format!("/v1/notes/{}", note.id), &NoteBody::from(note))`.
//! fn rendered(note: &Note) -> StoredReply {
//!     reply::ok(&NoteBody::from(note))
//! }
//! ```

pub mod etag;
pub mod extract;
pub mod id;
pub mod json;
pub mod permissions;
pub mod ports;
pub mod problem;
pub mod reply;
pub mod rules;
pub mod settings;
pub mod versions;

pub mod auth;
pub mod community;
pub mod event;
pub mod rsvp;
pub mod user;
pub mod webhook;

pub mod admin;
#[doc(hidden)]
pub mod cost;

mod app;
mod class;
mod client_ip;
mod cursor;
mod dev_mail;
mod docs;
mod expand;
mod homeward;
mod middleware;
mod openapi;
mod operations;
mod schemas;
mod state;
mod trace;

use std::sync::Arc;

use actix_web::web::Data;

pub use app::{app, openapi, operations_app, routes};
pub use class::add_cost;
pub use middleware::Connected;
pub use openapi::RouteInfo;
pub use problem::Problem;
pub use state::Http;

/// Where a module registers its handlers. It takes a handler only together with its documentation.
pub type Routes<'a> = utoipa_actix_web::service_config::ServiceConfig<'a>;

/// Wires the modules: their services, their data and their routes.
macro_rules! modules {
    ($(#[doc = $doc:literal] $name:ident),+ $(,)?) => {
        /// The modules' names, which are the tags of their operations, and what they are about.
        const MODULES: &[(&str, &str)] = &[$((stringify!($name), $doc)),+];

        /// The services behind the API, one per module.
        #[derive(Clone)]
        pub struct Services {$(
            #[doc = $doc]
            pub $name: Arc<$name::Service>,
        )+}

        impl Services {
            fn put_into(&self, routes: &mut Routes<'_>) {
                $(routes.app_data(Data::from(Arc::clone(&self.$name)));)+
                routes.app_data(Data::new(expand::Expander::over(self)));
            }
        }

        fn module_routes(routes: &mut Routes<'_>) {
            $($name::routes(routes);)+
        }
    };
}

modules! {
    /// Accounts, logins and tokens.
    auth,
    /// People's profiles.
    user,
    /// Communities and their members.
    community,
    /// Events of a community.
    event,
    /// RSVPs to events.
    rsvp,
    /// Webhook endpoints, their deliveries and the event log.
    webhook,
}

#[cfg(test)]
mod testing;
