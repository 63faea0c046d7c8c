//! Jobs, as `convene jobs` shows and changes them.

use actix_web::web::Data;
use actix_web::{HttpResponse, get, post};
use convene_application::kernel::error::{Checked, Failure, FieldError, Place};
use convene_application::kernel::operate::jobs::{
    JobFilter, JobOperator, JobState, JobView, Retried,
};
use garde::Validate;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::openapi::{KnownFormat, Object, ObjectBuilder, SchemaFormat, Type};
use utoipa::{IntoParams, ToSchema};

use super::AdminServices;
use super::guard::ReasonHeader;
use crate::extract::{Body, Ctx, NoBody, PathId, PathSegment, Query, Received as _};
use crate::problem::Problem;
use crate::reply;
use crate::state::Http;

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 500;

/// The number of a job in a path.
#[derive(Clone, Copy, Debug)]
pub(super) struct JobNumber(i64);

impl PathSegment for JobNumber {
    const NAME: &'static str = "job";

    fn parse(segment: &str) -> Option<Self> {
        let digits = segment.bytes().all(|byte| byte.is_ascii_digit());
        segment.parse().ok().filter(|_| digits).map(Self)
    }

    fn description() -> String {
        "The number of the job.".to_owned()
    }

    fn schema() -> Object {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
            .minimum(Some(0))
            .examples([17])
            .build()
    }
}

/// List jobs: dead ones first, the latest death first; then the others in the order of their time.
///
/// Payloads are not shown: they may be personal. There are no further pages: choose by kind and state.
#[utoipa::path(
    tag = "admin",
    operation_id = "list_jobs",
    params(Query<JobQuery>),
    responses((status = 200, description = "The first of them.", body = JobsBody)),
)]
#[get("/jobs")]
pub(super) async fn list_jobs(
    query: Query<JobQuery>,
    services: Data<AdminServices>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let (jobs, filter) = (services.jobs.clone(), query.open().and_then(filter)?);
    let limit = filter.limit as usize;
    // One more tells whether there are any.
    let filter = JobFilter { limit: filter.limit + 1, ..filter };
    let mut found = http.run(async move { jobs.list(&filter).await }).await?;
    let has_more = found.len() > limit;
    found.truncate(limit);
    Ok(reply::json(&JobsBody { data: found.into_iter().map(JobBody::from).collect(), has_more }))
}

/// Read a job.
///
/// The number of a job that died is that of its dead letters too: it may be several things.
#[utoipa::path(
    tag = "admin",
    operation_id = "get_job",
    params(PathId<JobNumber>),
    responses((status = 200, description = "What bears the number.", body = JobsBody)),
)]
#[get("/jobs/{job}")]
pub(super) async fn read_job(
    PathId(JobNumber(id)): PathId<JobNumber>,
    services: Data<AdminServices>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let jobs = services.jobs.clone();
    let found = http.run(async move { numbered(&jobs, id).await }).await?;
    let data = found.into_iter().map(JobBody::from).collect();
    Ok(reply::json(&JobsBody { data, has_more: false }))
}

/// What bears a number.
async fn numbered(jobs: &JobOperator, id: i64) -> Result<Vec<JobView>, Failure> {
    let filter = JobFilter { id: Some(id), limit: MAX_LIMIT, ..JobFilter::default() };
    let found = jobs.list(&filter).await?;
    if found.is_empty() { Err(Failure::not_found()) } else { Ok(found) }
}

/// Whether there is such a job is told before what came with a call that takes no input.
async fn admit(jobs: &JobOperator, id: i64, input: Checked<()>) -> Result<(), Failure> {
    if input.is_err() {
        numbered(jobs, id).await?;
    }
    input
}

/// Have a job tried again now.
///
/// A dead one is live again, as a new job with all its attempts; one that waits is due. 409 while it runs.
#[utoipa::path(
    tag = "admin",
    operation_id = "retry_job",
    params(PathId<JobNumber>, ReasonHeader),
    responses(
        (status = 200, description = "What it is now.", body = RetriedBody),
        (status = 409, description = "It is running."),
    ),
)]
#[post("/jobs/{job}/retry")]
pub(super) async fn retry_job(
    PathId(JobNumber(id)): PathId<JobNumber>,
    body: NoBody,
    Ctx(context): Ctx,
    _: ReasonHeader,
    services: Data<AdminServices>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let jobs = services.jobs.clone();
    let input = body.into_input();
    let retry = async move {
        admit(&jobs, id, input).await?;
        jobs.retry(&context, id).await
    };
    let body = match http.run(retry).await? {
        Retried::Hastened => RetriedBody { outcome: "due", now: vec![id] },
        Retried::Revived(revived) => RetriedBody {
            outcome: "revived",
            now: revived.into_iter().map(|revived| revived.now).collect(),
        },
    };
    Ok(reply::json(&body))
}

/// Remove a job for good, be it waiting, running or dead.
///
/// The worker that runs it finds its lease lost, and what it would commit is refused. What it has done before stays done.
#[utoipa::path(
    tag = "admin",
    operation_id = "cancel_job",
    params(PathId<JobNumber>, ReasonHeader),
    responses((status = 200, description = "What was removed.", body = RemovedBody)),
)]
#[post("/jobs/{job}/cancel")]
pub(super) async fn cancel_job(
    PathId(JobNumber(id)): PathId<JobNumber>,
    body: NoBody,
    Ctx(context): Ctx,
    _: ReasonHeader,
    services: Data<AdminServices>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let jobs = services.jobs.clone();
    let input = body.into_input();
    let cancel = async move {
        admit(&jobs, id, input).await?;
        jobs.cancel(&context, id).await
    };
    let removed = http.run(cancel).await?;
    Ok(reply::json(&RemovedBody { removed: removed.into_iter().map(Into::into).collect() }))
}

/// Have every job tried again that is dead now, of one kind or all.
///
/// In steps of 500, of which each leaves its own audit entry. What dies again meanwhile stays dead.
#[utoipa::path(
    tag = "admin",
    operation_id = "redrive_jobs",
    params(ReasonHeader),
    request_body = RedriveJobs,
    responses((status = 200, description = "How many live again.", body = RedrivenBody)),
)]
#[post("/jobs/redrive")]
pub(super) async fn redrive_jobs(
    body: Body<RedriveJobs>,
    Ctx(context): Ctx,
    _: ReasonHeader,
    services: Data<AdminServices>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let RedriveJobs { kind } = body.into_input()?;
    let (jobs, now) = (services.jobs.clone(), http.ports.clock.now());
    let revived = http.run(async move { jobs.retry_dead(&context, kind, now).await }).await?;
    Ok(reply::json(&RedrivenBody { revived }))
}

/// Which jobs.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct JobQuery {
    /// Of this kind alone.
    #[garde(skip)]
    #[param(example = "webhook.drain")]
    kind: Option<String>,
    /// In this state alone: `scheduled`, `due`, `running` or `dead`.
    #[garde(skip)]
    #[param(example = "dead")]
    state: Option<String>,
    /// At most so many, from 1 to 500; 50 if it is not given.
    #[garde(skip)]
    #[param(example = "50")]
    limit: Option<String>,
}

fn filter(query: JobQuery) -> Checked<JobFilter> {
    let mut mistakes = Vec::new();
    let mut mistake = |name: &str, code, detail: &'static str| {
        let place = Place::Parameter(name.to_owned());
        mistakes.push(FieldError { place, code, detail: detail.into() });
    };
    let state = query.state.and_then(|text| {
        let state = text.parse::<JobState>().ok();
        if state.is_none() {
            mistake("state", "unknown_value", "must be scheduled, due, running or dead");
        }
        state
    });
    let limit = query.limit.map_or(Some(DEFAULT_LIMIT), |text| {
        text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit))
    });
    if limit.is_none() {
        mistake("limit", "out_of_range", "must be an integer from 1 to 500");
    }
    match limit {
        Some(limit) if mistakes.is_empty() => {
            Ok(JobFilter { kind: query.kind, state, id: None, limit })
        }
        _ => Err(Failure {
            detail: "The query has invalid parameters.".into(),
            ..Failure::invalid(mistakes)
        }),
    }
}

/// Which dead letters to make live again.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct RedriveJobs {
    /// Of this kind alone; null or left out means every kind.
    #[serde(default)]
    #[garde(inner(length(chars, min = 1, max = 200)))]
    #[schema(min_length = 1, max_length = 200, example = "webhook.drain")]
    kind: Option<String>,
}

/// Jobs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Jobs)]
struct JobsBody {
    /// The jobs.
    data: Vec<JobBody>,
    /// Whether there are more.
    #[schema(example = false)]
    has_more: bool,
}

/// A job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Job)]
struct JobBody {
    /// Its number; of a dead letter, that of the job which died.
    #[schema(example = 17)]
    id: i64,
    /// The stable name of its type.
    #[schema(example = "webhook.drain")]
    kind: String,
    /// Its queue.
    #[schema(example = "webhooks")]
    queue: String,
    /// `scheduled`, `due`, `running` or `dead`.
    #[schema(value_type = String, example = "dead")]
    state: &'static str,
    /// Smaller runs earlier.
    #[schema(example = 0)]
    priority: i16,
    /// Attempts begun.
    #[schema(example = 20)]
    attempt: i16,
    /// How often it is tried before it is dead.
    #[schema(example = 20)]
    max_attempts: i16,
    /// At most one live job of the kind has this key.
    #[schema(example = "hook_01k6sw8zayf9g8yasc3mf0yjhq")]
    unique_key: Option<String>,
    /// When it was stored.
    #[schema(example = "2027-04-01T08:30:00.123456Z")]
    created_at: Timestamp,
    /// Not before this time; null for a dead letter.
    #[schema(example = "2027-04-01T08:30:00.123456Z")]
    run_at: Option<Timestamp>,
    /// When it died; null unless it is a dead letter.
    #[schema(example = "2027-04-02T08:30:00.123456Z")]
    died_at: Option<Timestamp>,
    /// What failed last.
    #[schema(example = "The mail server does not answer.")]
    last_error: Option<String>,
}

impl From<JobView> for JobBody {
    fn from(job: JobView) -> Self {
        let dead = job.state == JobState::Dead;
        Self {
            id: job.id,
            kind: job.kind,
            queue: job.queue,
            state: job.state.into(),
            priority: job.priority,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            unique_key: job.unique_key,
            created_at: job.created_at,
            run_at: (!dead).then_some(job.at),
            died_at: dead.then_some(job.at),
            last_error: job.last_error,
        }
    }
}

/// What a job is that was tried again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RetriedJob)]
struct RetriedBody {
    /// `due`: it waited; `revived`: it was dead.
    #[schema(value_type = String, example = "revived")]
    outcome: &'static str,
    /// The numbers that it has now.
    #[schema(example = json!([42]))]
    now: Vec<i64>,
}

/// What was removed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RemovedJob)]
struct RemovedBody {
    /// The states of what bore the number.
    #[schema(value_type = Vec<String>, example = json!(["dead"]))]
    removed: Vec<&'static str>,
}

/// What was made live again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RedrivenJobs)]
struct RedrivenBody {
    /// How many dead letters.
    #[schema(example = 12)]
    revived: u64,
}
