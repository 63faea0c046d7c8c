//! Ending runs: as they say, because their lease ran out, or because their worker ends.

use std::time::Duration;

use convene_application::kernel::jobs::{Fence, SettledAs, Settlement};
use convene_application::kernel::store::StoreError;

use super::{Count, counted, fenced};
use crate::postgres::PgStore;
use crate::postgres::sql::{micros, sql};

/// The most leases that one call ends.
const RESCUED_AT_ONCE: i64 = 500;

/// What was asked for again while it ran runs again; a failure keeps its back-off all the same. What an operator cancelled
/// has ended, whatever its run says.
pub(super) async fn settle(
    store: &PgStore,
    mut settlements: Vec<Settlement>,
) -> Result<usize, StoreError> {
    settlements.sort_unstable_by_key(|settlement| settlement.fence.job);
    let (mut ids, mut epochs, mut verdicts) = (vec![], vec![], vec![]);
    let (mut waits, mut errors) = (vec![], vec![]);
    for Settlement { fence, verdict } in settlements {
        let (verdict, after, error) = match verdict {
            SettledAs::Done => ("done", Duration::ZERO, None),
            SettledAs::Cancelled => ("cancelled", Duration::ZERO, None),
            SettledAs::Retry { after, error } => ("retry", after, Some(error)),
            SettledAs::Snoozed { after } => ("snoozed", after, None),
            SettledAs::Dead { error } => ("dead", Duration::ZERO, Some(error)),
        };
        ids.push(fence.job);
        epochs.push(fence.epoch);
        verdicts.push(verdict);
        waits.push(micros(after));
        errors.push(error);
    }
    let connection = store.connection().await?;
    let settled: Option<Count> = sql("WITH ended AS (
            SELECT jobs.*, run.after * interval '1 microsecond' AS after, run.error,
                   CASE WHEN jobs.cancelled_at IS NOT NULL THEN 'cancelled' ELSE run.verdict END AS verdict
            FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::text[])
                 AS run(id, epoch, verdict, after, error)
            CROSS JOIN LATERAL (
                SELECT * FROM jobs
                WHERE id = run.id AND epoch = run.epoch AND leased_until IS NOT NULL FOR UPDATE) AS jobs
         ), buried AS (
            INSERT INTO jobs_dead (job_id, kind, queue, job_group, payload, unique_key, priority, attempt, max_attempts,
                                   last_error, traceparent, correlation_id, created_at, keep)
            SELECT id, kind, queue, job_group, payload, unique_key, priority, attempt, max_attempts,
                   coalesce(error, ''), traceparent, correlation_id, created_at, keep
            FROM ended WHERE verdict = 'dead'
         ), archived AS (
            INSERT INTO jobs_archive (job_id, kind, queue, job_group, unique_key, outcome, priority, attempt,
                                      max_attempts, correlation_id, created_at, started_at)
            SELECT id, kind, queue, job_group, unique_key, verdict, priority, attempt, max_attempts, correlation_id,
                   created_at, started_at
            FROM ended WHERE keep AND verdict IN ('done', 'cancelled') AND NOT rerun
         ), gone AS (
            DELETE FROM jobs WHERE id = ANY (ARRAY(
                SELECT id FROM ended WHERE verdict IN ('done', 'cancelled', 'dead') AND NOT rerun))
         ), again AS (
            UPDATE jobs SET leased_by = NULL, leased_until = NULL, rerun = false, cancelled_at = NULL,
                progress_done = NULL, progress_total = NULL,
                attempt = CASE ended.verdict WHEN 'retry' THEN ended.attempt
                                             WHEN 'snoozed' THEN ended.attempt - 1 ELSE 0 END,
                run_at = clock_timestamp() + CASE WHEN ended.verdict = 'snoozed' AND ended.rerun
                                                  THEN interval '0' ELSE ended.after END,
                last_error = ended.error
            FROM ended WHERE jobs.id = ended.id AND (ended.rerun OR ended.verdict IN ('retry', 'snoozed'))
         )
         SELECT count(*) AS jobs FROM ended")
    .bind(ids)
    .bind(epochs)
    .bind(verdicts)
    .bind(waits)
    .bind(errors)
    .row(&connection)
    .await?;
    Ok(counted(settled))
}

pub(super) async fn rescue(store: &PgStore) -> Result<usize, StoreError> {
    let connection = store.connection().await?;
    let rescued: Option<Count> = sql("WITH lost AS (
            SELECT *, cancelled_at IS NOT NULL AS cancelled,
                   attempt >= max_attempts AND cancelled_at IS NULL AS spent
            FROM jobs WHERE leased_by IS NOT NULL AND leased_until < statement_timestamp()
            ORDER BY leased_until
            LIMIT $1 FOR UPDATE SKIP LOCKED
         ), buried AS (
            INSERT INTO jobs_dead (job_id, kind, queue, job_group, payload, unique_key, priority, attempt, max_attempts,
                                   last_error, traceparent, correlation_id, created_at, keep)
            SELECT id, kind, queue, job_group, payload, unique_key, priority, attempt, max_attempts,
                   'the worker was lost during the last attempt', traceparent, correlation_id, created_at, keep
            FROM lost WHERE spent
         ), archived AS (
            INSERT INTO jobs_archive (job_id, kind, queue, job_group, unique_key, outcome, priority, attempt,
                                      max_attempts, correlation_id, created_at, started_at)
            SELECT id, kind, queue, job_group, unique_key, 'cancelled', priority, attempt, max_attempts, correlation_id,
                   created_at, started_at
            FROM lost WHERE keep AND cancelled AND NOT rerun
         ), gone AS (
            DELETE FROM jobs WHERE id = ANY (ARRAY(
                SELECT id FROM lost WHERE (spent OR cancelled) AND NOT rerun))
         ), again AS (
            UPDATE jobs SET leased_by = NULL, leased_until = NULL, rerun = false, run_at = statement_timestamp(),
                cancelled_at = NULL, progress_done = NULL, progress_total = NULL,
                attempt = CASE WHEN lost.spent OR lost.cancelled THEN 0 ELSE lost.attempt END,
                last_error = 'the worker was lost'
            FROM lost WHERE jobs.id = lost.id AND (lost.rerun OR NOT (lost.spent OR lost.cancelled))
         )
         SELECT count(*) AS jobs FROM lost")
    .bind(RESCUED_AT_ONCE)
    .row(&connection)
    .await?;
    let rescued = counted(rescued);
    if rescued > 0 {
        store.wake().jobs.ring();
    }
    Ok(rescued)
}

/// What was cancelled is not run again by another worker.
pub(super) async fn hand_back(store: &PgStore, leases: &[Fence]) -> Result<(), StoreError> {
    let mut leases = leases.to_vec();
    leases.sort_unstable_by_key(|lease| lease.job);
    let statement = fenced(
        &leases,
        "WITH held AS (
            SELECT jobs.* FROM unnest($1::bigint[], $2::bigint[]) AS lease(id, epoch)
            CROSS JOIN LATERAL (
                SELECT * FROM jobs
                WHERE id = lease.id AND epoch = lease.epoch AND leased_until IS NOT NULL FOR UPDATE) AS jobs
         ), archived AS (
            INSERT INTO jobs_archive (job_id, kind, queue, job_group, unique_key, outcome, priority, attempt,
                                      max_attempts, correlation_id, created_at, started_at)
            SELECT id, kind, queue, job_group, unique_key, 'cancelled', priority, attempt, max_attempts, correlation_id,
                   created_at, started_at
            FROM held WHERE keep AND cancelled_at IS NOT NULL AND NOT rerun
         ), gone AS (
            DELETE FROM jobs WHERE id = ANY (ARRAY(
                SELECT id FROM held WHERE cancelled_at IS NOT NULL AND NOT rerun))
         )
         UPDATE jobs SET leased_by = NULL, leased_until = NULL, rerun = false, cancelled_at = NULL,
             progress_done = NULL, progress_total = NULL, attempt = jobs.attempt - 1
         WHERE id = ANY (ARRAY(SELECT id FROM held WHERE cancelled_at IS NULL OR rerun))",
    );
    let connection = store.connection().await?;
    statement.run(&connection).await?;
    store.wake().jobs.ring();
    Ok(())
}
