//! What operators and load balancers ask, and where verifiers find the keys.

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpResponse, ResponseError as _, get};
use convene_application::kernel::error::{Code, Failure};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Routes;
use crate::extract::Ctx;
use crate::ports::{Check, CheckState};
use crate::problem::{self, Problem, ProblemDetails};
use crate::reply;
use crate::state::Http;

/// What operators and load balancers ask must be answered most of all when something is wrong.
pub(crate) const ALWAYS_SERVED: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// Registers the probes and the metrics.
pub(crate) fn routes(routes: &mut Routes<'_>, with_metrics: bool) {
    routes.service(livez).service(readyz);
    if with_metrics {
        routes.service(metrics);
    }
}

/// Registers the keys.
pub(crate) fn keys(routes: &mut Routes<'_>) {
    routes.service(jwks);
}

/// That the process is alive.
#[derive(Debug, Serialize, ToSchema)]
struct Live {
    /// Always `live`.
    #[schema(example = "live")]
    status: &'static str,
}

/// Whether the process's loop turns.
///
/// Answers without asking anything; if it does not, the process should be restarted.
#[utoipa::path(
    tag = "operations",
    operation_id = "get_liveness",
    security(()),
    responses((status = 200, description = "It does.", body = Live)),
)]
#[get("/livez")]
async fn livez() -> HttpResponse {
    uncached(reply::json(&Live { status: "live" }))
}

/// Whether the process can serve, and why not.
#[derive(Debug, Serialize, ToSchema)]
struct Ready {
    /// `ready`, or `degraded`: something is down that can be done without.
    #[schema(example = "ready")]
    status: &'static str,
    /// What was looked at: `database`, `migrations`, and `redis` and `broker` where they are configured.
    checks: Vec<Check>,
}

/// A problem that tells what was looked at.
#[derive(Debug, Serialize, ToSchema)]
struct NotReady {
    #[serde(flatten)]
    problem: ProblemDetails,
    /// What was looked at, as in the reply of a process that is ready.
    checks: Vec<Check>,
}

/// Whether the process can serve requests.
///
/// 503 while the database is away or its migrations are missing, and from SIGTERM on. The loss of the cache or the broker
/// is `degraded` and still 200.
#[utoipa::path(
    tag = "operations",
    operation_id = "get_readiness",
    security(()),
    responses(
        (status = 200, description = "It can.", body = Ready),
        (
            status = 503,
            description = "It cannot: a problem with what was looked at.",
            body = NotReady,
            content_type = problem::CONTENT_TYPE,
        ),
    ),
)]
#[get("/readyz")]
async fn readyz(http: Data<Http>, context: Ctx) -> HttpResponse {
    let checks = http.ports.readiness.checks().await;
    let worst = checks.iter().map(|check| check.state).max().unwrap_or(CheckState::Up);
    let status = match (http.is_draining(), worst) {
        (true, _) => return not_ready(&http, &context, "The process is about to end.", checks),
        (false, CheckState::Down) => {
            let detail = "Something is down that requests need.";
            return not_ready(&http, &context, detail, checks);
        }
        (false, CheckState::Degraded) => "degraded",
        (false, CheckState::Up) => "ready",
    };
    uncached(reply::json(&Ready { status, checks }))
}

fn not_ready(http: &Http, context: &Ctx, detail: &'static str, checks: Vec<Check>) -> HttpResponse {
    let failure = Failure::new(Code::Unavailable, detail);
    let (base, request_id) = (&http.settings.public_url, &context.0.request_id);
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let problem = ProblemDetails::of(&failure, status, base, request_id);
    let mut response = Problem::from(failure).error_response();
    reply::set_header(&mut response, header::CONTENT_TYPE, problem::CONTENT_TYPE);
    let body = reply::json(&NotReady { problem, checks }).into_body();
    uncached(response.set_body(body))
}

/// The metrics, in Prometheus' text format.
///
/// Not served here where they have a listener of their own.
#[utoipa::path(
    tag = "operations",
    operation_id = "get_metrics",
    security(()),
    responses((status = 200, description = "The metrics.", body = String, content_type = "text/plain")),
)]
#[get("/metrics")]
async fn metrics(http: Data<Http>) -> HttpResponse {
    let text = (http.ports.metrics)();
    let mut response = HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(text);
    reply::set_header(&mut response, header::CACHE_CONTROL, "no-store");
    response
}

/// The public keys of access tokens.
///
/// A JSON Web Key Set (RFC 7517), which may be kept for five minutes.
#[utoipa::path(
    tag = "auth",
    operation_id = "get_jwks",
    security(()),
    responses((status = 200, description = "The keys.", body = serde_json::Value, example = json!({"keys": []}))),
)]
#[get("/.well-known/jwks.json")]
async fn jwks(http: Data<Http>) -> Result<HttpResponse, Problem> {
    let shared = http.clone().into_inner();
    let keys = http.run(async move { shared.ports.public_keys.jwks().await }).await?;
    let mut response = reply::json(&keys);
    reply::set_header(&mut response, header::CACHE_CONTROL, "public, max-age=300");
    Ok(response)
}

fn uncached(mut response: HttpResponse) -> HttpResponse {
    reply::set_header(&mut response, header::CACHE_CONTROL, "no-store");
    response
}
