//! What the contract of the job queue cannot show: units of work under a job's fence, and many claimers at once.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use convene_application::kernel::jobs::{Claim, JobQueue as _, LeasedJob, NewJob};
use convene_application::kernel::store::StoreError;
use convene_application::kernel::uow::Begin;
use convene_application::user::ports::UserTx;
use convene_infrastructure::postgres::PgStore;
use uuid::Uuid;

use super::{count, database, session, store, store_of};

pub(super) fn job(kind: &'static str) -> NewJob {
    NewJob {
        kind,
        queue: "default",
        group: None,
        payload: serde_json::Value::Null,
        unique_key: None,
        run_at: None,
        priority: 100,
        max_attempts: 5,
        keep: true,
        traceparent: None,
        correlation_id: None,
    }
}

fn room(free: i32) -> Claim {
    Claim {
        worker: Uuid::from_u128(1),
        kinds: vec!["test.job"],
        free: vec![("default", free)],
        lease: Duration::from_secs(30),
    }
}

async fn claim_one(store: &PgStore) -> LeasedJob {
    store.claim(&room(1)).await.unwrap().remove(0)
}

/// Commits an effect, another job, under the fence of this one.
async fn commit(store: &PgStore, leased: &LeasedJob, completes: bool) -> Result<(), StoreError> {
    let mut tx: Box<dyn UserTx> = store.begin(Vec::new()).await?;
    tx.fence(leased.fence(), completes);
    tx.staged().jobs.push(job("test.effect"));
    tx.commit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn effect_and_completion_commit_together_under_the_fence() {
    let database = database().await;
    let (admin, store) = (session(&database.admin_url()).await, store(&database));
    store.enqueue(vec![job("test.job")]).await.unwrap();
    let leased = claim_one(&store).await;
    commit(&store, &leased, false).await.unwrap();
    assert_eq!(count(&admin, "jobs WHERE kind = 'test.job'").await, 1, "not completed yet");
    commit(&store, &leased, true).await.unwrap();
    assert_eq!(count(&admin, "jobs WHERE kind = 'test.job'").await, 0);
    assert_eq!(count(&admin, "jobs WHERE kind = 'test.effect'").await, 2);
    assert!(matches!(commit(&store, &leased, true).await, Err(StoreError::Fenced)));
    assert_eq!(
        count(&admin, "jobs WHERE kind = 'test.effect'").await,
        2,
        "no effect without the lease"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_finisher_has_no_effect() {
    let database = database().await;
    let (admin, store) = (session(&database.admin_url()).await, store(&database));
    store.enqueue(vec![job("test.job")]).await.unwrap();
    let late = claim_one(&store).await;
    admin
        .batch_execute("UPDATE jobs SET leased_until = now() - interval '1 second'")
        .await
        .unwrap();
    assert_eq!(store.rescue().await.unwrap(), 1);
    assert!(matches!(commit(&store, &late, true).await, Err(StoreError::Fenced)), "rescued");
    let current = claim_one(&store).await;
    assert!(matches!(commit(&store, &late, true).await, Err(StoreError::Fenced)), "claimed again");
    assert_eq!(count(&admin, "jobs WHERE kind = 'test.effect'").await, 0);
    commit(&store, &current, true).await.unwrap();
    assert_eq!(count(&admin, "jobs").await, 1, "the effect alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_keeps_a_job_that_was_asked_for_meanwhile() {
    let database = database().await;
    let store = store(&database);
    let unique = job("test.job").unique("key");
    store.enqueue(vec![unique.clone()]).await.unwrap();
    let leased = claim_one(&store).await;
    store.enqueue(vec![unique]).await.unwrap();
    commit(&store, &leased, true).await.unwrap();
    let again = claim_one(&store).await;
    assert_eq!((again.id, again.attempt), (leased.id, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_claimers_get_each_job_once() {
    const JOBS: usize = 300;
    let database = database().await;
    let store = store_of(&database, 8);
    store.enqueue((0..JOBS).map(|_| job("test.job")).collect()).await.unwrap();
    let claimers = (0..8).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut claimed = Vec::new();
            // Rows that another claimer has just locked are skipped, so an empty claim is not the end.
            let until = Instant::now() + Duration::from_secs(20);
            while Instant::now() < until {
                let jobs = store.claim(&room(7)).await.unwrap();
                if jobs.is_empty() && store.next_due(&room(1)).await.unwrap().is_none() {
                    break;
                }
                claimed.extend(jobs.into_iter().map(|job| job.id));
            }
            claimed
        })
    });
    let claimed: Vec<i64> =
        futures::future::join_all(claimers).await.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(claimed.len(), JOBS);
    assert_eq!(claimed.iter().collect::<HashSet<_>>().len(), JOBS);
}

/// Thousands of jobs of later, of the highest priority, in front of one that is due.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_later_do_not_slow_a_claim() {
    let database = database().await;
    let (admin, store) = (session(&database.admin_url()).await, store(&database));
    admin
        .batch_execute(
            "INSERT INTO jobs (kind, queue, payload, priority, run_at, max_attempts)
             SELECT 'test.job', 'default', 'null', number % 3, now() + interval '1 hour', 5
             FROM generate_series(1, 30000) AS number;
             INSERT INTO jobs (kind, queue, payload, priority, run_at, max_attempts)
             VALUES ('test.job', 'default', 'null', 100, now(), 5);
             ANALYZE jobs",
        )
        .await
        .unwrap();
    let plan = admin
        .query(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT TEXT)
             WITH RECURSIVE room AS (
                SELECT queue, free FROM unnest('{default}'::text[], '{5}'::integer[]) AS room(queue, free)
             ), level AS (
                SELECT room.queue, top.priority FROM room CROSS JOIN LATERAL (
                    SELECT priority FROM jobs WHERE queue = room.queue AND leased_by IS NULL AND job_group IS NULL
                    ORDER BY priority LIMIT 1) AS top
                UNION ALL
                SELECT level.queue, next.priority FROM level CROSS JOIN LATERAL (
                    SELECT priority FROM jobs
                    WHERE queue = level.queue AND leased_by IS NULL AND job_group IS NULL AND priority > level.priority
                    ORDER BY priority LIMIT 1) AS next
             )
             SELECT job.id FROM level CROSS JOIN LATERAL (
                SELECT id FROM jobs
                WHERE queue = level.queue AND priority = level.priority AND leased_by IS NULL AND job_group IS NULL
                  AND run_at <= statement_timestamp() AND kind = ANY ('{test.job}')
                ORDER BY run_at, id LIMIT 5 FOR UPDATE SKIP LOCKED) AS job",
            &[],
        )
        .await
        .unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    let plan = plan.join("\n");
    assert!(!plan.contains("Seq Scan on jobs"), "{plan}");
    assert_eq!(store.claim(&room(5)).await.unwrap().len(), 1);
}
