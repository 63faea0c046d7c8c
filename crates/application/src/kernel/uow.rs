//! The unit of work: one transaction, opened by the first read and closed by a commit that flushes everything at once.
//!
//! A use case reads and locks through the asynchronous methods of its module's transaction, and *stages* what it writes
//! through plain ones. [`Tx::commit`] sends the staged rows together with COMMIT, pipelined; BEGIN and the idempotency
//! claims travel with the first read. So a command costs two flights to the database, whatever it does. Dropping a
//! transaction without committing rolls everything back.

use std::sync::Arc;

use async_trait::async_trait;
use convene_domain::ids::{CommunityId, TypedId};
use uuid::Uuid;

use super::cache::Stale;
use super::context::{Actor, RequestContext};
use super::error::Failure;
use super::events::NewEvent;
use super::idempotency::{Claimed, Idempotency, KeyClaim, Reply, StoredReply};
use super::jobs::{Fence, NewJob};
use super::store::StoreError;

/// The constraint by which a consumer takes an event once.
pub const CONSUMED_BEFORE: &str = "inbox_pkey";

/// What every module's transaction can do.
#[async_trait]
pub trait Tx: Send {
    /// What became of the claims that the transaction was begun with, in their order. Known after the first read.
    fn claimed(&mut self) -> Vec<Claimed>;

    /// The rows that commit writes beside the module's own.
    fn staged(&mut self) -> &mut Staged;

    /// Ties the commit to a job's lease: if the lease is lost, nothing is committed and commit answers
    /// [`StoreError::Fenced`]. With `completes` the job is done with this commit.
    fn fence(&mut self, fence: Fence, completes: bool);

    /// Claims an event for a consumer, to be called before the first read, with which the claim travels. `replay` is that
    /// of the event: each replay of an event that was consumed before is a consumption of its own. A transaction
    /// that claims an event which was consumed before writes nothing: its commit is `Ok` and rolls back. So a consumer
    /// whose effect takes no read needs no question and no second flight.
    fn consume(&mut self, consumer: &'static str, event: Uuid, replay: i32) {
        self.consume_all(consumer, vec![(event, replay)]);
    }

    /// Claims several events for a consumer, each with its replay. If one of them was consumed before, the first read or
    /// the commit fails with a violation of [`CONSUMED_BEFORE`]: they are to be taken one by one then.
    fn consume_all(&mut self, consumer: &'static str, events: Vec<(Uuid, i32)>);

    /// Whether the claimed event was consumed before. Known after the first read; saves the work behind it.
    fn consumed_before(&self) -> bool;

    /// Writes everything that was staged and commits, in one flight.
    ///
    /// # Errors
    /// The store's; nothing of the change is there then, except after [`StoreError::CommitUnknown`].
    async fn commit(self: Box<Self>) -> Result<(), StoreError>;
}

/// Begins units of work that show themselves as one module's transaction, `dyn RsvpTx` for example.
#[async_trait]
pub trait Begin<T: ?Sized>: Send + Sync {
    /// Takes a connection; sends nothing yet.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] without a connection in time.
    async fn begin(&self, claims: Vec<KeyClaim>) -> Result<Box<T>, StoreError>;
}

/// A module's door to its units of work.
pub type Uow<T> = Arc<dyn Begin<T>>;

/// Rows of the platform that a commit writes beside the module's own.
#[derive(Debug, Default)]
pub struct Staged {
    /// Domain events, recorded in this order.
    pub events: Vec<NewEvent>,
    /// Audit entries.
    pub audit: Vec<AuditEntry>,
    /// Jobs.
    pub jobs: Vec<NewJob>,
    /// Replies to keep, by the scope of the key that claimed them.
    pub replies: Vec<([u8; 32], StoredReply)>,
    /// Keys of what is cached and changes with this commit. Each adapter stages them with the rows that they name, so that
    /// no use case can forget one.
    pub stale: Vec<Stale>,
}

impl Staged {
    /// Stages the reply of a use case under its key, if it has one.
    pub fn reply<T>(&mut self, idempotency: Option<&Idempotency<T>>, outcome: &T) {
        if let Some(Idempotency { claim: Ok(claim), render }) = idempotency {
            self.replies.push((claim.scope, render(outcome)));
        }
    }

    /// Stages an audit entry.
    pub fn audit(
        &mut self,
        context: &RequestContext,
        community: Option<CommunityId>,
        action: &'static str,
        object: impl TypedId,
        changed: serde_json::Value,
    ) {
        self.audit_named(context, community, action, object.to_string(), changed);
    }

    /// Stages an audit entry about what has no typed identifier.
    pub fn audit_named(
        &mut self,
        context: &RequestContext,
        community: Option<CommunityId>,
        action: &'static str,
        object: String,
        changed: serde_json::Value,
    ) {
        self.audit.push(AuditEntry {
            context: context.clone(),
            community,
            action,
            object,
            outcome: AuditOutcome::Done,
            changed,
        });
    }

    /// Stages the audit entry of what was refused. Whoever asked may be nobody whom Convene knows, and may ask without
    /// end: the caller bounds how many such entries there are.
    pub fn audit_refusal(
        &mut self,
        context: &RequestContext,
        community: Option<CommunityId>,
        action: &'static str,
        object: String,
    ) {
        self.audit.push(AuditEntry {
            context: context.clone(),
            community,
            action,
            object,
            outcome: AuditOutcome::Refused,
            changed: serde_json::json!({}),
        });
    }
}

/// One entry of the audit log: who did what to which object.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    /// Who, through which request.
    pub context: RequestContext,
    /// The community whose chain the entry joins; none for what happens outside communities.
    pub community: Option<CommunityId>,
    /// What was done, such as `community.create`.
    pub action: &'static str,
    /// The `TypeID` of what it was done to, or what else names it without telling anything personal.
    pub object: String,
    /// How it ended.
    pub outcome: AuditOutcome,
    /// The changed fields, without personal data or secrets.
    pub changed: serde_json::Value,
}

/// How what an audit entry tells of has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum AuditOutcome {
    /// It was done.
    Done,
    /// It was refused, and nothing was done.
    Refused,
}

impl AuditEntry {
    /// Who it was; none if somebody was refused who has not proven to be anybody.
    #[must_use]
    pub fn actor(&self) -> Option<Actor> {
        let nobody = self.outcome == AuditOutcome::Refused && self.context.actor == Actor::System;
        (!nobody).then_some(self.context.actor)
    }
}

/// The claims of a use case with an optional key.
#[must_use]
pub fn claims<T>(idempotency: Option<&Idempotency<T>>) -> Vec<KeyClaim> {
    idempotency.and_then(|idempotency| idempotency.claim.clone().ok()).into_iter().collect()
}

/// Answers a use case whose key was used before; `None` means: go on. To be asked after the first read, when it is known
/// that the caller may see and change the target.
///
/// # Errors
/// 409 while in flight, 422 for another body or an invalid key, and what is wrong with a call that takes no input.
pub fn replay<T, X: Tx + ?Sized>(
    tx: &mut X,
    idempotency: Option<&Idempotency<T>>,
) -> Result<Option<Reply<T>>, Failure> {
    if let Some(Idempotency { claim: Err(refused), .. }) = idempotency {
        return Err(refused.clone());
    }
    match tx.claimed().pop() {
        None => Ok(None),
        Some(claimed) => Ok(claimed.proceed()?.map(Reply::Replayed)),
    }
}
