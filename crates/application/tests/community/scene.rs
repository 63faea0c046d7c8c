//! The scene of these tests: a service over fakes, and the people who call it.

use convene_application::community::ports::MemberView;
use convene_application::community::{CommunityService, Standings};
use convene_application::kernel::cache::Caches;
use convene_application::kernel::error::{Checked, Code, Failure};
use convene_application::kernel::idempotency::Reply;
use convene_application::kernel::page::{PageQuery, Travel};
use convene_application::kernel::precondition::{IfMatch, Tags};
use convene_domain::community::{
    AssignableRole, Community, CommunityPatch, CommunityRef, NewCommunity, Visibility,
};
use convene_domain::text::{CommunityName, Slug};
use convene_testkit::fake::{Caller, FakeStore, FixedClock, World, env};
use jiff::SignedDuration;
use serde_json::Value;
use std::sync::Arc;

/// One community with one member of each rank, and a stranger.
pub(crate) struct Scene {
    pub(crate) store: FakeStore<World>,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) service: CommunityService,
    pub(crate) owner: Caller,
    pub(crate) admin: Caller,
    pub(crate) organizer: Caller,
    pub(crate) member: Caller,
    pub(crate) stranger: Caller,
}

impl Scene {
    pub(crate) async fn bare() -> Self {
        let store = FakeStore::<World>::default();
        let clock = Arc::new(FixedClock::default());
        let port = Arc::new(store.clone());
        let env = env(Arc::clone(&clock));
        let standings = Standings::new(port.clone(), &Caches::none(Arc::clone(&env.random)));
        Self {
            service: CommunityService::new(env, port.clone(), port, standings),
            owner: store.person(1, "Olga").await,
            admin: store.person(2, "Anna").await,
            organizer: store.person(3, "Emil").await,
            member: store.person(4, "Mira").await,
            stranger: store.person(5, "Sven").await,
            clock,
            store,
        }
    }

    pub(crate) async fn new(visibility: Visibility) -> (Self, Community) {
        let scene = Self::bare().await;
        let community = scene.create("rust-berlin", Visibility::Public).await;
        let community = community.expect("the slug is free");
        let target = by_id(&community);
        for (person, role) in [
            (&scene.admin, Some(AssignableRole::Admin)),
            (&scene.organizer, Some(AssignableRole::Organizer)),
            (&scene.member, None),
        ] {
            scene.clock.advance(SignedDuration::from_secs(1));
            scene.join(person, &target).await.expect("the community is public");
            if let Some(role) = role {
                let set = scene.set_role(&scene.owner, &target, person, Ok(role)).await;
                set.expect("the owner may");
            }
        }
        let patch = CommunityPatch { visibility: Some(visibility), ..CommunityPatch::default() };
        let community = scene.update(&scene.owner, &target, patch, Tags::Any).await;
        (scene, community.expect("the owner may"))
    }

    pub(crate) fn people(&self) -> [(&'static str, &Caller); 5] {
        [
            ("owner", &self.owner),
            ("admin", &self.admin),
            ("organizer", &self.organizer),
            ("member", &self.member),
            ("stranger", &self.stranger),
        ]
    }

    pub(crate) async fn create(
        &self,
        slug: &str,
        visibility: Visibility,
    ) -> Result<Community, Failure> {
        let Caller { context, principal } = &self.owner;
        let new = Ok(new_community(slug, visibility));
        self.service.create(context, *principal, new, None).await.map(fresh)
    }

    pub(crate) async fn update(
        &self,
        by: &Caller,
        community: &CommunityRef,
        patch: CommunityPatch,
        tags: Tags,
    ) -> Result<Community, Failure> {
        let if_match = IfMatch { tags, etag };
        let Caller { context, principal } = by;
        self.service
            .update(context, *principal, community, Ok(patch), &if_match, None)
            .await
            .map(fresh)
    }

    pub(crate) async fn archive(
        &self,
        by: &Caller,
        community: &CommunityRef,
    ) -> Result<(), Failure> {
        let if_match = IfMatch { tags: Tags::Any, etag };
        let Caller { context, principal } = by;
        self.service.archive(context, *principal, community, &if_match, None).await.map(fresh)
    }

    pub(crate) async fn join(
        &self,
        who: &Caller,
        community: &CommunityRef,
    ) -> Result<MemberView, Failure> {
        self.service.join(&who.context, who.principal, community, None).await.map(fresh)
    }

    pub(crate) async fn leave(
        &self,
        who: &Caller,
        community: &CommunityRef,
    ) -> Result<(), Failure> {
        self.service.leave(&who.context, who.principal, community, None).await.map(fresh)
    }

    pub(crate) async fn set_role(
        &self,
        by: &Caller,
        community: &CommunityRef,
        whom: &Caller,
        role: Checked<AssignableRole>,
    ) -> Result<MemberView, Failure> {
        self.service
            .set_role(&by.context, by.principal, community, whom.user(), role, None)
            .await
            .map(fresh)
    }

    /// The recorded events as `type@version`, with the whole envelopes.
    pub(crate) fn recorded(&self) -> (Vec<String>, Vec<Value>) {
        let envelopes: Vec<Value> = self
            .store
            .ledger()
            .events
            .iter()
            .map(|event| serde_json::from_slice(&event.envelope).expect("an envelope is JSON"))
            .collect();
        let names = envelopes
            .iter()
            .map(|event| {
                let name = event["type"].as_str().expect("a type is text");
                format!("{name}@{}", event["aggregateversion"])
            })
            .collect();
        (names, envelopes)
    }
}

pub(crate) fn new_community(slug: &str, visibility: Visibility) -> NewCommunity {
    NewCommunity {
        slug: Slug::new(slug).expect("the test's slug is one"),
        name: CommunityName::new("Rust Berlin").expect("the name is one"),
        description: None,
        visibility,
    }
}

pub(crate) fn by_id(community: &Community) -> CommunityRef {
    CommunityRef::Id(community.id)
}

pub(crate) fn by_slug(slug: &str) -> CommunityRef {
    CommunityRef::Slug(Slug::new(slug).expect("the test's slug is one"))
}

pub(crate) fn etag(community: &Community) -> String {
    format!("v{}", community.version)
}

pub(crate) fn fresh<T>(reply: Reply<T>) -> T {
    match reply {
        Reply::Fresh(outcome) => outcome,
        Reply::Replayed(_) => panic!("a replay"),
    }
}

#[track_caller]
pub(crate) fn code<T>(outcome: Result<T, Failure>) -> Code {
    match outcome {
        Ok(_) => panic!("expected a failure"),
        Err(failure) => failure.code,
    }
}

pub(crate) fn all() -> Checked<PageQuery> {
    Ok(PageQuery { limit: 100, travel: Travel::First })
}

pub(crate) fn bad_input<T>() -> Checked<T> {
    Err(Failure::invalid(Vec::new()))
}
