//! What a long history costs: the same work on a new database and on one that remembers millions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use convene_application::kernel::events::{LoggedEvent, Sink, SinkError};
use convene_application::kernel::jobs::{JobQueue as _, NewJob};
use convene_application::kernel::wake::Wake;
use convene_infrastructure::postgres::PgStore;
use convene_worker::{SequencerEngine, SequencerOptions, SinkEngine, SinkOptions};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::jobs::{self, Nothing};
use crate::scene::Scene;
use crate::table::Row;
use crate::{Fault, tell};

const NEW: &str = "convene_new";
const OLD: &str = "convene_old";
/// Events that were delivered long ago, in millions, each of which is a partition.
const MILLION_EVENTS: i64 = 10;
/// Jobs that have ended.
const ENDED_JOBS: i64 = 1_000_000;
const ROUNDS: usize = 4;
/// In each round.
const JOBS: usize = 20_000;
const EVENTS: u64 = 20_000;
const PATIENCE: Duration = Duration::from_mins(1);

/// A sink that has published whatever it is given.
#[derive(Default)]
struct Count(AtomicU64);

#[async_trait]
impl Sink for Count {
    fn name(&self) -> &'static str {
        "bench"
    }

    async fn publish(&self, events: &[LoggedEvent]) -> Result<Option<i64>, SinkError> {
        self.0.fetch_add(events.len() as u64, Ordering::Relaxed);
        Ok(events.last().map(|event| event.position))
    }
}

pub(crate) async fn measure(scene: &Scene) -> Result<Vec<Row>, Fault> {
    scene.create(NEW).await?;
    scene.create(OLD).await?;
    tell("remembering 10,000,000 events and 1,000,000 jobs");
    remember(scene).await?;
    let (mut jobs, mut events) = ([0.0; 2], [0.0; 2]);
    // In turns; the first is to warm up.
    for round in 0..=ROUNDS {
        for (place, database) in [NEW, OLD].into_iter().enumerate() {
            let wake = Arc::new(Wake::default());
            let store = Arc::new(scene.store_of(database, 8, Arc::clone(&wake))?);
            let of_jobs = seconds_of_jobs(scene, database, &store, &wake).await?;
            let of_events = seconds_of_events(scene, database, &store, &wake).await?;
            if round > 0 {
                jobs[place] += of_jobs / (ROUNDS * JOBS) as f64;
                events[place] += of_events / ROUNDS as f64 / EVENTS as f64;
            }
        }
    }
    let goal = "≤ 1.2";
    let base = "base line: in a new database";
    Ok(vec![
        Row::times(
            "a job that does nothing, after 1,000,000 others",
            jobs[1],
            jobs[0],
            goal,
            &format!("stored in bulk, claimed, run, remembered; {base}"),
        ),
        Row::times(
            "an event, after 10,000,000 others",
            events[1],
            events[0],
            goal,
            &format!("from the outbox into the log and read out of it for a sink; {base}"),
        ),
    ])
}

/// Fills the old database. Statistics are up to date afterwards, as autovacuum keeps them.
async fn remember(scene: &Scene) -> Result<(), Fault> {
    let sql = scene.connect(OLD).await?;
    sql.batch_execute("SET synchronous_commit = off").await?;
    for _ in 0..MILLION_EVENTS {
        sql.batch_execute(
            "INSERT INTO domain_events (position, event_id, event_type, version, community_id, envelope, recorded_at)
             SELECT head.position + n, gen_random_uuid(), 'rsvp.confirmed', 1,
                    ('00000000-0000-0003-0000-' || lpad(to_hex(n % 1000), 12, '0'))::uuid,
                    convert_to(repeat('an envelope has about as many bytes as this; ', 16), 'UTF8'),
                    now() - interval '1 day'
             FROM log_head AS head, generate_series(1, 1000000) AS n;
             UPDATE log_head SET position = position + 1000000;
             SELECT convene_extend_log();",
        )
        .await?;
    }
    sql.batch_execute(&format!(
        "INSERT INTO jobs_archive (job_id, kind, queue, outcome, priority, attempt, max_attempts, created_at, started_at)
         SELECT n, 'bench.nothing', 'default', 'done', 0, 1, 20, now(), now() FROM generate_series(1, {ENDED_JOBS}) AS n"
    ))
    .await?;
    sql.batch_execute("VACUUM (ANALYZE)").await?;
    sql.batch_execute("CHECKPOINT").await?;
    Ok(())
}

async fn seconds_of_jobs(
    scene: &Scene,
    database: &str,
    store: &Arc<PgStore>,
    wake: &Arc<Wake>,
) -> Result<f64, Fault> {
    let started = Instant::now();
    for _ in 0..JOBS / 1_000 {
        store.enqueue(std::iter::repeat_n(NewJob::new(&Nothing {}), 1_000).collect()).await?;
    }
    let stored = started.elapsed().as_secs_f64();
    let heartbeats = scene.pool_options_of(database, 1);
    let rate = jobs::run(heartbeats, Arc::clone(store), Arc::clone(wake), JOBS as u64).await?;
    Ok(stored + JOBS as f64 / rate)
}

async fn seconds_of_events(
    scene: &Scene,
    database: &str,
    store: &Arc<PgStore>,
    wake: &Arc<Wake>,
) -> Result<f64, Fault> {
    let sql = scene.connect(database).await?;
    sql.batch_execute(&format!(
        "INSERT INTO outbox (event_id, event_type, version, community_id, envelope)
         SELECT gen_random_uuid(), 'rsvp.confirmed', 1,
                ('00000000-0000-0003-0000-' || lpad(to_hex(n % 1000), 12, '0'))::uuid,
                convert_to(repeat('an envelope has about as many bytes as this; ', 16), 'UTF8')
         FROM generate_series(1, {EVENTS}) AS n;
         UPDATE sink_cursors SET position = (SELECT position FROM log_head), leased_until = clock_timestamp()"
    ))
    .await?;
    // A sink that is new begins with the oldest event.
    sql.batch_execute(
        "INSERT INTO sink_cursors (sink, position, epoch, holder, leased_until)
         SELECT 'bench', position, 0, gen_random_uuid(), clock_timestamp() FROM log_head ON CONFLICT DO NOTHING",
    )
    .await?;
    let (count, end) = (Arc::new(Count::default()), CancellationToken::new());
    let sequencer = SequencerEngine::new(
        Arc::new(PgStore::clone(store)),
        Arc::clone(wake),
        SequencerOptions::default(),
    );
    let sink = SinkEngine::new(
        Arc::new(PgStore::clone(store)),
        Arc::clone(&count) as Arc<dyn Sink>,
        Arc::clone(wake),
        Uuid::from_u128(8),
        SinkOptions::default(),
    );
    let started = Instant::now();
    let (first, second) = (end.clone(), end.clone());
    let engines = [
        tokio::spawn(async move { sequencer.run(first).await }),
        tokio::spawn(async move { sink.run(second).await }),
    ];
    while count.0.load(Ordering::Relaxed) < EVENTS {
        if started.elapsed() > PATIENCE {
            return Err("the events do not arrive".into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let took = started.elapsed();
    end.cancel();
    for engine in engines {
        engine.await?;
    }
    Ok(took.as_secs_f64())
}
