//! The audit log in an operator's hands: whether its chains are whole, and what is personal, erased.

use std::sync::Arc;

use async_trait::async_trait;
use convene_domain::ids::{CommunityId, TypedId as _, UserId};
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::jobs::entry;
use crate::kernel::context::RequestContext;
use crate::kernel::error::Failure;
use crate::kernel::store::StoreError;
use crate::kernel::uow::{Tx, Uow};

/// The most entries that one statement looks at.
const BATCH: u32 = 1_000;

/// A place in a chain, with the hash there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The number of the entry; 0 in front of the first.
    pub number: i64,
    /// Its hash; empty in front of the first.
    pub hash: Vec<u8>,
}

/// What is wrong with a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum Flaw {
    /// The entry of this number is not there.
    Missing,
    /// The entry, or its hash, is not what it was.
    Changed,
    /// What is personal of the entry is not what it was.
    PersonalChanged,
    /// Something personal belongs to no entry.
    PersonalStray,
    /// The end of the chain is not where, or what, it was.
    EndChanged,
}

/// A flaw, and the number of the first entry that shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The entry.
    pub number: i64,
    /// What is wrong.
    pub flaw: Flaw,
}

/// A run of entries, recomputed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// How many follow from those before them.
    pub entries: u32,
    /// The last of them; none if there was none.
    pub last: Option<Link>,
    /// The first that does not.
    pub fault: Option<Fault>,
}

/// Reads chains, and recomputes them from what is stored.
#[async_trait]
pub trait AuditChains: Send + Sync {
    /// The first chain, from this one on, of which anything is there. The nil UUID is that of what happens outside
    /// communities.
    ///
    /// # Errors
    /// The store's.
    async fn chain_from(&self, from: Uuid) -> Result<Option<Uuid>, StoreError>;

    /// Recomputes the entries behind a link, at most so many.
    ///
    /// # Errors
    /// The store's.
    async fn recompute(&self, chain: Uuid, behind: &Link, limit: u32) -> Result<Run, StoreError>;

    /// The end of a chain, as the sequencer goes on from it.
    ///
    /// # Errors
    /// The store's.
    async fn end(&self, chain: Uuid) -> Result<Option<Link>, StoreError>;

    /// The first number outside of 1 to `last` that something personal is kept under.
    ///
    /// # Errors
    /// The store's.
    async fn stray(&self, chain: Uuid, last: i64) -> Result<Option<i64>, StoreError>;
}

/// What became of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainReport {
    /// Whose it is; none for what happens outside communities.
    pub community: Option<CommunityId>,
    /// How many entries follow from those before them.
    pub entries: u64,
    /// Where that ends.
    pub end: Link,
    /// What is wrong, if anything is.
    pub fault: Option<Fault>,
}

/// Recomputes chains in batches, in constant memory.
pub struct AuditVerifier {
    chains: Arc<dyn AuditChains>,
}

impl AuditVerifier {
    /// The use case over its port.
    #[must_use]
    pub fn new(chains: Arc<dyn AuditChains>) -> Self {
        Self { chains }
    }

    /// Recomputes one community's chain, or all there are, and hands in what became of each.
    ///
    /// # Errors
    /// The store's.
    pub async fn verify(
        &self,
        community: Option<CommunityId>,
        mut told: impl FnMut(ChainReport) + Send,
    ) -> Result<(), Failure> {
        if let Some(community) = community {
            told(self.chain(community.uuid()).await?);
            return Ok(());
        }
        let mut from = Uuid::nil();
        while let Some(chain) = self.chains.chain_from(from).await? {
            told(self.chain(chain).await?);
            match chain.as_u128().checked_add(1) {
                Some(next) => from = Uuid::from_u128(next),
                None => break,
            }
        }
        Ok(())
    }

    async fn chain(&self, chain: Uuid) -> Result<ChainReport, StoreError> {
        let community = (!chain.is_nil()).then(|| CommunityId::from_uuid(chain));
        let mut report = ChainReport { community, entries: 0, end: Link::default(), fault: None };
        let mut before = None;
        loop {
            report.fault = self.walk(chain, &mut report).await?;
            if report.fault.is_some() {
                return Ok(report);
            }
            // Read behind the entries, with which it is written.
            let end = self.chains.end(chain).await?.unwrap_or_default();
            if end == report.end {
                break;
            }
            // The sequencer went on meanwhile, and the entries that it added are to be found now.
            if end.number > report.end.number && before != Some(report.end.number) {
                before = Some(report.end.number);
                continue;
            }
            let flaw =
                if end.number > report.end.number { Flaw::Missing } else { Flaw::EndChanged };
            let number =
                if flaw == Flaw::Missing { report.end.number + 1 } else { report.end.number };
            report.fault = Some(Fault { number, flaw });
            return Ok(report);
        }
        if let Some(number) = self.chains.stray(chain, report.end.number).await?
            // One that the sequencer has added since.
            && self.chains.end(chain).await?.is_none_or(|end| !(1..=end.number).contains(&number))
        {
            report.fault = Some(Fault { number, flaw: Flaw::PersonalStray });
        }
        Ok(report)
    }

    /// Goes on from the end of the report to that of the entries.
    async fn walk(
        &self,
        chain: Uuid,
        report: &mut ChainReport,
    ) -> Result<Option<Fault>, StoreError> {
        loop {
            let run = self.chains.recompute(chain, &report.end, BATCH).await?;
            report.entries += u64::from(run.entries);
            report.end = run.last.unwrap_or_else(|| report.end.clone());
            if run.fault.is_some() || run.entries < BATCH {
                return Ok(run.fault);
            }
        }
    }
}

/// What is to be erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// Of this person's entries alone.
    pub user: Option<UserId>,
    /// Of entries before this time alone.
    pub before: Option<Timestamp>,
}

/// What one step of erasing came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// How many entries lost what is personal.
    pub entries: u64,
    /// The chain and the number up to which it was looked for; none at the end.
    pub until: Option<(Uuid, i64)>,
}

/// The transaction that erases what is personal. The chains hold its salted digest alone, so they stay whole.
#[async_trait]
pub trait AuditTx: Tx {
    /// Erases it of those entries behind a place that fit, looking at so many.
    ///
    /// # Errors
    /// The store's.
    async fn erase(
        &mut self,
        what: &Erasure,
        behind: Option<(Uuid, i64)>,
        limit: u32,
    ) -> Result<Erased, StoreError>;
}

/// Erases what is personal.
pub struct AuditEraser {
    uow: Uow<dyn AuditTx>,
}

impl AuditEraser {
    /// The use case over its port.
    #[must_use]
    pub fn new(uow: Uow<dyn AuditTx>) -> Self {
        Self { uow }
    }

    /// Erases addresses and user agents, in steps of which each leaves its own audit entry, or counts them alone. Returns
    /// of how many entries.
    ///
    /// # Errors
    /// The store's; what was done until then stays.
    pub async fn erase(
        &self,
        context: &RequestContext,
        what: &Erasure,
        for_good: bool,
    ) -> Result<u64, Failure> {
        let object = what.user.map_or_else(|| "*".to_owned(), |user| user.to_string());
        let before = what.before.map(|before| before.to_string());
        let mut place = None;
        let mut total = 0;
        loop {
            let mut tx = self.uow.begin(Vec::new()).await?;
            let step = tx.erase(what, place, BATCH).await?;
            if for_good && step.entries > 0 {
                let facts = json!({ "entries": step.entries, "before": before });
                tx.staged().audit.push(entry(context, "audit.erase", object.clone(), facts));
                tx.commit().await?;
            }
            total += step.entries;
            match step.until {
                Some(until) => place = Some(until),
                None => return Ok(total),
            }
        }
    }
}
