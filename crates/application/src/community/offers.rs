//! What this module offers to others: which community is meant, and who somebody is to it.

use async_trait::async_trait;
use convene_domain::community::{Community, CommunityRef, Role, Visibility};
use convene_domain::ids::{CommunityId, UserId};

pub use super::standings::Standings;
use crate::kernel::authz::Standing;
use crate::kernel::error::{Code, Failure};
use crate::kernel::store::StoreError;

/// A community as far as permissions depend on it, with the viewer's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommunityStanding {
    /// The community.
    pub id: CommunityId,
    /// Who may see it.
    pub visibility: Visibility,
    /// Whether it is archived, hence read-only.
    pub archived: bool,
    /// The viewer's role; none for people who are no members and for the anonymous.
    pub role: Option<Role>,
}

impl CommunityStanding {
    /// Who somebody with this role, or none, is to a community.
    #[must_use]
    pub fn of(community: &Community, role: Option<Role>) -> Self {
        Self {
            id: community.id,
            visibility: community.visibility,
            archived: community.archived_at.is_some(),
            role,
        }
    }

    /// Whether the viewer may know that the community exists.
    #[must_use]
    pub fn is_visible(&self) -> bool {
        self.standing().sees_community(self.is_private(), self.archived)
    }

    /// Whether it is for its members alone.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.visibility == Visibility::Private
    }

    /// What the viewer may do in the community.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing { community: self.id, event: None, role: self.role, organizes_event: false }
    }

    /// Refuses changes in an archived community.
    ///
    /// # Errors
    /// 409 `community_archived`.
    pub fn ensure_writable(&self) -> Result<(), Failure> {
        if self.archived { Err(archived()) } else { Ok(()) }
    }
}

/// Finds communities. Every store of communities does.
#[async_trait]
pub trait Communities: Send + Sync {
    /// A community, by its id or by a slug that it has or had, and who the viewer is to it. `None` if there is none;
    /// whether the viewer may know of it is the caller's question.
    ///
    /// # Errors
    /// The store's.
    async fn find(
        &self,
        community: &CommunityRef,
        viewer: Option<UserId>,
    ) -> Result<Option<CommunityStanding>, StoreError>;

    /// A community by its id, and who the viewer is to it.
    ///
    /// # Errors
    /// The store's.
    async fn standing(
        &self,
        community: CommunityId,
        viewer: Option<UserId>,
    ) -> Result<Option<CommunityStanding>, StoreError> {
        self.find(&CommunityRef::Id(community), viewer).await
    }

    /// The community that is meant by an id or a slug in a path.
    ///
    /// # Errors
    /// The store's.
    async fn resolve(&self, slug_or_id: &str) -> Result<Option<CommunityId>, StoreError> {
        let Some(community) = CommunityRef::parse(slug_or_id) else { return Ok(None) };
        Ok(self.find(&community, None).await?.map(|found| found.id))
    }
}

/// The community takes no changes any more.
pub(crate) fn archived() -> Failure {
    Failure::new(Code::CommunityArchived, "The community is archived and therefore read-only.")
}
