//! The store of communities and their members.

use std::sync::Arc;

use convene_application::community::ports::{
    CommunityReads, CommunityTx, LockedMembers, MEMBER_ONCE, SLUG_TAKEN, SeenCommunity,
};
use convene_application::kernel::page::{PageQuery, Travel};
use convene_application::kernel::store::StoreError;
use convene_application::kernel::uow::Uow;
use convene_domain::community::{
    Community, CommunityPatch, CommunityRef, Membership, NewCommunity, Role, Visibility,
};
use convene_domain::ids::{TypedId, UserId};
use convene_domain::text::{CommunityName, Description, Slug};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::walk::walk;

/// The ports under test, over one store that holds nothing but people.
pub struct Ports {
    /// Units of work.
    pub uow: Uow<dyn CommunityTx>,
    /// Reads.
    pub reads: Arc<dyn CommunityReads>,
    /// People with an account, named by [`NAMES`].
    pub people: [UserId; 3],
}

/// How the people are called.
pub const NAMES: [&str; 3] = ["Ada", "Ben", "Cleo"];

/// Makes a test of each part of the contract. The argument is an expression that makes a future of [`Ports`] and of
/// something that is kept until the test ends.
#[macro_export]
macro_rules! community_contract {
    ($ports:expr) => {
        $crate::community_contract! { $ports;
            a_community_is_kept_as_it_is
            a_slug_is_taken_for_good
            a_lock_reads_who_asks
            people_are_locked_with_their_memberships
            a_person_is_a_member_once
            a_membership_changes_and_ends
            what_is_not_committed_never_was
            public_communities_and_ones_own_are_listed_newest_first
            ones_communities_are_listed_by_joining
            members_are_listed_by_joining
        }
    };
    ($ports:expr; $($part:ident)+) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $part() {
            let (ports, _kept) = $ports.await;
            $crate::contract::community::$part(&ports).await;
        }
    )+};
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::constant(1_806_580_800, 123_456_000) + SignedDuration::from_secs(second)
}

pub(super) fn id<T: TypedId>(number: u128) -> T {
    T::from_uuid(Uuid::from_u128(number))
}

pub(super) fn slug(text: &str) -> Slug {
    Slug::new(text).expect("it is a slug")
}

pub(super) fn community(number: u128, made_at: Timestamp) -> Community {
    let new = NewCommunity {
        slug: slug(&format!("community-{number}")),
        name: CommunityName::new(format!("Community {number}")).expect("it is a name"),
        description: None,
        visibility: Visibility::Public,
    };
    Community::new(id(number), new, made_at)
}

pub(super) fn member(
    number: u128,
    of: &Community,
    user: UserId,
    joined_at: Timestamp,
) -> Membership {
    Membership::new(id(number), of.id, user, Role::Member, joined_at)
}

fn renamed(community: &Community, to: &str) -> Community {
    let patch = CommunityPatch { slug: Some(slug(to)), ..CommunityPatch::default() };
    let patched = community.patched(patch, at(50)).expect("it is not archived");
    patched.expect("the slug is another")
}

impl Ports {
    async fn tx(&self) -> Box<dyn CommunityTx> {
        self.uow.begin(Vec::new()).await.expect("the store is up")
    }

    async fn write(&self, stage: impl FnOnce(&mut dyn CommunityTx)) -> Result<(), StoreError> {
        let mut tx = self.tx().await;
        stage(&mut *tx);
        tx.commit().await
    }

    async fn insert(&self, communities: &[Community], members: &[Membership]) {
        let stage = |tx: &mut dyn CommunityTx| {
            communities.iter().for_each(|community| tx.insert_community(community));
            members.iter().for_each(|member| tx.insert_member(member));
        };
        self.write(stage).await.expect("the rows fit");
    }

    async fn find(
        &self,
        community: &CommunityRef,
        viewer: Option<UserId>,
    ) -> Option<SeenCommunity> {
        self.reads.community(community, viewer).await.expect("the store is up")
    }

    async fn lock_members(&self, community: &Community, users: &[UserId]) -> LockedMembers {
        let mut tx = self.tx().await;
        let locked = tx.lock_members(&community.id.into(), users).await;
        locked.expect("the store is up").expect("the community is there")
    }
}

#[track_caller]
fn assert_violates(outcome: &Result<(), StoreError>, constraint: &str) {
    assert!(matches!(outcome, Err(error) if error.violates(constraint)), "{outcome:?}");
}

/// A community is found by its id, by its slug and by slugs that it had, as it was written.
pub async fn a_community_is_kept_as_it_is(ports: &Ports) {
    let plain = community(1, at(0));
    let full = Community {
        description: Some(Description::new("We meet\non Saturdays.").expect("it is one")),
        visibility: Visibility::Private,
        ..community(2, at(1))
    }
    .archived(at(2))
    .expect("it was not archived");
    ports.insert(&[plain.clone(), full.clone()], &[]).await;
    for community in [&plain, &full] {
        for by in [CommunityRef::Id(community.id), CommunityRef::Slug(community.slug.clone())] {
            let seen = ports.find(&by, None).await.expect("it is there");
            assert_eq!(seen, SeenCommunity { community: community.clone(), role: None });
        }
    }
    let renamed = renamed(&plain, "another-name");
    ports.write(|tx| tx.update_community(&renamed)).await.expect("the slug is free");
    for by in [&plain.slug, &renamed.slug] {
        let seen = ports.find(&CommunityRef::Slug(by.clone()), None).await;
        assert_eq!(seen.expect("it is there").community, renamed);
    }
    assert_eq!(ports.find(&CommunityRef::Id(id(3)), None).await, None);
    assert_eq!(ports.find(&CommunityRef::Slug(slug("nowhere")), None).await, None);
}

/// Nobody gets a slug that another has or had; a community may take back its own.
pub async fn a_slug_is_taken_for_good(ports: &Ports) {
    let first = community(1, at(0));
    ports.insert(std::slice::from_ref(&first), &[]).await;
    let moved = renamed(&first, "another-name");
    ports.write(|tx| tx.update_community(&moved)).await.expect("the slug is free");
    for taken in [&first.slug, &moved.slug] {
        let holder = ports.tx().await.slug_holder(Some(taken)).await.expect("the store is up");
        assert_eq!(holder, Some(first.id));
        let thief = Community { slug: taken.clone(), ..community(2, at(1)) };
        assert_violates(&ports.write(|tx| tx.insert_community(&thief)).await, SLUG_TAKEN);
    }
    let none = ports.tx().await.slug_holder(Some(&slug("free"))).await.expect("the store is up");
    assert_eq!(none, None);
    assert_eq!(ports.tx().await.slug_holder(None).await.expect("the store is up"), None);

    let second = community(2, at(1));
    ports.insert(std::slice::from_ref(&second), &[]).await;
    let thief = renamed(&second, first.slug.as_str());
    assert_violates(&ports.write(|tx| tx.update_community(&thief)).await, SLUG_TAKEN);
    let back = renamed(&moved, first.slug.as_str());
    ports.write(|tx| tx.update_community(&back)).await.expect("the slug is its own");
    assert_eq!(ports.find(&back.id.into(), None).await.expect("it is there").community, back);
}

/// Locking a community tells the role of who asks, and who holds the slug that it is to get.
pub async fn a_lock_reads_who_asks(ports: &Ports) {
    let (one, other) = (community(1, at(0)), community(2, at(1)));
    let [ada, ben, _] = ports.people;
    let owner = Membership { role: Role::Owner, ..member(1, &one, ada, at(0)) };
    ports.insert(&[one.clone(), other.clone()], &[owner]).await;
    for (viewer, role) in [(ada, Some(Role::Owner)), (ben, None)] {
        for by in [CommunityRef::Id(one.id), CommunityRef::Slug(one.slug.clone())] {
            let mut tx = ports.tx().await;
            let locked = tx.lock_community(&by, viewer, Some(&other.slug)).await;
            let locked = locked.expect("the store is up").expect("it is there");
            assert_eq!(locked.seen, SeenCommunity { community: one.clone(), role });
            assert_eq!(locked.slug_holder, Some(other.id));
        }
        assert_eq!(ports.find(&one.id.into(), Some(viewer)).await.expect("it is there").role, role);
    }
    let absent = ports.tx().await.lock_community(&CommunityRef::Id(id(3)), ada, None).await;
    assert_eq!(absent.expect("the store is up"), None);
}

/// Whoever has an account is found, with the membership if there is one.
pub async fn people_are_locked_with_their_memberships(ports: &Ports) {
    let (one, other) = (community(1, at(0)), community(2, at(1)));
    let [ada, ben, cleo] = ports.people;
    let members = [member(1, &one, ada, at(0)), member(2, &other, ben, at(1))];
    ports.insert(&[one.clone(), other], &members).await;
    let locked = ports.lock_members(&one, &[ben, ada, id(999)]).await;
    assert_eq!(locked.community, one);
    assert_eq!(locked.people.len(), 2);
    assert_eq!(locked.membership(ada), Some(members[0]));
    assert_eq!(locked.membership(ben), None);
    assert_eq!(locked.person(ben).map(|ben| ben.display_name.as_str()), Some("Ben"));
    assert_eq!(locked.person(cleo), None);
    let absent = ports.tx().await.lock_members(&CommunityRef::Slug(slug("nowhere")), &[ada]).await;
    assert_eq!(absent.expect("the store is up"), None);
}

/// A second membership of the same person is refused.
pub async fn a_person_is_a_member_once(ports: &Ports) {
    let community = community(1, at(0));
    let [ada, ..] = ports.people;
    let first = member(1, &community, ada, at(0));
    ports.insert(std::slice::from_ref(&community), &[first]).await;
    let second = member(2, &community, ada, at(1));
    assert_violates(&ports.write(|tx| tx.insert_member(&second)).await, MEMBER_ONCE);
    assert_eq!(ports.lock_members(&community, &[ada]).await.membership(ada), Some(first));
}

/// A role changes in place, and a membership that ended leaves room for another.
pub async fn a_membership_changes_and_ends(ports: &Ports) {
    let community = community(1, at(0));
    let [ada, ..] = ports.people;
    let joined = member(1, &community, ada, at(0));
    ports.insert(std::slice::from_ref(&community), &[joined]).await;
    let promoted = joined.with_role(Role::Admin, at(1)).expect("it is another role");
    ports.write(|tx| tx.update_member(&promoted)).await.expect("it is there");
    assert_eq!(ports.lock_members(&community, &[ada]).await.membership(ada), Some(promoted));
    let shown = ports.reads.member(community.id, ada).await.expect("the store is up");
    let shown = shown.expect("Ada is a member");
    assert_eq!((shown.membership, shown.display_name.as_str()), (promoted, "Ada"));

    ports.write(|tx| tx.delete_member(&promoted)).await.expect("it is there");
    assert_eq!(ports.reads.member(community.id, ada).await.expect("the store is up"), None);
    let again = member(2, &community, ada, at(2));
    ports.insert(&[], &[again]).await;
    assert_eq!(ports.lock_members(&community, &[ada]).await.membership(ada), Some(again));
}

/// Dropping a unit of work, and one that fails, leave nothing.
pub async fn what_is_not_committed_never_was(ports: &Ports) {
    let community = community(1, at(0));
    let [ada, ..] = ports.people;
    let mut tx = ports.tx().await;
    tx.insert_community(&community);
    assert_eq!(tx.slug_holder(Some(&community.slug)).await.expect("the store is up"), None);
    drop(tx);
    assert_eq!(ports.find(&community.id.into(), None).await, None);

    let twice = |tx: &mut dyn CommunityTx| {
        tx.insert_community(&community);
        tx.insert_member(&member(1, &community, ada, at(0)));
        tx.insert_member(&member(2, &community, ada, at(0)));
    };
    assert_violates(&ports.write(twice).await, MEMBER_ONCE);
    assert_eq!(ports.find(&community.id.into(), None).await, None);
}

/// Anonymous people see public communities, members their private ones too, nobody archived ones.
pub async fn public_communities_and_ones_own_are_listed_newest_first(ports: &Ports) {
    let [ada, ben, _] = ports.people;
    // Two were made in the same instant: their ids tell which comes first.
    let made = [0, 1, 1, 2, 3, 4, 5, 6];
    let mut communities: Vec<Community> =
        (1..).zip(made).map(|(number, second)| community(number, at(second))).collect();
    communities[3].visibility = Visibility::Private;
    communities[5].visibility = Visibility::Private;
    communities[6] = communities[6].archived(at(9)).expect("it was not archived");
    let members = [
        member(1, &communities[0], ada, at(7)),
        member(2, &communities[3], ada, at(7)),
        member(3, &communities[6], ada, at(7)),
        member(4, &communities[5], ben, at(7)),
    ];
    ports.insert(&communities, &members).await;
    for (viewer, expected) in [
        (None, vec![8, 5, 3, 2, 1]),
        (Some(ada), vec![8, 5, 4, 3, 2, 1]),
        (Some(ben), vec![8, 6, 5, 3, 2, 1]),
    ] {
        let listed = walk(async |query| {
            let page = ports.reads.visible_to(viewer, query).await.expect("the store is up");
            page.map(|community| community.id)
        })
        .await;
        assert_eq!(listed, expected.into_iter().map(id).collect::<Vec<_>>(), "{viewer:?}");
    }
}

/// The community that was joined last comes first; archived ones are left out.
pub async fn ones_communities_are_listed_by_joining(ports: &Ports) {
    let [ada, ben, cleo] = ports.people;
    let mut communities: Vec<Community> = (1..=6).map(|number| community(number, at(0))).collect();
    communities[1].visibility = Visibility::Private;
    communities[4] = communities[4].archived(at(9)).expect("it was not archived");
    let joined = [(1, 3), (2, 5), (3, 5), (4, 1), (5, 9), (6, 2)];
    let mut members: Vec<_> = joined
        .iter()
        .map(|(number, second)| {
            member(*number, &communities[*number as usize - 1], ada, at(*second))
        })
        .collect();
    members.push(member(7, &communities[0], ben, at(4)));
    ports.insert(&communities, &members).await;
    let of = async |user| {
        walk(async |query| {
            let page = ports.reads.joined_by(user, query).await.expect("the store is up");
            page.map(|community| community.id)
        })
        .await
    };
    assert_eq!(of(ada).await, [3, 2, 1, 6, 4].map(id));
    assert_eq!(of(ben).await, [id(1)]);
    assert!(of(cleo).await.is_empty());
}

/// Members are shown with their names, whoever joined first first.
pub async fn members_are_listed_by_joining(ports: &Ports) {
    let [ada, ben, cleo] = ports.people;
    let (one, other) = (community(1, at(0)), community(2, at(0)));
    let members = [
        member(1, &one, cleo, at(3)),
        member(3, &one, ada, at(5)),
        member(2, &one, ben, at(5)),
        member(4, &other, ada, at(1)),
    ];
    ports.insert(&[one.clone(), other], &members).await;
    let listed = walk(async |query| {
        let page = ports.reads.members_of(one.id, query).await.expect("the store is up");
        page.map(|member| (member.display_name.to_string(), member.membership))
    })
    .await;
    let expected = [("Cleo", members[0]), ("Ben", members[2]), ("Ada", members[1])]
        .map(|(name, member)| (name.to_owned(), member));
    assert_eq!(listed, expected);
    let first = PageQuery { limit: 3, travel: Travel::First };
    let all = ports.reads.members_of(one.id, first).await.expect("the store is up");
    assert!(!all.has_more, "an exact fit is the last page");
}
