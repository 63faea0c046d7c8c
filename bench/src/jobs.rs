//! Jobs that do nothing: stored one by one and in bulk, and run by the real runner. Beside them what other queues do with
//! theirs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use convene_application::kernel::jobs::{
    Handler, Job, JobQueue as _, LeasedJob, NewJob, Outcome, RunJob, handler,
};
use convene_application::kernel::wake::Wake;
use convene_infrastructure::postgres::PgStore;
use convene_infrastructure::postgres::pool::{Pool, PoolOptions};
use convene_integrations::security::OsRandom;
use convene_worker::{Heartbeats, JobRunner, JobRunnerOptions};
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::peers::{Peers, Rates};
use crate::scene::Scene;
use crate::table::Row;
use crate::{Fault, tell};

/// Stored one by one.
const SINGLE: u64 = 4_000;
const CALLERS: u64 = 16;
/// Stored in bulk.
const BULK: u64 = 50_000;
const AT_ONCE: usize = 1_000;
/// What `convene run` has unless it is told otherwise.
const CONCURRENCY: usize = 32;
const LEASE: Duration = Duration::from_secs(30);

/// A job that does nothing.
#[derive(Serialize, Deserialize)]
pub(crate) struct Nothing {}

impl Job for Nothing {
    const KIND: &'static str = "bench.nothing";
}

#[derive(Default)]
struct Count(AtomicU64);

#[async_trait]
impl RunJob<Nothing> for Count {
    async fn run(&self, _: Nothing, _: &LeasedJob) -> Outcome {
        self.0.fetch_add(1, Ordering::Relaxed);
        Outcome::Done
    }
}

pub(crate) async fn measure(scene: &Scene) -> Result<Vec<Row>, Fault> {
    let ours = ours(scene).await?;
    let peers = Peers::prepare()?;
    tell("graphile-worker");
    let graphile = peers.graphile(scene, "graphile").await?;
    let batched = peers.graphile(scene, "graphile-batched").await?;
    tell("BullMQ");
    let bullmq = peers.bullmq(scene)?;

    let run = "54,000 that are due, one runner, 32 at once: claimed, run, and deleted; base line: ";
    let single = "16 callers, each job durable before the next; base line: ";
    let bulk = "1,000 at once; base line: ";
    let as_it_comes = "graphile-worker as it comes, one at once";
    let fastest = "graphile-worker, 24 at once, a local queue of 500, batched completions";
    let bull = "BullMQ, 100 at once, Redis with `appendfsync always`";
    let row = |what: &str, rate: fn(&Rates) -> f64, base: &Rates, goal, how: &str, whose: &str| {
        Row::ratio(what, rate(&ours), rate(base), goal, &format!("{how}{whose}"))
    };
    Ok(vec![
        row("jobs that do nothing", |rates| rates.run, &graphile, "≥ 10", run, as_it_comes),
        row("jobs that do nothing", |rates| rates.run, &batched, "≥ 0.7", run, fastest),
        row("jobs that do nothing", |rates| rates.run, &bullmq, "≥ 1", run, bull),
        row(
            "jobs stored one by one",
            |rates| rates.single,
            &batched,
            "",
            single,
            "graphile-worker",
        ),
        row("jobs stored one by one", |rates| rates.single, &bullmq, "", single, "BullMQ"),
        row("jobs stored in bulk", |rates| rates.bulk, &batched, "", bulk, "graphile-worker"),
        row("jobs stored in bulk", |rates| rates.bulk, &bullmq, "", bulk, "BullMQ"),
    ])
}

/// Stores and runs ours.
async fn ours(scene: &Scene) -> Result<Rates, Fault> {
    let wake = Arc::new(Wake::default());
    let store = Arc::new(scene.store(16, Arc::clone(&wake))?);

    let started = Instant::now();
    try_join_all((0..CALLERS).map(|_| async {
        for _ in 0..SINGLE / CALLERS {
            store.enqueue(vec![NewJob::new(&Nothing {})]).await?;
        }
        Ok::<_, Fault>(())
    }))
    .await?;
    let single = SINGLE as f64 / started.elapsed().as_secs_f64();

    let started = Instant::now();
    for _ in 0..BULK / AT_ONCE as u64 {
        store.enqueue(std::iter::repeat_n(NewJob::new(&Nothing {}), AT_ONCE).collect()).await?;
    }
    let bulk = BULK as f64 / started.elapsed().as_secs_f64();

    scene.connect(scene.large()).await?.batch_execute("ANALYZE jobs").await?;
    let run = run(scene.pool_options(1), store, wake, SINGLE + BULK).await?;
    Ok(Rates { single, bulk, run })
}

/// Runs what is due; jobs per second.
pub(crate) async fn run(
    heartbeats: PoolOptions,
    store: Arc<PgStore>,
    wake: Arc<Wake>,
    jobs: u64,
) -> Result<f64, Fault> {
    let bells = Arc::clone(&wake);
    let heartbeats = Heartbeats::start(LEASE, LEASE / 3, move |runtime| {
        Ok(Arc::new(PgStore::new(Pool::new(&heartbeats, runtime)?, bells)))
    })?;
    let count = Arc::new(Count::default());
    let handlers: Vec<Arc<dyn Handler>> = vec![handler::<Nothing, _>(Arc::clone(&count))];
    let options =
        JobRunnerOptions { default_concurrency: CONCURRENCY, ..JobRunnerOptions::default() };
    let worker = Uuid::from_u128(1);
    let runner = JobRunner::new(
        store,
        handlers,
        Arc::new(heartbeats),
        wake,
        Arc::new(OsRandom),
        worker,
        options,
    )?;

    let end = CancellationToken::new();
    let started = Instant::now();
    let running = tokio::spawn({
        let end = end.clone();
        async move { runner.run(end).await }
    });
    while count.0.load(Ordering::Relaxed) < jobs {
        if started.elapsed() > Duration::from_mins(2) {
            return Err("the jobs do not end".into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let took = started.elapsed();
    end.cancel();
    running.await?;
    Ok(jobs as f64 / took.as_secs_f64())
}
