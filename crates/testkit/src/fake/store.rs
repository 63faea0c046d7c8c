//! A store in memory: tables of some modules, with units of work that commit all or nothing.
//!
//! One unit of work at a time holds the tables from its first read to its end, so whatever a use case does is serialised
//! as row locks would serialise it. Writes are staged and applied at commit to a copy, which becomes the tables if all of
//! them succeed. The test can have any call fail.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use convene_application::kernel::events::NewEvent;
use convene_application::kernel::idempotency::{Claimed, KeyClaim, StoredReply};
use convene_application::kernel::jobs::{Fence, NewJob};
use convene_application::kernel::store::StoreError;
use convene_application::kernel::uow::{AuditEntry, Begin, CONSUMED_BEFORE, Staged, Tx};
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use super::kernel::lock;

/// A store of the tables `T`. Cheap to clone; clones share the tables.
pub struct FakeStore<T> {
    tables: Arc<tokio::sync::Mutex<T>>,
    ledger: Arc<Mutex<Ledger>>,
    /// How many calls still succeed before one fails, plus one; 0 when none is to fail.
    fuse: Arc<AtomicUsize>,
    /// How many commits are still to meet a concurrent transaction.
    conflicts: Arc<AtomicUsize>,
}

/// What committed units of work left for the platform, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Domain events.
    pub events: Vec<NewEvent>,
    /// Audit entries.
    pub audit: Vec<AuditEntry>,
    /// Jobs that wait.
    pub jobs: Vec<NewJob>,
    /// Replies by the scope of their key, with the fingerprint of the request.
    pub replies: HashMap<[u8; 32], ([u8; 32], StoredReply)>,
    /// Jobs that a unit of work completed.
    pub completed: Vec<Fence>,
    /// Events by the consumer that took them, with the replay.
    pub consumed: HashSet<(&'static str, Uuid, i32)>,
}

impl<T> Clone for FakeStore<T> {
    fn clone(&self) -> Self {
        Self {
            tables: Arc::clone(&self.tables),
            ledger: Arc::clone(&self.ledger),
            fuse: Arc::clone(&self.fuse),
            conflicts: Arc::clone(&self.conflicts),
        }
    }
}

impl<T: Default> Default for FakeStore<T> {
    fn default() -> Self {
        Self {
            tables: Arc::default(),
            ledger: Arc::default(),
            fuse: Arc::default(),
            conflicts: Arc::default(),
        }
    }
}

impl<T: Clone + Send + 'static> FakeStore<T> {
    /// The tables, for reads outside a unit of work and for tests that look behind the scenes.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the test wants it.
    pub async fn tables(&self) -> Result<OwnedMutexGuard<T>, StoreError> {
        self.may_fail()?;
        Ok(self.peek().await)
    }

    /// The tables as they are, whatever is to fail.
    pub async fn peek(&self) -> OwnedMutexGuard<T> {
        Arc::clone(&self.tables).lock_owned().await
    }

    /// What was committed for the platform.
    pub fn ledger(&self) -> Ledger {
        lock(&self.ledger).clone()
    }

    /// The jobs that wait; a worker would take them.
    pub fn take_jobs(&self) -> Vec<NewJob> {
        std::mem::take(&mut lock(&self.ledger).jobs)
    }

    /// Has a call fail after so many that succeed; calls are reads, beginnings and commits.
    pub fn fail_after(&self, successes: usize) {
        self.fuse.store(successes + 1, Ordering::SeqCst);
    }

    /// Has no call fail any more. Returns whether one still was to.
    pub fn heal(&self) -> bool {
        self.fuse.swap(0, Ordering::SeqCst) > 0
    }

    /// Has the next so many commits meet a concurrent transaction.
    pub fn conflict(&self, commits: usize) {
        self.conflicts.store(commits, Ordering::SeqCst);
    }

    /// A unit of work.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the test wants it.
    pub fn unit(&self, claims: Vec<KeyClaim>) -> Result<FakeTx<T>, StoreError> {
        self.may_fail()?;
        Ok(FakeTx {
            store: self.clone(),
            held: None,
            writes: Vec::new(),
            staged: Staged::default(),
            claims,
            claimed: Vec::new(),
            fence: None,
            consumes: Vec::new(),
            consumed_before: false,
        })
    }

    fn may_fail(&self) -> Result<(), StoreError> {
        let burn = |fuse: usize| fuse.checked_sub(1);
        match self.fuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, burn) {
            Ok(1) => Err(StoreError::Unavailable("the test pulled the plug".into())),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl<T: Clone + Send + 'static> Begin<dyn Tx> for FakeStore<T> {
    async fn begin(&self, claims: Vec<KeyClaim>) -> Result<Box<dyn Tx>, StoreError> {
        Ok(Box::new(self.unit(claims)?))
    }
}

type Write<T> = Box<dyn FnOnce(&mut T) -> Result<(), StoreError> + Send>;

/// A unit of work over the tables `T`. Every module's transaction is implemented for it, over the tables that it needs.
pub struct FakeTx<T> {
    store: FakeStore<T>,
    held: Option<OwnedMutexGuard<T>>,
    writes: Vec<Write<T>>,
    staged: Staged,
    claims: Vec<KeyClaim>,
    claimed: Vec<Claimed>,
    fence: Option<(Fence, bool)>,
    consumes: Vec<(&'static str, Uuid, i32)>,
    consumed_before: bool,
}

impl<T: Clone + Send + 'static> FakeTx<T> {
    /// The tables, held until the unit of work ends.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the test wants it.
    pub async fn read(&mut self) -> Result<&T, StoreError> {
        self.store.may_fail()?;
        let held = match self.held.take() {
            Some(held) => held,
            None => {
                let held = self.store.peek().await;
                self.consumed_before = self.was_consumed()?;
                self.claimed = self.claims.iter().map(|claim| self.claim(claim)).collect();
                held
            }
        };
        Ok(self.held.insert(held))
    }

    /// Stages a write.
    pub fn write(&mut self, write: impl FnOnce(&mut T) -> Result<(), StoreError> + Send + 'static) {
        self.writes.push(Box::new(write));
    }

    fn was_consumed(&self) -> Result<bool, StoreError> {
        let ledger = lock(&self.store.ledger);
        let before = self.consumes.iter().filter(|event| ledger.consumed.contains(event)).count();
        match before {
            0 => Ok(false),
            _ if self.consumes.len() == 1 => Ok(true),
            _ => Err(StoreError::Unique { constraint: CONSUMED_BEFORE.to_owned() }),
        }
    }

    fn claim(&self, claim: &KeyClaim) -> Claimed {
        match lock(&self.store.ledger).replies.get(&claim.scope) {
            None => Claimed::First,
            Some((fingerprint, reply)) if *fingerprint == claim.fingerprint => {
                Claimed::Done(reply.clone())
            }
            Some(_) => Claimed::Mismatch,
        }
    }
}

#[async_trait]
impl<T: Clone + Send + 'static> Tx for FakeTx<T> {
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
        self.consumes =
            events.into_iter().map(|(event, replay)| (consumer, event, replay)).collect();
    }

    fn consumed_before(&self) -> bool {
        self.consumed_before
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        self.store.may_fail()?;
        let meet = |conflicts: usize| conflicts.checked_sub(1);
        if self.store.conflicts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, meet).is_ok() {
            return Err(StoreError::Retryable("the test wants a conflict".into()));
        }
        let mut held = match self.held.take() {
            Some(held) => held,
            None => self.store.peek().await,
        };
        if self.was_consumed()? {
            return Ok(());
        }
        let mut copy = held.clone();
        for write in self.writes {
            write(&mut copy)?;
        }
        *held = copy;

        let mut ledger = lock(&self.store.ledger);
        ledger.events.append(&mut self.staged.events);
        ledger.audit.append(&mut self.staged.audit);
        ledger.jobs.append(&mut self.staged.jobs);
        ledger.consumed.extend(self.consumes);
        for (scope, reply) in self.staged.replies {
            if let Some(claim) = self.claims.iter().find(|claim| claim.scope == scope) {
                ledger.replies.insert(scope, (claim.fingerprint, reply));
            }
        }
        ledger
            .completed
            .extend(self.fence.filter(|(_, completes)| *completes).map(|(fence, _)| fence));
        Ok(())
    }
}
