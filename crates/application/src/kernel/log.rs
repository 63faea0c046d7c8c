//! A community's event log, as its owner and admins read it.

use async_trait::async_trait;
use convene_domain::ids::CommunityId;

use super::events::LoggedEvent;
use super::page::{Page, PageQuery};
use super::store::StoreError;

/// Which event types are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeFilter {
    /// All.
    Any,
    /// Those of one module, by its name.
    Module(String),
    /// One type.
    Exact(String),
}

/// Reads the event log of a community by position, oldest first.
#[async_trait]
pub trait CommunityLog: Send + Sync {
    /// A page of it. The sort key is the position, the id the event's.
    ///
    /// # Errors
    /// The store's.
    async fn page(
        &self,
        community: CommunityId,
        filter: &TypeFilter,
        query: PageQuery,
    ) -> Result<Page<LoggedEvent>, StoreError>;
}
