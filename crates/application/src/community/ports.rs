//! What this module needs of the store.

use async_trait::async_trait;
use convene_domain::community::{Community, CommunityRef, Membership, Role};
use convene_domain::ids::{CommunityId, UserId};
use convene_domain::text::{DisplayName, Slug};

use super::offers::{Communities, CommunityStanding};
use crate::kernel::page::{Page, PageQuery};
use crate::kernel::store::StoreError;
use crate::kernel::uow::Tx;

/// The constraint that gives a slug, once taken, to one community for good.
pub const SLUG_TAKEN: &str = "community_slugs_taken";

/// The constraint that lets a person be a member of a community once.
pub const MEMBER_ONCE: &str = "members_once";

/// The transaction of this module. Locks are taken in the order community, members; those by id.
#[async_trait]
pub trait CommunityTx: Tx {
    /// Tells which community has, or had, a slug; asked before one is taken. Without a slug it only begins the
    /// transaction.
    ///
    /// # Errors
    /// The store's.
    async fn slug_holder(&mut self, slug: Option<&Slug>)
    -> Result<Option<CommunityId>, StoreError>;

    /// Locks a community for a change of its own row, and reads who the viewer is to it and who holds the slug that it is
    /// to get.
    ///
    /// # Errors
    /// The store's.
    async fn lock_community(
        &mut self,
        community: &CommunityRef,
        viewer: UserId,
        new_slug: Option<&Slug>,
    ) -> Result<Option<LockedCommunity>, StoreError>;

    /// Keeps a community from changing, locks these people's memberships of it, and reads who they are.
    ///
    /// # Errors
    /// The store's.
    async fn lock_members(
        &mut self,
        community: &CommunityRef,
        users: &[UserId],
    ) -> Result<Option<LockedMembers>, StoreError>;

    /// Stages a new community and the reservation of its slug. A slug that somebody else has surfaces from commit as a
    /// violation of [`SLUG_TAKEN`].
    fn insert_community(&mut self, community: &Community);

    /// Stages a change of a locked community. Its slug is reserved if it was not yet, which may fail as in
    /// [`CommunityTx::insert_community`].
    fn update_community(&mut self, community: &Community);

    /// Stages a new membership. If the person became a member meanwhile, that surfaces from commit as a violation of
    /// [`MEMBER_ONCE`].
    fn insert_member(&mut self, membership: &Membership);

    /// Stages a change of a locked membership.
    fn update_member(&mut self, membership: &Membership);

    /// Stages the end of a locked membership.
    fn delete_member(&mut self, membership: &Membership);
}

/// A community whose row is locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedCommunity {
    /// The community, and who the viewer is to it.
    pub seen: SeenCommunity,
    /// Who holds the slug that was asked about.
    pub slug_holder: Option<CommunityId>,
}

/// A community that cannot change, with people whose memberships are locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedMembers {
    /// The community.
    pub community: Community,
    /// Those of the people asked for who have an account.
    pub people: Vec<Person>,
}

/// Somebody with an account, and the membership if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Who it is.
    pub user: UserId,
    /// How the person is called.
    pub display_name: DisplayName,
    /// The person's membership of the community.
    pub membership: Option<Membership>,
}

/// A community as one viewer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenCommunity {
    /// The community.
    pub community: Community,
    /// The viewer's role; none for people who are no members and for the anonymous.
    pub role: Option<Role>,
}

/// A member as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// The membership.
    pub membership: Membership,
    /// How the member is called.
    pub display_name: DisplayName,
}

/// Reads that need no transaction.
#[async_trait]
pub trait CommunityReads: Send + Sync {
    /// A community as the viewer sees it. `None` if there is none.
    ///
    /// # Errors
    /// The store's.
    async fn community(
        &self,
        community: &CommunityRef,
        viewer: Option<UserId>,
    ) -> Result<Option<SeenCommunity>, StoreError>;

    /// These communities as the viewer sees them; in any order, without those that are not there.
    ///
    /// # Errors
    /// The store's.
    async fn communities(
        &self,
        communities: &[CommunityId],
        viewer: Option<UserId>,
    ) -> Result<Vec<SeenCommunity>, StoreError>;

    /// A person's memberships of these communities; in any order.
    ///
    /// # Errors
    /// The store's.
    async fn memberships(
        &self,
        communities: &[CommunityId],
        user: UserId,
    ) -> Result<Vec<MemberView>, StoreError>;

    /// Public communities and those that the viewer is a member of, newest first, without archived ones.
    ///
    /// # Errors
    /// The store's.
    async fn visible_to(
        &self,
        viewer: Option<UserId>,
        query: PageQuery,
    ) -> Result<Page<Community>, StoreError>;

    /// Communities of a person, the one joined last first, without archived ones.
    ///
    /// # Errors
    /// The store's.
    async fn joined_by(
        &self,
        user: UserId,
        query: PageQuery,
    ) -> Result<Page<Community>, StoreError>;

    /// Members of a community by joining.
    ///
    /// # Errors
    /// The store's.
    async fn members_of(
        &self,
        community: CommunityId,
        query: PageQuery,
    ) -> Result<Page<MemberView>, StoreError>;

    /// One member of a community.
    ///
    /// # Errors
    /// The store's.
    async fn member(
        &self,
        community: CommunityId,
        user: UserId,
    ) -> Result<Option<MemberView>, StoreError>;
}

impl SeenCommunity {
    /// Whether the viewer may know that the community exists.
    #[must_use]
    pub fn is_visible(&self) -> bool {
        self.standing().is_visible()
    }

    /// The community as far as permissions depend on it.
    #[must_use]
    pub fn standing(&self) -> CommunityStanding {
        CommunityStanding::of(&self.community, self.role)
    }
}

impl LockedMembers {
    /// One of the people.
    #[must_use]
    pub fn person(&self, user: UserId) -> Option<&Person> {
        self.people.iter().find(|person| person.user == user)
    }

    /// Who one of the people is to the community.
    #[must_use]
    pub fn standing(&self, user: UserId) -> CommunityStanding {
        let role = self.membership(user).map(|membership| membership.role);
        CommunityStanding::of(&self.community, role)
    }

    /// The membership of one of the people.
    #[must_use]
    pub fn membership(&self, user: UserId) -> Option<Membership> {
        self.person(user)?.membership
    }
}

impl Person {
    /// The person as a member.
    #[must_use]
    pub fn as_member(&self, membership: Membership) -> MemberView {
        MemberView { membership, display_name: self.display_name.clone() }
    }
}

#[async_trait]
impl<R: CommunityReads> Communities for R {
    async fn find(
        &self,
        community: &CommunityRef,
        viewer: Option<UserId>,
    ) -> Result<Option<CommunityStanding>, StoreError> {
        Ok(self.community(community, viewer).await?.map(|seen| seen.standing()))
    }
}
