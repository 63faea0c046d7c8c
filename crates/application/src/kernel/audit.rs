//! The audit log as it is read: who did what to which object, and who was refused. How entries come to be is in
//! [`uow`](super::uow) for what was done and in [`refusals`](super::refusals) for what was not.

use async_trait::async_trait;
use convene_domain::ids::{CommunityId, SessionId};
use jiff::Timestamp;
use serde_json::Value;

use super::page::{Page, PageQuery};
use super::store::StoreError;

/// An entry with its place in its community's chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedEntry {
    /// Its number in the chain: dense, from 1.
    pub number: i64,
    /// When it happened.
    pub at: Timestamp,
    /// Who it was: a person's id, or `system`; none if somebody was refused who has not proven to be anybody.
    pub actor: Option<String>,
    /// The login by which the actor was known.
    pub session: Option<SessionId>,
    /// What was done.
    pub action: String,
    /// What it was done to.
    pub object: String,
    /// How it ended: `done` or `refused`.
    pub outcome: String,
    /// The changed fields.
    pub changed: Value,
    /// The request that it happened in.
    pub request_id: String,
    /// The hash over the entry and the hash before it.
    pub hash: Vec<u8>,
    /// The client's address, until it is erased.
    pub client_ip: Option<String>,
    /// The client's user agent, until it is erased.
    pub user_agent: Option<String>,
}

/// Which entries are asked for. One at a time: each has an index of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryFilter {
    /// All.
    Any,
    /// Those of one actor: a person's id, or `system`.
    Actor(String),
    /// Those of one action.
    Action(String),
    /// Those of a time, by when they happened and then by number.
    During {
        /// From this time on.
        since: Option<Timestamp>,
        /// Before this time.
        until: Option<Timestamp>,
    },
}

/// Reads the audit log of a community by number, oldest first.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// A page of it. The sort key is the number; during a time, the key is the microsecond since 1970, and the id the number.
    ///
    /// # Errors
    /// The store's.
    async fn entries(
        &self,
        community: CommunityId,
        filter: &EntryFilter,
        query: PageQuery,
    ) -> Result<Page<LoggedEntry>, StoreError>;
}
