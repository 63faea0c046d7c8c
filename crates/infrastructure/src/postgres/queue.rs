//! The job queue as workers use it: leases that are claimed, prolonged, settled and rescued, each fenced by its epoch.
//!
//! Leases run by the database's clock, which all workers share. Statements lock rows in the order of their ids, so that
//! none waits for another in a circle; those that are handed leases look each of them up by its id, in the order given. They
//! ask for `leased_until`, which is set with `leased_by`: the planner would take the index of what is leased otherwise,
//! and look through all of it once for each lease.

mod backlog;
mod claim;
mod settle;

use std::time::Duration;

use async_trait::async_trait;
use convene_application::kernel::jobs::{
    Beat, Claim, Fence, JobQueue, LeasedJob, NewJob, Pulse, QueueBacklog, Settlement,
};
use convene_application::kernel::store::StoreError;
use convene_application::kernel::uow::Tx as _;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Bool};

use super::PgStore;
use super::jobs;
use super::sql::{Sql, micros, sql};

#[derive(QueryableByName)]
struct Held {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Bool)]
    cancelled: bool,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    jobs: i64,
}

#[async_trait]
impl JobQueue for PgStore {
    async fn claim(&self, claim: &Claim) -> Result<Vec<LeasedJob>, StoreError> {
        claim::claim(self, claim).await
    }

    async fn next_due(&self, claim: &Claim) -> Result<Option<Duration>, StoreError> {
        claim::next_due(self, claim).await
    }

    async fn heartbeat(&self, beats: &[Beat], lease: Duration) -> Result<Pulse, StoreError> {
        let mut beats = beats.to_vec();
        beats.sort_unstable_by_key(|beat| beat.fence.job);
        let leases: Vec<Fence> = beats.iter().map(|beat| beat.fence).collect();
        let (done, total): (Vec<Option<i64>>, Vec<Option<i64>>) = beats
            .iter()
            .map(|beat| beat.progress.map_or((None, None), |now| (Some(now.done), now.total)))
            .unzip();
        let statement = fenced(
            &leases,
            "WITH held AS (
                SELECT jobs.id, beat.done, beat.total
                FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS beat(id, epoch, done, total)
                CROSS JOIN LATERAL (
                    SELECT id FROM jobs
                    WHERE id = beat.id AND epoch = beat.epoch AND leased_until IS NOT NULL FOR UPDATE) AS jobs
             )
             UPDATE jobs SET leased_until = clock_timestamp() + $5 * interval '1 microsecond',
                 progress_done = coalesce(held.done, progress_done),
                 progress_total = coalesce(held.total, progress_total)
             FROM held WHERE jobs.id = held.id RETURNING jobs.id, jobs.cancelled_at IS NOT NULL AS cancelled",
        );
        let connection = self.connection().await?;
        let held: Vec<Held> =
            statement.bind(done).bind(total).bind(micros(lease)).rows(&connection).await?;
        let is_held = |job: i64| held.iter().any(|held| held.id == job);
        Ok(Pulse {
            lost: leases.iter().map(|fence| fence.job).filter(|job| !is_held(*job)).collect(),
            cancelled: held.iter().filter(|held| held.cancelled).map(|held| held.id).collect(),
        })
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<usize, StoreError> {
        settle::settle(self, settlements).await
    }

    async fn ready(&self, groups: &[(String, String)]) -> Result<(), StoreError> {
        let (queues, groups): (Vec<String>, Vec<String>) = groups.iter().cloned().unzip();
        let times = vec![None; groups.len()];
        let connection = self.connection().await?;
        jobs::ready(queues, groups, times).run(&connection).await?;
        // Whoever looked between the end and this has found nothing, and would not look again for a while.
        self.wake().jobs.ring();
        Ok(())
    }

    async fn rescue(&self) -> Result<usize, StoreError> {
        settle::rescue(self).await
    }

    async fn hand_back(&self, leases: &[Fence]) -> Result<(), StoreError> {
        settle::hand_back(self, leases).await
    }

    async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<(), StoreError> {
        if jobs.iter().any(|job| job.group.is_some()) {
            // Two statements: what a group's row tells must be true once it can be read.
            let mut tx = self.tx(Vec::new()).await?;
            tx.staged().jobs = jobs;
            return tx.commit().await;
        }
        if let Some(insert) = jobs::insert(jobs) {
            let connection = self.connection().await?;
            insert.run(&connection).await?;
            self.wake().jobs.ring();
        }
        Ok(())
    }

    async fn backlog(&self) -> Result<Vec<QueueBacklog>, StoreError> {
        backlog::backlog(self).await
    }
}

/// A statement whose first two parameters are leases, which are in their order.
fn fenced(leases: &[Fence], statement: &'static str) -> Sql {
    let (ids, epochs): (Vec<i64>, Vec<i64>) =
        leases.iter().map(|fence| (fence.job, fence.epoch)).unzip();
    sql(statement).bind(ids).bind(epochs)
}

fn counted(count: Option<Count>) -> usize {
    count.map_or(0, |count| usize::try_from(count.jobs).unwrap_or(0))
}
