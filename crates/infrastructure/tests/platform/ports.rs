//! The ports of the platform, held to their contract.

use std::sync::Arc;

use async_trait::async_trait;
use convene_application::kernel::jobs::Progress;
use convene_application::kernel::operate::cron::CronTx;
use convene_application::kernel::operate::jobs::{JobFilter, JobReads as _, JobTx};
use convene_application::kernel::operate::queues::{GroupLimits, QueueLimits, QueueTx};
use convene_application::kernel::store::StoreError;
use convene_application::kernel::uow::Begin;
use convene_application::user::ports::UserTx;
use convene_infrastructure::postgres::PgStore;
use convene_testkit::contract::platform::{Operating, Ports};
use convene_testkit::database::TestDatabase;

use super::{database, store};

struct Operator(PgStore);

#[async_trait]
impl Operating for Operator {
    async fn pause_duty(&self, name: &str, paused: bool) -> Result<bool, StoreError> {
        let mut tx: Box<dyn CronTx> = self.0.begin(Vec::new()).await?;
        let known = tx.pause_duty(name, paused).await?;
        tx.commit().await?;
        Ok(known)
    }

    async fn limit_queue(&self, queue: &str, limits: QueueLimits) -> Result<(), StoreError> {
        let mut tx: Box<dyn QueueTx> = self.0.begin(Vec::new()).await?;
        tx.limit_queue(queue, &limits).await?;
        assert_eq!(tx.queue_limits(queue).await?, limits);
        tx.commit().await
    }

    async fn limit_group(
        &self,
        queue: &str,
        group: &str,
        limits: GroupLimits,
    ) -> Result<(), StoreError> {
        let mut tx: Box<dyn QueueTx> = self.0.begin(Vec::new()).await?;
        tx.limit_group(queue, group, &limits).await?;
        assert_eq!(tx.group_limits(queue, group).await?, limits);
        tx.commit().await
    }

    async fn cancel(&self, job: i64) -> Result<(), StoreError> {
        let mut tx: Box<dyn JobTx> = self.0.begin(Vec::new()).await?;
        assert_eq!(tx.cancel(job).await?.len(), 1, "the job {job} is there");
        tx.commit().await
    }

    async fn progress(&self, job: i64) -> Result<Option<Progress>, StoreError> {
        let filter = JobFilter { id: Some(job), limit: 1, ..JobFilter::default() };
        Ok(self.0.jobs(&filter).await?.pop().and_then(|job| job.progress))
    }
}

async fn ports() -> (Ports, TestDatabase) {
    let database = database().await;
    let store = store(&database);
    let port = Arc::new(store.clone());
    let operator = Arc::new(Operator(store.clone()));
    let record = move |events| {
        let store = store.clone();
        Box::pin(async move {
            let mut tx: Box<dyn UserTx> = store.begin(Vec::new()).await?;
            tx.staged().events = events;
            tx.commit().await
        }) as _
    };
    let ports = Ports {
        sequencer: port.clone(),
        log: port.clone(),
        queue: port.clone(),
        crons: port,
        operator,
        record: Box::new(record),
    };
    (ports, database)
}

convene_testkit::platform_contract!(ports());
