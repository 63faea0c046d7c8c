//! Jobs: staged with a transaction, leased by workers, fenced by epoch.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use convene_application::kernel::jobs::{Fence, NewJob};
use jiff::Timestamp;

use super::sql::{Sql, sql};

/// Writes a transaction's jobs. A unique key that is taken makes the waiting job due no later, and a running one run once
/// more.
pub(super) fn insert(jobs: Vec<NewJob>) -> Option<Sql> {
    if jobs.is_empty() {
        return None;
    }
    let jobs = merged(jobs);
    let (mut kinds, mut queues, mut payloads, mut keys) = (vec![], vec![], vec![], vec![]);
    let (mut times, mut priorities, mut attempts) = (vec![], vec![], vec![]);
    let (mut traces, mut correlations) = (vec![], vec![]);
    let (mut groups, mut keeps) = (vec![], vec![]);
    for job in jobs {
        kinds.push(job.kind);
        queues.push(job.queue);
        groups.push(job.group);
        keeps.push(job.keep);
        payloads.push(job.payload);
        keys.push(job.unique_key);
        times.push(job.run_at);
        priorities.push(job.priority);
        attempts.push(job.max_attempts);
        traces.push(job.traceparent);
        correlations.push(job.correlation_id);
    }
    Some(
        sql("INSERT INTO jobs
                 (kind, queue, payload, unique_key, run_at, priority, max_attempts, traceparent, correlation_id,
                  job_group, keep)
             SELECT kind, queue, payload, unique_key, coalesce(run_at, clock_timestamp()), priority, max_attempts,
                    traceparent, correlation_id, job_group, keep
             FROM unnest($1::text[], $2::text[], $3::jsonb[], $4::text[], $5::timestamptz[], $6::smallint[],
                         $7::smallint[], $8::text[], $9::text[], $10::text[], $11::boolean[])
                  AS job(kind, queue, payload, unique_key, run_at, priority, max_attempts, traceparent,
                         correlation_id, job_group, keep)
             ON CONFLICT (kind, unique_key) WHERE unique_key IS NOT NULL DO UPDATE
                 SET rerun = jobs.leased_by IS NOT NULL, run_at = least(jobs.run_at, excluded.run_at),
                     priority = least(jobs.priority, excluded.priority)")
            .bind(kinds)
            .bind(queues)
            .bind(payloads)
            .bind(keys)
            .bind(times)
            .bind(priorities)
            .bind(attempts)
            .bind(traces)
            .bind(correlations)
            .bind(groups)
            .bind(keeps),
    )
}

/// Says from when on the groups of these jobs have something to claim. It is to be the last thing that a transaction does:
/// it locks the groups, in their order, until the commit.
pub(super) fn ready_groups_of(jobs: &[NewJob]) -> Option<Sql> {
    let (mut queues, mut groups, mut times) = (vec![], vec![], vec![]);
    for job in jobs {
        let Some(group) = &job.group else { continue };
        queues.push(job.queue.to_owned());
        groups.push(group.clone());
        times.push(job.run_at);
    }
    (!groups.is_empty()).then(|| ready(queues, groups, times))
}

/// The same of groups by their queues and keys, where no time means now.
pub(super) fn ready(
    queues: Vec<String>,
    groups: Vec<String>,
    times: Vec<Option<Timestamp>>,
) -> Sql {
    sql("SELECT convene_ready_groups($1, $2, $3)").bind(queues).bind(groups).bind(times)
}

/// The jobs with those of the same unique key made one, since one statement cannot meet a key twice: the one that is due
/// first. Keys come in their order, so that two transactions with the same keys cannot wait for each other in a circle.
fn merged(jobs: Vec<NewJob>) -> Vec<NewJob> {
    let mut merged: Vec<NewJob> = Vec::with_capacity(jobs.len());
    let mut places: HashMap<(&'static str, String), usize> = HashMap::new();
    for job in jobs {
        let Some(key) = job.unique_key.clone() else {
            merged.push(job);
            continue;
        };
        match places.entry((job.kind, key)) {
            Entry::Vacant(place) => {
                place.insert(merged.len());
                merged.push(job);
            }
            Entry::Occupied(place) => {
                let earlier = &mut merged[*place.get()];
                // No time means at once, and is the earliest.
                earlier.run_at = earlier.run_at.min(job.run_at);
                earlier.priority = earlier.priority.min(job.priority);
            }
        }
    }
    merged.sort_by(|one, other| (one.kind, &one.unique_key).cmp(&(other.kind, &other.unique_key)));
    merged
}

/// Ends the transaction unless the lease is current; with `completes` the job is done.
pub(super) fn fence(fence: Fence, completes: bool) -> Sql {
    sql("SELECT convene_fence_job($1, $2, $3)").bind(fence.job).bind(fence.epoch).bind(completes)
}
