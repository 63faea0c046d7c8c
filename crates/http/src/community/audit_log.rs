//! The route of a community's audit log.

use actix_web::web::Data;
use actix_web::{HttpResponse, get};
use convene_application::community::audit_log::{entry_filter, period_filter};
use convene_application::kernel::audit::{EntryFilter, LoggedEntry};
use convene_application::kernel::error::{Checked, Failure};
use convene_application::kernel::page::PageQuery;
use convene_domain::community::CommunityRef;
use garde::Validate;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::Service;
use crate::extract::{Caller, List, ListQuery, PathId};
use crate::problem::Problem;
use crate::reply;
use crate::state::Http;

/// List who did what in a community, and who was refused, by number, oldest first; for its owner and admins.
///
/// Numbers are dense, and each entry's hash covers the entry and the hash before it, so nothing can be changed or left out
/// unnoticed. Nothing ever appears before a cursor that was given out, unless a time is asked for. Of many refusals of one person some are left out.
#[utoipa::path(
    tag = "community",
    operation_id = "list_audit_log",
    params(PathId<CommunityRef>, List<AuditLogFilter>),
    responses((status = 200, description = "A page of them.", body = reply::PageOf<AuditEntryBody>)),
)]
#[get("/v1/communities/{community}/audit-log")]
pub(super) async fn read_audit_log(
    Caller(caller): Caller,
    PathId(community): PathId<CommunityRef>,
    list: List<AuditLogFilter>,
    service: Data<Service>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let (query, frame) = list.open();
    let query = query.and_then(|query| filtered(&query));
    let read = async move { service.audit_log.page(caller, &community, query).await };
    Ok(frame.reply(http.run(read).await?.map(AuditEntryBody::from)))
}

/// Which entries.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
struct AuditLogFilter {
    /// Those of this person, or of `system`; not together with `action`.
    #[garde(skip)]
    #[param(example = "user_01k6sw8zayf9g8yasc3mf0yjhq")]
    actor: Option<String>,
    /// Those of this action; not together with `actor`.
    #[garde(skip)]
    #[param(example = "event.update")]
    action: Option<String>,
    /// Those from this time on (RFC 3339). With `since` or `until` entries are ordered by when they happened; neither goes
    /// together with `actor` or `action`.
    #[garde(skip)]
    #[param(format = "date-time", example = "2027-04-01T00:00:00Z")]
    since: Option<String>,
    /// Those before this time (RFC 3339).
    #[garde(skip)]
    #[param(format = "date-time", example = "2027-05-01T00:00:00Z")]
    until: Option<String>,
}

fn filtered(query: &ListQuery<AuditLogFilter>) -> Checked<(EntryFilter, PageQuery)> {
    let AuditLogFilter { actor, action, since, until } = &query.filter;
    let filter = if since.is_some() || until.is_some() {
        let others = actor.is_some() || action.is_some();
        period_filter(since.as_deref(), until.as_deref(), others)
    } else {
        entry_filter(actor.as_deref(), action.as_deref())
    };
    match filter {
        Ok(filter) => Ok((filter, query.page)),
        Err(mistake) => Err(Failure {
            detail: "The query has invalid parameters.".into(),
            ..Failure::invalid(vec![mistake])
        }),
    }
}

/// An entry of the audit log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
struct AuditEntryBody {
    /// Its number in the community's chain, from 1 without gaps.
    #[schema(minimum = 1, example = 42)]
    number: i64,
    /// When it happened.
    #[schema(example = "2027-04-01T08:30:00.123456Z")]
    at: Timestamp,
    /// Who it was: a person's id, or `system`.
    #[schema(example = "user_01k6sw8zayf9g8yasc3mf0yjhq")]
    actor: Option<String>,
    /// The login by which the actor was known.
    #[schema(example = "sess_01k6sw8zayf9g8yasc3mf0yjhq")]
    session_id: Option<String>,
    /// What was done, or was to be done.
    #[schema(example = "event.update")]
    action: String,
    /// The id of what it was done to.
    #[schema(example = "event_01k6sw8zayf9g8yasc3mf0yjhq")]
    object: String,
    /// How it ended: `done` or `refused`.
    #[schema(example = "done")]
    outcome: String,
    /// The changed fields, and other facts of the action.
    #[schema(schema_with = changed)]
    changed: Value,
    /// The id of the request.
    #[schema(example = "019ab3c4-7d5e-7a60-8f2b-6c1d9e0f4a37")]
    request_id: String,
    /// The SHA-256 over the entry and the hash before it, in hexadecimal.
    #[schema(
        pattern = "^[0-9a-f]{64}$",
        example = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    )]
    hash: String,
    /// The client's address; null where there was none, and once it is erased.
    #[schema(example = "198.51.100.7")]
    ip: Option<String>,
    /// The client's user agent; null where there was none, and once it is erased.
    #[schema(example = "curl/8.5.0")]
    user_agent: Option<String>,
}

/// utoipa shows no example of an object that is free in its members.
fn changed() -> utoipa::openapi::Object {
    utoipa::openapi::ObjectBuilder::new()
        .description(Some("The changed fields, and other facts of the action."))
        .examples([serde_json::json!({"title": {"old": "Meetup", "new": "Spring meetup"}})])
        .build()
}

impl From<LoggedEntry> for AuditEntryBody {
    fn from(entry: LoggedEntry) -> Self {
        Self {
            number: entry.number,
            at: entry.at,
            actor: entry.actor,
            session_id: entry.session.map(|session| session.to_string()),
            action: entry.action,
            object: entry.object,
            outcome: entry.outcome,
            changed: entry.changed,
            request_id: entry.request_id,
            hash: entry.hash.iter().map(|byte| format!("{byte:02x}")).collect(),
            ip: entry.client_ip,
            user_agent: entry.user_agent,
        }
    }
}
