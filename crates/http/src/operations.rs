//! What operators and load balancers ask, and where verifiers find the keys.

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::web::Data;
use actix_web::{HttpResponse, get};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Routes;
use crate::ports::{Check, CheckState};
use crate::problem::Problem;
use crate::reply;
use crate::state::Http;

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

#[derive(Debug, Serialize, ToSchema)]
struct Live {
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

#[derive(Debug, Serialize, ToSchema)]
struct Ready {
    /// `ready`, `degraded` (something is down that can be done without), `unavailable` or `draining` (the process is
    /// about to end).
    #[schema(example = "ready")]
    status: &'static str,
    /// What was looked at: `database`, `migrations`, and `redis` and `broker` where they are configured.
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
        (status = 503, description = "It cannot.", body = Ready),
    ),
)]
#[get("/readyz")]
async fn readyz(http: Data<Http>) -> HttpResponse {
    let checks = http.ports.readiness.checks().await;
    let worst = checks.iter().map(|check| check.state).max().unwrap_or(CheckState::Up);
    let (code, status) = match (http.is_draining(), worst) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        (false, CheckState::Down) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        (false, CheckState::Degraded) => (StatusCode::OK, "degraded"),
        (false, CheckState::Up) => (StatusCode::OK, "ready"),
    };
    let mut response = reply::json(&Ready { status, checks });
    *response.status_mut() = code;
    uncached(response)
}

/// The metrics, in Prometheus' text format.
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

/// The public keys of access tokens, as a JSON Web Key Set (RFC 7517).
#[utoipa::path(
    tag = "auth",
    operation_id = "get_jwks",
    security(()),
    responses((status = 200, description = "The keys.", body = serde_json::Value)),
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
