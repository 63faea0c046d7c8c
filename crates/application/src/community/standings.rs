//! Communities and the roles of their members, out of the caches: what a read needs to know before it answers. What changes
//! something reads under its locks instead.

use std::sync::Arc;

use async_trait::async_trait;
use convene_domain::community::{Community, CommunityRef, Role, Visibility};
use convene_domain::ids::{CommunityId, TypedId as _, UserId};
use convene_domain::text::{CommunityName, Description, Slug};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::offers::CommunityStanding;
use super::ports::CommunityReads;
use crate::kernel::cache::{Cached, Caches, Held, Key, Load, Policy, Record, Stale};
use crate::kernel::error::Failure;
use crate::kernel::store::StoreError;

const MIB: u64 = 1 << 20;

/// Communities and roles, cached. Cheap to clone.
#[derive(Clone)]
pub struct Standings {
    caches: Caches,
    reads: Arc<dyn CommunityReads>,
    records: Cached<CommunityId, Community>,
    roles: Cached<RoleKey, Role>,
    slugs: Cached<Slug, CommunityId>,
}

impl Standings {
    /// The caches over what they load from.
    #[must_use]
    pub fn new(reads: Arc<dyn CommunityReads>, caches: &Caches) -> Self {
        let load = Arc::new(FromReads(Arc::clone(&reads)));
        let slugs = Policy { absent: std::time::Duration::ZERO, ..Policy::new("slug", 2 * MIB) };
        Self {
            caches: caches.clone(),
            reads,
            records: caches.of(Policy::new("community", 16 * MIB), load.clone()),
            roles: caches.of(Policy::new("role", 8 * MIB), load.clone()),
            slugs: caches.of(slugs, load),
        }
    }

    /// Whether what is cached is believed at the moment.
    #[must_use]
    pub fn are_believed(&self) -> bool {
        self.caches.are_believed()
    }

    /// A community, if it can be told without waiting.
    #[must_use]
    pub fn peek(&self, community: &CommunityRef) -> Option<Option<Arc<Held<Community>>>> {
        let id = match community {
            CommunityRef::Id(id) => Some(*id),
            CommunityRef::Slug(slug) => self.slugs.peek(slug)?.map(|id| **id),
        };
        match id {
            Some(id) => self.records.peek(&id),
            None => Some(None),
        }
    }

    /// A community, by its id or by a slug that it has or had.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn get(
        &self,
        community: &CommunityRef,
    ) -> Result<Option<Arc<Held<Community>>>, Failure> {
        let id = match community {
            CommunityRef::Id(id) => Some(*id),
            CommunityRef::Slug(slug) => self.slugs.get(slug).await?.map(|id| **id),
        };
        match id {
            Some(id) => self.records.get(&id).await,
            None => Ok(None),
        }
    }

    /// Somebody's role, if it can be told without waiting; none for people who are no members.
    #[must_use]
    pub fn peek_role(&self, community: CommunityId, user: Option<UserId>) -> Option<Option<Role>> {
        let Some(user) = user else { return Some(None) };
        Some(self.roles.peek(&RoleKey { community, user })?.map(|role| **role))
    }

    /// Somebody's role; none for people who are no members.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn role(
        &self,
        community: CommunityId,
        user: Option<UserId>,
    ) -> Result<Option<Role>, Failure> {
        let Some(user) = user else { return Ok(None) };
        Ok(self.roles.get(&RoleKey { community, user }).await?.map(|role| **role))
    }

    /// Who somebody is to a community. None if there is none.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn standing(
        &self,
        community: &CommunityRef,
        viewer: Option<UserId>,
    ) -> Result<Option<CommunityStanding>, Failure> {
        if !self.caches.are_believed() {
            let seen = self.reads.community(community, viewer).await?;
            return Ok(seen.map(|seen| seen.standing()));
        }
        let Some(found) = self.get(community).await? else { return Ok(None) };
        let role = self.role(found.id, viewer).await?;
        Ok(Some(CommunityStanding::of(&found, role)))
    }

    /// A community as it was known last, for a while after the database went away. For what everybody may see.
    #[must_use]
    pub fn last_known(&self, community: &CommunityRef) -> Option<Arc<Held<Community>>> {
        let id = match community {
            CommunityRef::Id(id) => *id,
            CommunityRef::Slug(slug) => **self.slugs.last_known(slug)?,
        };
        self.records.last_known(&id)
    }
}

/// What a role is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RoleKey {
    /// The community.
    pub community: CommunityId,
    /// Its member.
    pub user: UserId,
}

impl Key for CommunityId {
    fn stale(&self) -> Stale {
        Stale::of("community", self.uuid())
    }
}

impl Key for RoleKey {
    fn stale(&self) -> Stale {
        Stale::between("role", self.community.uuid(), self.user.uuid())
    }
}

/// A slug belongs to its first community for good, and that nobody has it is not remembered: no change concerns what is.
impl Key for Slug {
    fn stale(&self) -> Stale {
        Stale::of("slug", Uuid::nil())
    }
}

struct FromReads(Arc<dyn CommunityReads>);

#[async_trait]
impl Load<CommunityId, Community> for FromReads {
    async fn load(&self, key: &CommunityId) -> Result<Option<Community>, StoreError> {
        Ok(self.0.community(&CommunityRef::Id(*key), None).await?.map(|seen| seen.community))
    }
}

#[async_trait]
impl Load<RoleKey, Role> for FromReads {
    async fn load(&self, key: &RoleKey) -> Result<Option<Role>, StoreError> {
        let community = CommunityRef::Id(key.community);
        Ok(self.0.community(&community, Some(key.user)).await?.and_then(|seen| seen.role))
    }
}

#[async_trait]
impl Load<Slug, CommunityId> for FromReads {
    async fn load(&self, key: &Slug) -> Result<Option<CommunityId>, StoreError> {
        let community = CommunityRef::Slug(key.clone());
        Ok(self.0.community(&community, None).await?.map(|seen| seen.community.id))
    }
}

/// A community as processes share it.
#[derive(Serialize, Deserialize)]
struct Shared {
    id: Uuid,
    slug: String,
    name: String,
    description: Option<String>,
    visibility: String,
    archived_at: Option<Timestamp>,
    version: i32,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Record for Community {
    const FORM: &'static str = "community.v1";

    fn encode(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(&Shared {
            id: self.id.uuid(),
            slug: self.slug.to_string(),
            name: self.name.to_string(),
            description: self.description.clone().map(String::from),
            visibility: self.visibility.as_str().to_owned(),
            archived_at: self.archived_at,
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
        .ok()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let shared: Shared = serde_json::from_slice(bytes).ok()?;
        Some(Self {
            id: CommunityId::from_uuid(shared.id),
            slug: Slug::new(shared.slug).ok()?,
            name: CommunityName::new(shared.name).ok()?,
            description: shared.description.map(Description::new).transpose().ok()?,
            visibility: Visibility::parse(&shared.visibility)?,
            archived_at: shared.archived_at,
            version: shared.version,
            created_at: shared.created_at,
            updated_at: shared.updated_at,
        })
    }

    /// Twice its texts: the reply is kept, too.
    fn weight(&self) -> u32 {
        let description = self.description.as_ref().map_or(0, |text| text.as_str().len());
        u32::try_from(1_000 + 2 * (self.name.as_str().len() + description)).unwrap_or(u32::MAX)
    }
}

impl Record for Role {
    const FORM: &'static str = "role.v1";

    fn encode(&self) -> Option<Vec<u8>> {
        Some(self.as_str().into())
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Self::parse(std::str::from_utf8(bytes).ok()?)
    }

    fn weight(&self) -> u32 {
        0
    }
}

impl Record for CommunityId {
    const FORM: &'static str = "slug.v1";

    /// One look-up by the primary key, and a name that somebody chose: not worth sharing.
    fn encode(&self) -> Option<Vec<u8>> {
        None
    }

    fn decode(_: &[u8]) -> Option<Self> {
        None
    }

    fn weight(&self) -> u32 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_community_is_shared_whole() {
        let community = Community {
            id: CommunityId::from_uuid(Uuid::from_u128(1)),
            slug: Slug::new("rust-berlin").unwrap(),
            name: CommunityName::new("Rust Berlin").unwrap(),
            description: Some(Description::new("Über Rust").unwrap()),
            visibility: Visibility::Private,
            archived_at: Some(Timestamp::from_second(9).unwrap()),
            version: 3,
            created_at: Timestamp::from_microsecond(1_234_567).unwrap(),
            updated_at: Timestamp::from_second(8).unwrap(),
        };
        assert_eq!(Community::decode(&community.encode().unwrap()), Some(community));
        assert_eq!(Community::decode(b"{}"), None);
        assert_eq!(Role::decode(&Role::Admin.encode().unwrap()), Some(Role::Admin));
    }
}
