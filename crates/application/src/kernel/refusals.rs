//! Audit entries of what the policy refused.
//!
//! A refusal changes nothing, so there is no transaction that its entry could belong to; and whoever is refused may ask
//! without end. So a refusal is put into a bounded queue when its reply is made, which waits for nothing, and written from
//! there in a small transaction of its own, if there is room: the first few of each person and action, then one in a
//! hundred of them, and never more than so many of one person. What is left out is counted.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;

use super::authz::Refused;
use super::context::RequestContext;
use super::env::Env;
use super::limits::{Limiter, Quota, Verdict};
use super::store::StoreError;
use super::uow::{AuditEntry, AuditOutcome, Tx, Uow};

/// Refusals that wait to be written.
const WAITING: usize = 1_024;
/// Refusals that one transaction writes.
const BATCH: usize = 64;

const HOUR: Duration = Duration::from_hours(1);
/// What is written of one person and one action whatever comes.
const FIRST: Quota = Quota::new(10, HOUR, 10);
/// Of those behind, one in so many is written.
const ONE_OF: u32 = 100;
/// What is written of one person, whatever the actions.
const OF_ONE_PERSON: Quota = Quota::new(100, HOUR, 100);

/// Takes refusals that are to be audited.
pub trait RefusalLog: Send + Sync {
    /// Takes one, or leaves it out; waits for nothing.
    fn note(&self, context: RequestContext, refused: Refused);
}

struct Refusal {
    context: RequestContext,
    refused: Refused,
}

/// Where requests leave their refusals.
#[derive(Clone)]
pub struct Refusals(mpsc::Sender<Refusal>);

/// Writes the refusals of a process.
pub struct RefusalWriter {
    queue: mpsc::Receiver<Refusal>,
    env: Env,
    limiter: Arc<dyn Limiter>,
    uow: Uow<dyn Tx>,
}

/// The two ends of the queue of a process.
#[must_use]
pub fn refusals(
    env: Env,
    limiter: Arc<dyn Limiter>,
    uow: Uow<dyn Tx>,
) -> (Refusals, RefusalWriter) {
    let (sender, queue) = mpsc::channel(WAITING);
    (Refusals(sender), RefusalWriter { queue, env, limiter, uow })
}

impl RefusalLog for Refusals {
    fn note(&self, context: RequestContext, refused: Refused) {
        if self.0.try_send(Refusal { context, refused }).is_err() {
            left_out(1);
        }
    }
}

impl RefusalWriter {
    /// Writes what comes until the end, and then what is left.
    pub async fn run(mut self, end: impl Future<Output = ()> + Send) {
        let mut end = pin!(end);
        let mut ended = false;
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                received = self.queue.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        return;
                    }
                    self.write(&mut batch).await;
                }
                () = &mut end, if !ended => {
                    ended = true;
                    self.queue.close();
                }
            }
        }
    }

    async fn write(&self, batch: &mut Vec<Refusal>) {
        let mut entries = Vec::with_capacity(batch.len());
        for refusal in batch.drain(..) {
            match self.admit(&refusal).await {
                Some(changed) => entries.push(entry(refusal, changed)),
                None => left_out(1),
            }
        }
        let count = entries.len();
        if count > 0
            && let Err(error) = self.commit(entries).await
        {
            metrics::counter!("convene_audit_refusals_lost_total").increment(count as u64);
            tracing::error!(
                error = &error as &dyn std::error::Error,
                count,
                "refusals could not be written to the audit log"
            );
        }
    }

    async fn commit(&self, entries: Vec<AuditEntry>) -> Result<(), StoreError> {
        let mut tx = self.uow.begin(Vec::new()).await?;
        tx.staged().audit = entries;
        tx.commit().await
    }

    /// Whether there is room for one more, and what its entry tells beside the refusal.
    async fn admit(&self, refusal: &Refusal) -> Option<serde_json::Value> {
        let (actor, action) = (refusal.context.actor, refusal.refused.action.name());
        let first = self.limiter.spend(&format!("audit:refused:{actor}:{action}"), FIRST).await;
        let told = match first {
            Verdict::Allowed => json!({}),
            Verdict::Refused { .. } if self.is_drawn() => json!({ "one_of": ONE_OF }),
            Verdict::Refused { .. } => return None,
        };
        let person = self.limiter.spend(&format!("audit:refused:{actor}"), OF_ONE_PERSON).await;
        (person == Verdict::Allowed).then_some(told)
    }

    fn is_drawn(&self) -> bool {
        u32::from_ne_bytes(self.env.random.bytes()) % ONE_OF == 0
    }
}

fn entry(refusal: Refusal, changed: serde_json::Value) -> AuditEntry {
    let Refusal { context, refused } = refusal;
    AuditEntry {
        context,
        community: refused.community,
        action: refused.action.name(),
        object: refused.object,
        outcome: AuditOutcome::Refused,
        changed,
    }
}

fn left_out(count: u64) {
    metrics::counter!("convene_audit_refusals_left_out_total").increment(count);
}
