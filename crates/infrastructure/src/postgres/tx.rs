//! The unit of work: BEGIN travels with the first statements, everything staged travels with COMMIT.

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use convene_application::kernel::cache::Stale;
use convene_application::kernel::failpoint::{self, Failpoint};
use convene_application::kernel::idempotency::{Claimed, KeyClaim};
use convene_application::kernel::jobs::Fence;
use convene_application::kernel::store::StoreError;
use convene_application::kernel::trace;
use convene_application::kernel::uow::{Staged, Tx};
use tracing::Instrument as _;
use uuid::Uuid;

use super::inbox::Consumption;
use super::pool::Connection;
use super::sql::{Sql, flight, pipelined, sql};
use super::store::PgStore;
use super::{audit, idempotency, invalidations, jobs, outbox};

/// How long an abandoned transaction may take to roll back before its connection is closed instead.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(1);

/// One transaction. Every module's `…Tx` port is implemented for it, in that module's file.
pub(crate) struct PgTx {
    store: PgStore,
    connection: Option<Connection>,
    begun: bool,
    claims: Vec<KeyClaim>,
    claimed: Vec<Claimed>,
    /// Whether a key is locked until the end.
    holds_key: bool,
    writes: Vec<Sql>,
    staged: Staged,
    fence: Option<(Fence, bool)>,
    consumption: Option<Consumption>,
    consumed_before: bool,
}

impl PgTx {
    pub(crate) fn new(store: PgStore, connection: Connection, claims: Vec<KeyClaim>) -> Self {
        Self {
            store,
            connection: Some(connection),
            begun: false,
            claims,
            claimed: Vec::new(),
            holds_key: false,
            writes: Vec::new(),
            staged: Staged::default(),
            fence: None,
            consumption: None,
            consumed_before: false,
        }
    }

    /// Runs statements in one flight. The first flight of a transaction carries BEGIN and the claims of idempotency keys
    /// and of the event that it consumes in front of them.
    pub(crate) async fn flight<'t, T, F>(
        &'t mut self,
        statements: impl FnOnce(&'t Connection) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let connection: &Connection = live(self.connection.as_ref())?;
        let span = trace::detail(|| tracing::info_span!("db.flight", begins = !self.begun));
        if self.begun {
            return statements(connection).instrument(span).await;
        }
        self.begun = true;
        let consumption = self.consumption.clone();
        let claim_event = async {
            match consumption {
                Some(consumption) => consumption.claim(connection).await,
                None => Ok(false),
            }
        };
        let claims = &self.claims;
        let first = async {
            flight!(
                sql("BEGIN").run(connection),
                claim_event,
                idempotency::claim(claims, connection),
                statements(connection),
            )
        };
        let (_, consumed_before, claimed, outcome) = first.instrument(span).await?;
        self.consumed_before = consumed_before;
        self.holds_key = claimed.contains(&Claimed::First);
        self.claimed = claimed;
        Ok(outcome)
    }

    /// Stages a write of the module; it is sent with the commit, after those staged before it.
    pub(crate) fn write(&mut self, statement: Sql) {
        self.writes.push(statement);
    }

    /// Stages that something which is cached changes with this commit.
    pub(crate) fn outdate(&mut self, key: Stale) {
        self.staged.stale.push(key);
    }

    /// Everything that commit sends in front of COMMIT, in order.
    fn last_flight(&mut self, staged: Staged, stale: &[Stale]) -> Vec<Sql> {
        let mut statements = Vec::with_capacity(self.writes.len() + 8);
        if !self.begun {
            statements.push(sql("BEGIN"));
            statements.extend(self.consumption.clone().map(Consumption::insert));
            self.begun = true;
        }
        statements.append(&mut self.writes);
        statements.extend(outbox::insert(staged.events));
        statements.extend(audit::insert(staged.audit));
        let ready = jobs::ready_groups_of(&staged.jobs);
        statements.extend(jobs::insert(staged.jobs));
        statements.extend(idempotency::store(&self.claims, staged.replies));
        statements.extend(self.fence.map(|(fence, completes)| jobs::fence(fence, completes)));
        // Its time must be close to that of the commit.
        statements.extend(invalidations::insert(stale));
        // Last, since whoever stores jobs of the same group waits for this commit from then on.
        statements.extend(ready);
        statements
    }
}

#[async_trait]
impl Tx for PgTx {
    fn claimed(&mut self) -> Vec<Claimed> {
        std::mem::take(&mut self.claimed)
    }

    fn staged(&mut self) -> &mut Staged {
        &mut self.staged
    }

    fn fence(&mut self, fence: Fence, completes: bool) {
        self.fence = Some((fence, completes));
    }

    fn consume_all(&mut self, consumer: &'static str, events: Vec<(Uuid, i32)>) {
        self.consumption = Some(Consumption { consumer, events });
    }

    fn consumed_before(&self) -> bool {
        self.consumed_before
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        if self.consumed_before {
            return Ok(());
        }
        let wakes_outbox = !(self.staged.events.is_empty() && self.staged.audit.is_empty());
        let wakes_jobs = !self.staged.jobs.is_empty();
        let mut staged = std::mem::take(&mut self.staged);
        let stale = std::mem::take(&mut staged.stale);
        let statements = self.last_flight(staged, &stale);
        failpoint::reach(Failpoint::BeforeCommit);
        {
            let connection: &Connection = live(self.connection.as_ref())?;
            let writes =
                pipelined(statements.into_iter().map(|write| write.run(connection)).collect());
            let commit = sql("COMMIT").run(connection);
            // The first failure ends the transaction: Postgres answers the COMMIT behind it with a rollback.
            let span = trace::detail(|| tracing::info_span!("db.commit"));
            match async { flight!(writes, commit) }.instrument(span).await {
                Ok(_) => {}
                Err(StoreError::Unavailable(source)) => {
                    self.store.changed(&stale);
                    return Err(StoreError::CommitUnknown(source));
                }
                Err(error) => {
                    return match &self.consumption {
                        Some(consumption) => consumption.met(error),
                        None => Err(error),
                    };
                }
            }
        }
        failpoint::reach(Failpoint::AfterCommit);
        self.begun = false;
        self.store.changed(&stale);
        self.store.committed(wakes_outbox, wakes_jobs);
        Ok(())
    }
}

/// A connection dropped inside a transaction would go back to the pool still holding its row locks. So it is rolled back
/// first, or closed if even that does not work.
impl Drop for PgTx {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if !self.begun {
            return;
        }
        metrics::counter!("convene_db_rollbacks_total").increment(1);
        let ending = self.holds_key.then(|| self.store.endings().begin(&self.claims));
        self.store.pool().runtime().spawn(async move {
            let rollback = sql("ROLLBACK").run(&connection);
            let rolled_back = tokio::time::timeout(ROLLBACK_TIMEOUT, rollback).await;
            if !matches!(rolled_back, Ok(Ok(_))) {
                connection.close();
            }
            drop(ending);
        });
    }
}

fn live(connection: Option<&Connection>) -> Result<&Connection, StoreError> {
    connection.ok_or_else(|| StoreError::other("the transaction is over"))
}
