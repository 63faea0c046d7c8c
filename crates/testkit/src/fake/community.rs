//! Communities and their members.

use std::collections::BTreeMap;

use async_trait::async_trait;
use convene_application::community::ports::{
    CommunityReads, CommunityTx, LockedCommunity, LockedMembers, MEMBER_ONCE, MemberView, Person,
    SLUG_TAKEN, SeenCommunity,
};
use convene_application::kernel::idempotency::KeyClaim;
use convene_application::kernel::page::{Page, PageKey, PageQuery};
use convene_application::kernel::store::StoreError;
use convene_application::kernel::uow::Begin;
use convene_domain::community::{Community, CommunityRef, Membership, Visibility};
use convene_domain::ids::{CommunityId, MembershipId, TypedId as _, UserId};
use convene_domain::text::Slug;

use super::page::{Order, page};
use super::store::{FakeStore, FakeTx};
use super::user::HasUsers;

/// The tables of communities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Communities {
    /// Communities by id.
    pub communities: BTreeMap<CommunityId, Community>,
    /// Who has, or had, each slug.
    pub slugs: BTreeMap<Slug, CommunityId>,
    /// Memberships by id.
    pub members: BTreeMap<MembershipId, Membership>,
}

/// Tables that hold communities among others.
pub trait HasCommunities: HasUsers {
    /// The communities.
    fn communities(&self) -> &Communities;
    /// The communities, to be changed.
    fn communities_mut(&mut self) -> &mut Communities;
}

impl Communities {
    /// The community that is meant.
    pub fn find(&self, community: &CommunityRef) -> Option<&Community> {
        let id = match community {
            CommunityRef::Id(id) => id,
            CommunityRef::Slug(slug) => self.slugs.get(slug)?,
        };
        self.communities.get(id)
    }

    /// Somebody's membership.
    pub fn membership(&self, community: CommunityId, user: UserId) -> Option<&Membership> {
        self.members.values().find(|member| member.community == community && member.user == user)
    }

    fn seen(&self, community: &CommunityRef, viewer: Option<UserId>) -> Option<SeenCommunity> {
        let community = self.find(community)?.clone();
        let membership = viewer.and_then(|viewer| self.membership(community.id, viewer));
        Some(SeenCommunity { role: membership.map(|member| member.role), community })
    }

    fn reserve_slug(&mut self, community: &Community) -> Result<(), StoreError> {
        let holder = self.slugs.entry(community.slug.clone()).or_insert(community.id);
        if *holder == community.id {
            Ok(())
        } else {
            Err(StoreError::Unique { constraint: SLUG_TAKEN.to_owned() })
        }
    }
}

#[async_trait]
impl<T: HasCommunities> CommunityTx for FakeTx<T> {
    async fn slug_holder(
        &mut self,
        slug: Option<&Slug>,
    ) -> Result<Option<CommunityId>, StoreError> {
        let tables = self.read().await?.communities();
        Ok(slug.and_then(|slug| tables.slugs.get(slug)).copied())
    }

    async fn lock_community(
        &mut self,
        community: &CommunityRef,
        viewer: UserId,
        new_slug: Option<&Slug>,
    ) -> Result<Option<LockedCommunity>, StoreError> {
        let tables = self.read().await?.communities();
        let slug_holder = new_slug.and_then(|slug| tables.slugs.get(slug)).copied();
        let seen = tables.seen(community, Some(viewer));
        Ok(seen.map(|seen| LockedCommunity { seen, slug_holder }))
    }

    async fn lock_members(
        &mut self,
        community: &CommunityRef,
        users: &[UserId],
    ) -> Result<Option<LockedMembers>, StoreError> {
        let tables = self.read().await?;
        let Some(community) = tables.communities().find(community).cloned() else {
            return Ok(None);
        };
        let person = |user: &UserId| {
            Some(Person {
                user: *user,
                display_name: tables.users().0.get(user)?.profile.display_name.clone(),
                membership: tables.communities().membership(community.id, *user).copied(),
            })
        };
        let people = users.iter().filter_map(person).collect();
        Ok(Some(LockedMembers { community, people }))
    }

    fn insert_community(&mut self, community: &Community) {
        let community = community.clone();
        self.write(move |tables| {
            let tables = tables.communities_mut();
            tables.reserve_slug(&community)?;
            tables.communities.insert(community.id, community);
            Ok(())
        });
    }

    fn update_community(&mut self, community: &Community) {
        self.insert_community(community);
    }

    fn insert_member(&mut self, membership: &Membership) {
        let membership = *membership;
        self.write(move |tables| {
            let tables = tables.communities_mut();
            if tables.membership(membership.community, membership.user).is_some() {
                return Err(StoreError::Unique { constraint: MEMBER_ONCE.to_owned() });
            }
            tables.members.insert(membership.id, membership);
            Ok(())
        });
    }

    fn update_member(&mut self, membership: &Membership) {
        let membership = *membership;
        self.write(move |tables| {
            tables.communities_mut().members.insert(membership.id, membership);
            Ok(())
        });
    }

    fn delete_member(&mut self, membership: &Membership) {
        let id = membership.id;
        self.write(move |tables| {
            tables.communities_mut().members.remove(&id);
            Ok(())
        });
    }
}

#[async_trait]
impl<T: HasCommunities> CommunityReads for FakeStore<T> {
    async fn community(
        &self,
        community: &CommunityRef,
        viewer: Option<UserId>,
    ) -> Result<Option<SeenCommunity>, StoreError> {
        Ok(self.tables().await?.communities().seen(community, viewer))
    }

    async fn communities(
        &self,
        communities: &[CommunityId],
        viewer: Option<UserId>,
    ) -> Result<Vec<SeenCommunity>, StoreError> {
        let tables = self.tables().await?;
        let seen = |id: &CommunityId| tables.communities().seen(&(*id).into(), viewer);
        Ok(communities.iter().filter_map(seen).collect())
    }

    async fn memberships(
        &self,
        communities: &[CommunityId],
        user: UserId,
    ) -> Result<Vec<MemberView>, StoreError> {
        let tables = self.tables().await?;
        let membership = |id: &CommunityId| tables.communities().membership(*id, user);
        let members = communities.iter().filter_map(membership);
        Ok(members.filter_map(|member| view(&*tables, member)).collect())
    }

    async fn visible_to(
        &self,
        viewer: Option<UserId>,
        query: PageQuery,
    ) -> Result<Page<Community>, StoreError> {
        let tables = self.tables().await?;
        let tables = tables.communities();
        let is_listed = |community: &&Community| {
            let is_member = || viewer.and_then(|viewer| tables.membership(community.id, viewer));
            community.archived_at.is_none()
                && (community.visibility == Visibility::Public || is_member().is_some())
        };
        let listed = tables.communities.values().filter(is_listed).cloned().collect();
        Ok(page(listed, Order::NewestFirst, query, |community| PageKey {
            sort: community.created_at.as_microsecond(),
            id: community.id.uuid(),
        }))
    }

    async fn joined_by(
        &self,
        user: UserId,
        query: PageQuery,
    ) -> Result<Page<Community>, StoreError> {
        let tables = self.tables().await?;
        let tables = tables.communities();
        let joined = tables.members.values().filter(|member| member.user == user);
        let joined = joined
            .filter_map(|member| {
                Some((*member, tables.communities.get(&member.community)?.clone()))
            })
            .filter(|(_, community)| community.archived_at.is_none())
            .collect();
        let page = page(joined, Order::NewestFirst, query, |(member, _)| key(member));
        Ok(page.map(|(_, community)| community))
    }

    async fn members_of(
        &self,
        community: CommunityId,
        query: PageQuery,
    ) -> Result<Page<MemberView>, StoreError> {
        let tables = self.tables().await?;
        let of_community =
            tables.communities().members.values().filter(|member| member.community == community);
        let members = of_community.filter_map(|member| view(&*tables, member)).collect();
        Ok(page(members, Order::OldestFirst, query, |member| key(&member.membership)))
    }

    async fn member(
        &self,
        community: CommunityId,
        user: UserId,
    ) -> Result<Option<MemberView>, StoreError> {
        let tables = self.tables().await?;
        let membership = tables.communities().membership(community, user);
        Ok(membership.and_then(|member| view(&*tables, member)))
    }
}

#[async_trait]
impl<T: HasCommunities> Begin<dyn CommunityTx> for FakeStore<T> {
    async fn begin(&self, claims: Vec<KeyClaim>) -> Result<Box<dyn CommunityTx>, StoreError> {
        Ok(Box::new(self.unit(claims)?))
    }
}

fn view<T: HasCommunities>(tables: &T, membership: &Membership) -> Option<MemberView> {
    let display_name = tables.users().0.get(&membership.user)?.profile.display_name.clone();
    Some(MemberView { membership: *membership, display_name })
}

fn key(membership: &Membership) -> PageKey {
    PageKey { sort: membership.joined_at.as_microsecond(), id: membership.id.uuid() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::contract::community::NAMES;
    use crate::contract::community::Ports;
    use crate::fake::World;

    async fn ports() -> (Ports, ()) {
        let store = FakeStore::<World>::default();
        let mut people = Vec::new();
        for (number, name) in (1..).zip(NAMES) {
            people.push(store.person(number, name).await.user());
        }
        let people = people.try_into().expect("there are three");
        let (uow, reads) = (Arc::new(store.clone()), Arc::new(store.clone()));
        (Ports { uow, reads, people }, ())
    }

    crate::community_contract!(ports());
}
