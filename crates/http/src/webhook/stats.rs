//! Figures about an endpoint, for a community's owner and admins: metrics with a label for each endpoint would have no bound.

use actix_web::web::Data;
use actix_web::{HttpResponse, get};
use convene_application::webhook::ports::EndpointStats;
use convene_application::webhook::{STATS_LIMIT, WebhookService};
use convene_domain::community::CommunityRef;
use convene_domain::ids::WebhookId;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::extract::{Caller, NoFilter, PathId, Query};
use crate::problem::Problem;
use crate::reply;
use crate::state::Http;

/// How the deliveries of the last 24 hours have fared.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WebhookStats {
    /// Deliveries count that were made at this time or later.
    #[schema(example = "2027-03-01T09:00:00.123456Z")]
    since: Timestamp,
    /// Whether all of them count. Of more than 10,000 the newest do.
    #[schema(example = true)]
    complete: bool,
    /// The deliveries by where they stand.
    deliveries: DeliveryCounts,
    /// Their attempts that have ended, by what was answered.
    attempts: AttemptCounts,
    /// The share of attempts that were answered with 2xx, from 0 to 1; null without attempts.
    #[schema(required, minimum = 0, maximum = 1, example = 0.985)]
    success_rate: Option<f64>,
    /// How long attempts took.
    latency_ms: Latency,
}

/// Deliveries by where they stand.
#[derive(Debug, Serialize, ToSchema)]
struct DeliveryCounts {
    /// They are being attempted, or wait for their next attempt.
    #[schema(example = 3)]
    pending: u64,
    /// The receiver answered 2xx.
    #[schema(example = 197)]
    succeeded: u64,
    /// Every attempt failed.
    #[schema(example = 0)]
    failed: u64,
}

/// Attempts by what was answered.
#[derive(Debug, Serialize, ToSchema)]
struct AttemptCounts {
    /// All.
    #[schema(example = 200)]
    total: u64,
    /// 2xx.
    #[schema(example = 197)]
    success: u64,
    /// 3xx, which is not followed.
    #[schema(example = 0)]
    redirect: u64,
    /// 4xx.
    #[schema(example = 0)]
    client_error: u64,
    /// 5xx.
    #[schema(example = 2)]
    server_error: u64,
    /// None, or one that broke off.
    #[schema(example = 1)]
    no_answer: u64,
}

/// Percentiles, in milliseconds; null without attempts.
#[derive(Debug, Serialize, ToSchema)]
struct Latency {
    /// Half of the attempts took no longer.
    #[schema(required, example = 38)]
    p50: Option<u32>,
    /// 95 of a hundred took no longer.
    #[schema(required, example = 120)]
    p95: Option<u32>,
}

impl WebhookStats {
    fn new(since: Timestamp, stats: &EndpointStats) -> Self {
        let attempts = stats.attempts;
        let total = attempts.total();
        Self {
            since,
            complete: stats.deliveries() < u64::from(STATS_LIMIT),
            deliveries: DeliveryCounts {
                pending: stats.pending,
                succeeded: stats.succeeded,
                failed: stats.failed,
            },
            attempts: AttemptCounts {
                total,
                success: attempts.taken,
                redirect: attempts.redirected,
                client_error: attempts.refused,
                server_error: attempts.failed,
                no_answer: attempts.unanswered,
            },
            success_rate: (total > 0).then(|| attempts.taken as f64 / total as f64),
            latency_ms: Latency { p50: stats.p50_ms, p95: stats.p95_ms },
        }
    }
}

/// See how a webhook endpoint has been doing.
///
/// Of the deliveries that were made in the last 24 hours; for the owner and admins.
#[utoipa::path(
    tag = "webhook",
    operation_id = "get_webhook_stats",
    params(PathId<CommunityRef>, PathId<WebhookId>),
    responses((status = 200, description = "The figures.", body = WebhookStats)),
)]
#[get("/v1/communities/{community}/webhooks/{webhook}/stats")]
pub(super) async fn get(
    Caller(caller): Caller,
    PathId(community): PathId<CommunityRef>,
    PathId(webhook): PathId<WebhookId>,
    query: Query<NoFilter>,
    webhooks: Data<WebhookService>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let stats = async move { webhooks.stats(caller, &community, webhook).await };
    let (since, stats) = http.run(stats).await?;
    query.open()?;
    Ok(reply::json(&WebhookStats::new(since, &stats)))
}

#[cfg(test)]
mod tests {
    use convene_application::webhook::ports::AttemptStats;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_share_of_nothing_is_null() {
        let stats = WebhookStats::new(Timestamp::UNIX_EPOCH, &EndpointStats::default());
        let stats = serde_json::to_value(stats).unwrap();
        assert_eq!((&stats["success_rate"], &stats["complete"]), (&Value::Null, &json!(true)));
        let attempts = AttemptStats { taken: 3, unanswered: 1, ..AttemptStats::default() };
        let stats = EndpointStats { attempts, succeeded: 10_000, ..EndpointStats::default() };
        let stats = serde_json::to_value(WebhookStats::new(Timestamp::UNIX_EPOCH, &stats)).unwrap();
        assert_eq!((&stats["success_rate"], &stats["complete"]), (&json!(0.75), &json!(false)));
        assert_eq!(stats["attempts"]["total"], 4);
    }
}
