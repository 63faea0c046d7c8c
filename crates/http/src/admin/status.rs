//! How the installation is doing.

use std::time::Duration;

use actix_web::web::Data;
use actix_web::{HttpResponse, get};
use convene_application::kernel::jobs::QueueBacklog;
use convene_application::kernel::operate::relay::{RelayStatus, SinkCursor};
use convene_application::kernel::operate::status::{InstallationStatus, WorkerSeen};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::AdminServices;
use super::ports::{Dependency, FeedState, PoolState};
use crate::ports::CheckState;
use crate::problem::Problem;
use crate::reply;
use crate::state::Http;

/// Read how this process and the installation are doing.
///
/// The process tells about itself: what it depends on, its connections, its feeds. What all processes share is read from the
/// database. While that is away nobody can be known as an administrator, so this is answered with 503: ask `/readyz` and
/// `/metrics` then.
#[utoipa::path(
    tag = "admin",
    operation_id = "get_admin_status",
    responses((status = 200, description = "How things are.", body = StatusBody)),
)]
#[get("/status")]
pub(super) async fn read_status(
    services: Data<AdminServices>,
    http: Data<Http>,
) -> Result<HttpResponse, Problem> {
    let now = http.ports.clock.now();
    let reports = services.reports.clone();
    let read = async move {
        let (process, installation) = futures::join!(reports.process(), reports.installation());
        Ok((process, installation?))
    };
    let (process, installation) = http.run(read).await?;
    let InstallationStatus { relay, queues, workers, last_duty } = installation;
    let uptime = now.duration_since(process.started_at);
    Ok(reply::json(&StatusBody {
        version: process.version,
        started_at: process.started_at,
        uptime_seconds: uptime.as_secs().max(0),
        draining: http.is_draining(),
        dependencies: process.dependencies.into_iter().map(DependencyBody::from).collect(),
        pools: process.pools.into_iter().map(PoolBody::from).collect(),
        feeds: process.feeds.into_iter().map(FeedBody::from).collect(),
        outbox: OutboxBody::from(&relay),
        queues: queues.into_iter().map(QueueBody::from).collect(),
        workers: workers.into_iter().map(WorkerBody::from).collect(),
        last_duty_seconds: last_duty.map(seconds),
    }))
}

/// To a thousandth.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000.0).round() / 1_000.0
}

/// How a process and its installation are doing.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AdminStatus)]
struct StatusBody {
    /// The release with its commit.
    #[schema(value_type = String, example = "0.1.0 (d07c2e732a02, 2026-11-23)")]
    version: &'static str,
    /// When this process began.
    #[schema(example = "2027-04-01T08:30:00.123456Z")]
    started_at: Timestamp,
    /// How long ago that is.
    #[schema(example = 86_400)]
    uptime_seconds: i64,
    /// Whether this process is about to end.
    #[schema(example = false)]
    draining: bool,
    /// What this process depends on.
    dependencies: Vec<DependencyBody>,
    /// Its connections to the database.
    pools: Vec<PoolBody>,
    /// What it keeps in memory of the database.
    feeds: Vec<FeedBody>,
    /// Events on their way out, of all processes.
    outbox: OutboxBody,
    /// The queues that hold any job.
    queues: Vec<QueueBody>,
    /// The processes that run a job or lead a sink now; an idle worker that leads nothing is not seen.
    workers: Vec<WorkerBody>,
    /// How long ago a scheduled duty came up last; null if none ever did. More than a minute means that no worker runs.
    #[schema(example = 3.2)]
    last_duty_seconds: Option<f64>,
}

/// Something that a process depends on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AdminDependency)]
struct DependencyBody {
    /// `database`, `migrations`, `redis` or `broker`.
    #[schema(value_type = String, example = "database")]
    name: &'static str,
    /// How it is doing.
    state: CheckState,
    /// Since when, as far as this process has seen.
    #[schema(example = "2027-04-01T08:30:00.123456Z")]
    since: Timestamp,
    /// How long it took to answer, or to be given up.
    #[schema(example = 0.4)]
    latency_ms: f64,
}

/// A pool of connections to the database.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AdminPool)]
struct PoolBody {
    /// `api`, `jobs` or `sinks`.
    #[schema(value_type = String, example = "api")]
    name: &'static str,
    /// Connections on loan.
    #[schema(example = 2)]
    in_use: usize,
    /// Connections that are open and free.
    #[schema(example = 14)]
    idle: usize,
    /// The most that it may open.
    #[schema(example = 16)]
    max: usize,
    /// Who waits for one.
    #[schema(example = 0)]
    waiting: usize,
}

/// A feed of changes, by which what is in memory is believed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AdminFeed)]
struct FeedBody {
    /// `revocations` or `invalidations`.
    #[schema(value_type = String, example = "revocations")]
    name: &'static str,
    /// Whether it was read a moment ago. If not, each request asks the database.
    #[schema(example = true)]
    fresh: bool,
}

/// Events on their way out.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AdminOutbox)]
struct OutboxBody {
    /// Events that have no position yet.
    #[schema(example = 0)]
    waiting: u64,
    /// How long the oldest of them has waited.
    #[schema(example = 0.0)]
    oldest_seconds: f64,
    /// The position of the newest event.
    #[schema(example = 4_711)]
    position: i64,
    /// How far each sink has come.
    sinks: Vec<SinkBody>,
}

/// How far a sink has come.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AdminSink)]
struct SinkBody {
    /// Its name.
    #[schema(example = "rabbitmq")]
    sink: String,
    /// The last position that is known to be delivered.
    #[schema(example = 4_711)]
    position: i64,
    /// Events behind the newest.
    #[schema(example = 0)]
    lag: i64,
    /// How long ago the oldest of them was recorded.
    #[schema(example = 0.2)]
    oldest_seconds: Option<f64>,
    /// How often the lead was taken.
    #[schema(example = 3)]
    epoch: i64,
    /// Whether a process leads it now.
    #[schema(example = true)]
    led: bool,
}

/// A queue of jobs; each number ends at 10,000.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AdminQueue)]
struct QueueBody {
    /// Its name.
    #[schema(example = "default")]
    queue: String,
    /// Jobs that could run now.
    #[schema(example = 0)]
    due: u64,
    /// How long the oldest of them has been due.
    #[schema(example = 0.0)]
    oldest_due_seconds: f64,
    /// Jobs that run.
    #[schema(example = 1)]
    running: u64,
    /// Dead letters.
    #[schema(example = 0)]
    dead: u64,
}

/// A process that works.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AdminWorker)]
struct WorkerBody {
    /// What it calls itself; another after each start.
    #[schema(example = "019ab3c4-7d5e-7a60-8f2b-6c1d9e0f4a37")]
    id: Uuid,
    /// Jobs that it runs.
    #[schema(example = 1)]
    jobs: u64,
    /// Sinks that it leads.
    #[schema(example = json!(["rabbitmq"]))]
    sinks: Vec<String>,
    /// How long it may be silent before others take that over.
    #[schema(example = 27.1)]
    lease_seconds: f64,
}

impl From<Dependency> for DependencyBody {
    fn from(dependency: Dependency) -> Self {
        let Dependency { name, state, since, latency } = dependency;
        Self { name, state, since, latency_ms: seconds(latency * 1_000) }
    }
}

impl From<PoolState> for PoolBody {
    fn from(pool: PoolState) -> Self {
        let PoolState { name, in_use, idle, max, waiting } = pool;
        Self { name, in_use, idle, max, waiting }
    }
}

impl From<FeedState> for FeedBody {
    fn from(feed: FeedState) -> Self {
        let FeedState { name, fresh } = feed;
        Self { name, fresh }
    }
}

impl From<&RelayStatus> for OutboxBody {
    fn from(relay: &RelayStatus) -> Self {
        let sink = |cursor: &SinkCursor| SinkBody {
            sink: cursor.sink.clone(),
            position: cursor.position,
            lag: relay.lag(cursor),
            oldest_seconds: cursor.oldest_behind.map(seconds),
            epoch: cursor.epoch,
            led: cursor.is_led,
        };
        Self {
            waiting: relay.waiting.rows,
            oldest_seconds: seconds(relay.waiting.age),
            position: relay.head,
            sinks: relay.sinks.iter().map(sink).collect(),
        }
    }
}

impl From<QueueBacklog> for QueueBody {
    fn from(queue: QueueBacklog) -> Self {
        Self {
            queue: queue.queue,
            due: queue.due,
            oldest_due_seconds: seconds(queue.age),
            running: queue.running,
            dead: queue.dead,
        }
    }
}

impl From<WorkerSeen> for WorkerBody {
    fn from(worker: WorkerSeen) -> Self {
        let WorkerSeen { id, jobs, sinks, lease } = worker;
        Self { id, jobs, sinks, lease_seconds: seconds(lease) }
    }
}
