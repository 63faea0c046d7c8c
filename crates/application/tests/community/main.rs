//! The use cases of communities and their members, over fakes.

mod scene;

use bytes::Bytes;
use convene_application::community::CommunityEventLog;
use convene_application::kernel::error::Code;
use convene_application::kernel::events::LoggedEvent;
use convene_application::kernel::idempotency::{
    Idempotency, InvalidKey, KeyClaim, Reply, StoredReply,
};
use convene_application::kernel::log::{CommunityLog, TypeFilter};
use convene_application::kernel::page::{Page, PageQuery};
use convene_application::kernel::precondition::{IfMatch, Tags};
use convene_application::kernel::store::StoreError;
use convene_domain::community::{AssignableRole, Community, CommunityPatch, Role, Visibility};
use convene_domain::ids::CommunityId;
use convene_domain::text::{CommunityName, Slug};
use convene_testkit::fake::Caller;
use jiff::SignedDuration;
use scene::{Scene, all, bad_input, by_id, by_slug, code, etag, new_community};
use serde_json::json;
use std::sync::Arc;

#[tokio::test]
async fn who_makes_a_community_owns_it_and_both_are_recorded() {
    let scene = Scene::bare().await;
    let community = scene.create("rust-berlin", Visibility::Public).await.unwrap();
    let (names, envelopes) = scene.recorded();
    assert_eq!(names, ["community.created@1", "community.member_joined@1"]);
    assert_eq!(envelopes[0]["subject"], community.id.to_string());
    assert_eq!(envelopes[0]["actor"], scene.owner.user().to_string());
    assert_eq!(envelopes[0]["correlationid"], "req-test");
    assert!(envelopes[1]["subject"].as_str().unwrap().starts_with("member_"));
    let owner = scene.owner.user().to_string();
    let id = community.id.to_string();
    let joined = json!({ "community_id": id, "user_id": owner, "role": "owner", "via": "created" });
    assert_eq!(envelopes[1]["data"], joined);
    let member =
        scene.service.own_membership(scene.owner.principal, &by_id(&community)).await.unwrap();
    assert_eq!((member.membership.role, member.display_name.as_str()), (Role::Owner, "Olga"));
    assert_eq!(scene.store.ledger().audit[0].action, "community.create");
}

#[tokio::test]
async fn a_slug_leads_to_one_community_for_good() {
    let scene = Scene::bare().await;
    let community = scene.create("rust-berlin", Visibility::Public).await.unwrap();
    assert_eq!(code(scene.create("rust-berlin", Visibility::Public).await), Code::SlugTaken);

    let rename =
        |slug| CommunityPatch { slug: Some(Slug::new(slug).unwrap()), ..Default::default() };
    let target = by_id(&community);
    scene.update(&scene.owner, &target, rename("rust-bln"), Tags::Any).await.unwrap();
    let found = scene.service.get(None, &by_slug("rust-berlin")).await.unwrap();
    assert_eq!((found.id, found.slug.as_str()), (community.id, "rust-bln"));
    assert_eq!(code(scene.create("rust-berlin", Visibility::Public).await), Code::SlugTaken);

    let other = scene.create("other", Visibility::Public).await.unwrap();
    let stolen = scene.update(&scene.owner, &by_id(&other), rename("rust-berlin"), Tags::Any).await;
    assert_eq!(code(stolen), Code::SlugTaken);
    let back = scene.update(&scene.owner, &target, rename("rust-berlin"), Tags::Any).await.unwrap();
    assert_eq!(back.version, 3);
}

#[tokio::test]
async fn an_update_tells_what_changed_and_changing_nothing_is_no_change() {
    let scene = Scene::bare().await;
    let community = scene.create("rust-berlin", Visibility::Public).await.unwrap();
    let target = by_id(&community);
    let patch = CommunityPatch {
        name: Some(CommunityName::new("Rust Brandenburg").unwrap()),
        visibility: Some(Visibility::Private),
        ..CommunityPatch::default()
    };
    scene.clock.advance(SignedDuration::from_secs(5));
    let updated = scene.update(&scene.owner, &target, patch.clone(), Tags::Any).await.unwrap();
    let (names, envelopes) = scene.recorded();
    assert_eq!(names[2..], ["community.updated@2"]);
    let changed = json!({
        "name": { "old": "Rust Berlin", "new": "Rust Brandenburg" },
        "visibility": { "old": "public", "new": "private" },
    });
    assert_eq!(envelopes[2]["data"]["changed"], changed);

    scene.clock.advance(SignedDuration::from_secs(5));
    let again = scene.update(&scene.owner, &target, patch, Tags::Any).await.unwrap();
    assert_eq!(again, updated);
    assert_eq!(scene.recorded().0.len(), 3);
}

#[tokio::test]
async fn checks_come_in_their_order() {
    let (scene, community) = Scene::new(Visibility::Private).await;
    let target = by_id(&community);
    let update = async |by: &Caller, tags, patch| {
        let if_match = IfMatch { tags, etag };
        let Caller { context, principal } = by;
        code(scene.service.update(context, *principal, &target, patch, &if_match, None).await)
    };
    let stale = || Tags::OneOf(vec!["v0".to_owned()]);
    assert_eq!(update(&scene.stranger, Tags::Absent, bad_input()).await, Code::NotFound);
    assert_eq!(update(&scene.organizer, Tags::Absent, bad_input()).await, Code::Forbidden);
    assert_eq!(update(&scene.admin, Tags::Absent, bad_input()).await, Code::PreconditionRequired);
    assert_eq!(update(&scene.admin, stale(), bad_input()).await, Code::PreconditionFailed);
    let current = Tags::OneOf(vec!["w".to_owned(), etag(&community)]);
    assert_eq!(update(&scene.admin, current, bad_input()).await, Code::ValidationFailed);
    scene.archive(&scene.owner, &target).await.unwrap();
    let patch = Ok(CommunityPatch::default());
    assert_eq!(update(&scene.admin, Tags::Any, patch).await, Code::CommunityArchived);
}

#[tokio::test]
async fn a_private_community_exists_for_its_members_alone() {
    let (scene, community) = Scene::new(Visibility::Private).await;
    let target = by_id(&community);
    assert_eq!(code(scene.service.get(None, &target).await), Code::NotFound);
    for (name, person) in scene.people() {
        let seen = scene.service.get(Some(person.user()), &target).await;
        assert_eq!(seen.is_ok(), name != "stranger", "{name}");
        let listed = scene.service.list(Some(person.user()), all()).await.unwrap();
        assert_eq!(listed.items.len(), usize::from(name != "stranger"), "{name}");
    }
    assert_eq!(code(scene.join(&scene.stranger, &target).await), Code::NotFound);
    assert_eq!(code(scene.leave(&scene.stranger, &target).await), Code::NotFound);
    let members = scene.service.members(scene.stranger.principal, &target, all()).await;
    assert_eq!(code(members), Code::NotFound);
    assert!(scene.service.list(None, all()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn members_are_shown_to_members_by_joining() {
    let (scene, community) = Scene::new(Visibility::Public).await;
    let target = by_id(&community);
    let members = scene.service.members(scene.member.principal, &target, all()).await.unwrap();
    let shown: Vec<_> = members
        .items
        .iter()
        .map(|member| (member.display_name.as_str(), member.membership.role.as_str()))
        .collect();
    let expected =
        [("Olga", "owner"), ("Anna", "admin"), ("Emil", "organizer"), ("Mira", "member")];
    assert_eq!(shown, expected);
    let stranger = scene.stranger.principal;
    let members = scene.service.members(stranger, &target, all()).await;
    assert_eq!(code(members), Code::MembershipRequired);
    let own = scene.service.own_membership(stranger, &target).await;
    assert_eq!(code(own), Code::MembershipRequired);
}

#[tokio::test]
async fn joining_again_changes_nothing_and_coming_back_is_a_new_membership() {
    let (scene, community) = Scene::new(Visibility::Public).await;
    let target = by_id(&community);
    let before = scene.recorded().0.len();
    let joined = scene.join(&scene.stranger, &target).await.unwrap();
    assert_eq!(scene.join(&scene.stranger, &target).await.unwrap(), joined);
    assert_eq!(scene.recorded().0[before..], ["community.member_joined@1"]);
    let mine = scene.service.joined(scene.stranger.principal, all()).await.unwrap();
    assert_eq!(mine.items.iter().map(|mine| mine.id).collect::<Vec<_>>(), [community.id]);

    scene.leave(&scene.stranger, &target).await.unwrap();
    scene.leave(&scene.stranger, &target).await.unwrap();
    assert_eq!(scene.recorded().0[before + 1..], ["community.member_left@2"]);
    let jobs = scene.store.take_jobs();
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].kind, "rsvp.release_member");
    assert_eq!(jobs[0].payload["user"], scene.stranger.user().to_string());

    let back = scene.join(&scene.stranger, &target).await.unwrap();
    assert_ne!(back.membership.id, joined.membership.id);
    assert_eq!(scene.recorded().0[before + 2..], ["community.member_joined@1"]);
}

#[tokio::test]
async fn the_owner_cannot_leave() {
    let (scene, community) = Scene::new(Visibility::Public).await;
    let left = scene.leave(&scene.owner, &by_id(&community)).await;
    assert_eq!(code(left), Code::OwnerCannotLeave);
}

/// Every role that every person may give to every other, as it stands.
#[tokio::test]
async fn roles_are_given_downwards_and_admins_by_the_owner_alone() {
    let roles = [
        ("admin", AssignableRole::Admin),
        ("organizer", AssignableRole::Organizer),
        ("member", AssignableRole::Member),
    ];
    let mut table = Vec::new();
    for actor in 0..5 {
        for target in 0..5 {
            for (name, role) in roles {
                let (scene, community) = Scene::new(Visibility::Public).await;
                let (by, whom) = (scene.people()[actor], scene.people()[target]);
                let done = scene.set_role(by.1, &by_id(&community), whom.1, Ok(role)).await;
                let outcome = match done {
                    Ok(member) => {
                        assert_eq!(member.membership.role, Role::from(role));
                        "200".to_owned()
                    }
                    Err(failure) => failure.code.to_string(),
                };
                table.push((by.0, whom.0, name, outcome));
            }
        }
    }
    for (by, whom, role, outcome) in table {
        let expected = match (by, whom, role) {
            ("stranger", _, _) => "forbidden",
            (_, "stranger", _) => "not_found",
            ("owner", "admin" | "organizer" | "member", _)
            | ("admin", "organizer" | "member", "organizer" | "member") => "200",
            _ => "forbidden",
        };
        assert_eq!(outcome, expected, "{by} makes {whom} {role}");
    }
}

#[tokio::test]
async fn a_role_is_recorded_with_the_one_before_unless_it_is_the_same() {
    let (scene, community) = Scene::new(Visibility::Public).await;
    let target = by_id(&community);
    let before = scene.recorded().0.len();
    for _ in 0..2 {
        let role = Ok(AssignableRole::Organizer);
        scene.set_role(&scene.admin, &target, &scene.member, role).await.unwrap();
    }
    let (names, envelopes) = scene.recorded();
    assert_eq!(names[before..], ["community.member_role_changed@2"]);
    let changed = json!({ "role": { "old": "member", "new": "organizer" } });
    assert_eq!(envelopes[before]["data"]["changed"], changed);
    // What the body says is looked at only once the caller may do this at all.
    let set = |by, whom| scene.set_role(by, &target, whom, bad_input());
    assert_eq!(code(set(&scene.member, &scene.organizer).await), Code::Forbidden);
    assert_eq!(code(set(&scene.admin, &scene.member).await), Code::ValidationFailed);
}

#[tokio::test]
async fn an_archived_community_is_read_only_and_out_of_sight() {
    let (scene, community) = Scene::new(Visibility::Public).await;
    let target = by_id(&community);
    assert_eq!(code(scene.archive(&scene.admin, &target).await), Code::Forbidden);
    scene.archive(&scene.owner, &target).await.unwrap();
    assert_eq!(scene.recorded().0.last().unwrap(), "community.archived@2");

    assert_eq!(code(scene.service.get(None, &target).await), Code::NotFound);
    for (name, person) in scene.people() {
        let seen = scene.service.get(Some(person.user()), &target).await;
        let runs_it = matches!(name, "owner" | "admin");
        assert_eq!(seen.is_ok_and(|seen| seen.archived_at.is_some()), runs_it, "{name}");
        assert!(scene.service.list(Some(person.user()), all()).await.unwrap().items.is_empty());
        assert!(scene.service.joined(person.principal, all()).await.unwrap().items.is_empty());
        let expected = if runs_it { Code::CommunityArchived } else { Code::NotFound };
        assert_eq!(code(scene.join(person, &target).await), expected, "{name}");
        assert_eq!(code(scene.leave(person, &target).await), expected, "{name}");
    }
    assert_eq!(code(scene.archive(&scene.owner, &target).await), Code::CommunityArchived);
    let set = scene.set_role(&scene.owner, &target, &scene.member, Ok(AssignableRole::Admin)).await;
    assert_eq!(code(set), Code::CommunityArchived);
    // Its slug stays taken.
    assert_eq!(code(scene.create("rust-berlin", Visibility::Public).await), Code::SlugTaken);
}

#[tokio::test]
async fn an_invalid_key_is_told_only_to_those_who_may_act() {
    let (scene, community) = Scene::new(Visibility::Private).await;
    let target = by_id(&community);
    fn done<T>(_: &T) -> StoredReply {
        reply(String::new())
    }
    let if_match = IfMatch { tags: Tags::Absent, etag };
    for (by, expected) in
        [(&scene.stranger, Code::NotFound), (&scene.owner, Code::ValidationFailed)]
    {
        let Caller { context, principal } = by;
        let key = Some(Idempotency { claim: Err(InvalidKey.into()), render: done });
        let joined = scene.service.join(context, *principal, &target, key).await;
        assert_eq!(code(joined), expected);
        let key = || Some(Idempotency { claim: Err(InvalidKey.into()), render: done });
        assert_eq!(code(scene.service.leave(context, *principal, &target, key()).await), expected);
        let archived = scene.service.archive(context, *principal, &target, &if_match, key()).await;
        assert_eq!(code(archived), expected);
    }
    let Caller { context, principal } = &scene.member;
    let key = Some(Idempotency { claim: Err(InvalidKey.into()), render: done });
    let forbidden = scene.service.archive(context, *principal, &target, &if_match, key).await;
    assert_eq!(code(forbidden), Code::Forbidden);
}

fn key<T>(number: u8, render: fn(&T) -> StoredReply) -> Option<Idempotency<T>> {
    let claim = Ok(KeyClaim { scope: [number; 32], fingerprint: [number; 32] });
    Some(Idempotency { claim, render })
}

fn reply(body: String) -> StoredReply {
    let body = Bytes::from(body);
    StoredReply { status: 201, location: None, etag: None, body }
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_reply_and_has_no_second_effect() {
    let scene = Scene::bare().await;
    let Caller { context, principal } = &scene.owner;
    let create = async |slug| {
        let input = Ok(new_community(slug, Visibility::Public));
        let key = key(1, |community: &Community| reply(community.id.to_string()));
        scene.service.create(context, *principal, input, key).await.unwrap()
    };
    let Reply::Fresh(community) = create("rust-berlin").await else { panic!("the first") };
    let Reply::Replayed(replayed) = create("rust-berlin").await else { panic!("the second") };
    assert_eq!(replayed.body, community.id.to_string());
    assert_eq!(scene.recorded().0.len(), 2);

    // A replay wins over a tag that the first request made stale.
    let archive = async || {
        let if_match = IfMatch { tags: Tags::OneOf(vec!["v1".to_owned()]), etag };
        let key = key(2, |(): &()| reply(String::new()));
        let target = by_id(&community);
        scene.service.archive(context, *principal, &target, &if_match, key).await
    };
    assert!(matches!(archive().await, Ok(Reply::Fresh(()))));
    assert!(matches!(archive().await, Ok(Reply::Replayed(_))));
}

#[tokio::test]
async fn a_failure_at_any_step_leaves_nothing_of_the_change() {
    let (scene, community) = Scene::new(Visibility::Public).await;
    let target = by_id(&community);
    for attempt in 0.. {
        let before = (scene.store.peek().await.clone(), scene.recorded().0.len());
        scene.store.fail_after(attempt);
        let left = scene.leave(&scene.member, &target).await;
        if scene.store.heal() {
            left.unwrap();
            assert!(attempt >= 3, "a beginning, a read and a commit");
            break;
        }
        assert_eq!(code(left), Code::Unavailable);
        assert_eq!((scene.store.peek().await.clone(), scene.recorded().0.len()), before);
        assert!(scene.store.ledger().jobs.is_empty());
    }
}

/// A log with one event, which tells what it was asked for.
struct OneEvent(CommunityId);

#[async_trait::async_trait]
impl CommunityLog for OneEvent {
    async fn page(
        &self,
        community: CommunityId,
        filter: &TypeFilter,
        query: PageQuery,
    ) -> Result<Page<LoggedEvent>, StoreError> {
        assert_eq!((community, filter), (self.0, &TypeFilter::Module("rsvp".to_owned())));
        assert_eq!(query.limit, 100);
        Ok(Page { items: Vec::new(), has_more: false, next: None, prev: None })
    }
}

#[tokio::test]
async fn the_event_log_is_for_the_owner_and_admins() {
    let (scene, community) = Scene::new(Visibility::Public).await;
    let log =
        CommunityEventLog::new(Arc::new(scene.store.clone()), Arc::new(OneEvent(community.id)));
    for (name, person) in scene.people() {
        let filter = TypeFilter::Module("rsvp".to_owned());
        let query = all().map(|query| (filter, query));
        let read = log.page(person.principal, &by_slug("rust-berlin"), query).await;
        assert_eq!(read.is_ok(), matches!(name, "owner" | "admin"), "{name}");
    }
}
