//! Jobs that do nothing, through the real runner.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use convene_application::kernel::jobs::{Handler, LeasedJob, Outcome};
use convene_application::kernel::wake::Wake;
use convene_infrastructure::postgres::PgStore;
use convene_infrastructure::postgres::pool::Pool;
use convene_integrations::security::OsRandom;
use convene_worker::{Heartbeats, JobRunner, JobRunnerOptions};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Fault;
use crate::scene::Scene;
use crate::table::Row;

const JOBS: u64 = 50_000;
/// What `convene run` has unless it is told otherwise.
const CONCURRENCY: usize = 32;
const LEASE: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Nothing {
    done: AtomicU64,
}

#[async_trait]
impl Handler for Nothing {
    fn kind(&self) -> &'static str {
        "bench.nothing"
    }

    async fn run(&self, _: &LeasedJob) -> Outcome {
        self.done.fetch_add(1, Ordering::Relaxed);
        Outcome::Done
    }
}

pub(crate) async fn measure(scene: &Scene) -> Result<Vec<Row>, Fault> {
    let sql = scene.connect(scene.large()).await?;
    sql.batch_execute(&format!(
        "INSERT INTO jobs (kind, queue, payload, priority, run_at, max_attempts)
         SELECT 'bench.nothing', 'default', '{{}}', 100, now(), 20 FROM generate_series(1, {JOBS});
         ANALYZE jobs"
    ))
    .await?;
    let wake = Arc::new(Wake::default());
    let store = Arc::new(scene.store(8, Arc::clone(&wake))?);
    let (options, bells) = (scene.pool_options(1), Arc::clone(&wake));
    let heartbeats = Heartbeats::start(LEASE, LEASE / 3, move |runtime| {
        Ok(Arc::new(PgStore::new(Pool::new(&options, runtime)?, bells)))
    })?;
    let nothing = Arc::new(Nothing::default());
    let handlers: Vec<Arc<dyn Handler>> = vec![nothing.clone()];
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
    while nothing.done.load(Ordering::Relaxed) < JOBS {
        if started.elapsed() > Duration::from_mins(2) {
            return Err("the jobs do not end".into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let took = started.elapsed();
    end.cancel();
    running.await?;
    let rate = JOBS as f64 / took.as_secs_f64();
    let how = "50,000 that are due, one runner, 32 at once: claimed, run, and deleted";
    Ok(vec![Row::number("jobs that do nothing", format!("{rate:.0} /s"), "", how)])
}
