//! The scene of these tests: a service over fakes, and the people who call it.

use convene_application::community::{CommunityService, Standings};
use convene_application::event::EventService;
use convene_application::kernel::cache::Caches;
use convene_application::kernel::error::{Code, Failure};
use convene_application::kernel::idempotency::Reply;
use convene_application::kernel::page::{PageQuery, Travel};
use convene_application::kernel::precondition::{IfMatch, Tags};
use convene_domain::community::{
    AssignableRole, Community, CommunityPatch, CommunityRef, NewCommunity, Visibility,
};
use convene_domain::event::{Capacity, Event, EventPatch, LocalTime, NewEvent, Plan};
use convene_domain::rsvp::Seats;
use convene_domain::text::{CommunityName, Reason, Slug, Title};
use convene_domain::zone::TimeZoneName;
use convene_testkit::fake::{Caller, FakeStore, FixedClock, World, env};
use serde_json::Value;
use std::sync::Arc;

/// A community with one member of each rank, and a stranger.
pub(crate) struct Scene {
    pub(crate) store: FakeStore<World>,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) communities: CommunityService,
    pub(crate) service: EventService,
    pub(crate) community: CommunityRef,
    pub(crate) owner: Caller,
    pub(crate) admin: Caller,
    /// Organises the events of these tests.
    pub(crate) organizer: Caller,
    /// May make events, and organises none of these.
    pub(crate) colleague: Caller,
    pub(crate) member: Caller,
    pub(crate) stranger: Caller,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let store = FakeStore::<World>::default();
        let clock = Arc::new(FixedClock::default());
        let env = env(Arc::clone(&clock));
        let port = Arc::new(store.clone());
        let caches = Caches::none(Arc::clone(&env.random));
        let standings = Standings::new(port.clone(), &caches);
        let communities =
            CommunityService::new(env.clone(), port.clone(), port.clone(), standings.clone());
        let service = EventService::new(env, port.clone(), port, standings, &caches);
        let owner = store.person(1, "Olga").await;
        let new = NewCommunity {
            slug: Slug::new("rust-berlin").expect("the slug is one"),
            name: CommunityName::new("Rust Berlin").expect("the name is one"),
            description: None,
            visibility: Visibility::Public,
        };
        let made = communities.create(&owner.context, owner.principal, Ok(new), None).await;
        let community = CommunityRef::Id(fresh(made.expect("the slug is free")).id);
        let scene = Self {
            admin: store.person(2, "Anna").await,
            organizer: store.person(3, "Emil").await,
            colleague: store.person(4, "Cora").await,
            member: store.person(5, "Mira").await,
            stranger: store.person(6, "Sven").await,
            owner,
            store,
            clock,
            communities,
            service,
            community,
        };
        for (person, role) in [
            (&scene.admin, AssignableRole::Admin),
            (&scene.organizer, AssignableRole::Organizer),
            (&scene.colleague, AssignableRole::Organizer),
            (&scene.member, AssignableRole::Member),
        ] {
            let Caller { context, principal } = person;
            let target = &scene.community;
            scene.communities.join(context, *principal, target, None).await.expect("it is public");
            let Caller { context, principal } = &scene.owner;
            let set = scene.communities.set_role(
                context,
                *principal,
                target,
                person.user(),
                Ok(role),
                None,
            );
            set.await.expect("the owner may");
        }
        scene
    }

    pub(crate) fn people(&self) -> [(&'static str, &Caller); 6] {
        [
            ("owner", &self.owner),
            ("admin", &self.admin),
            ("organizer", &self.organizer),
            ("colleague", &self.colleague),
            ("member", &self.member),
            ("stranger", &self.stranger),
        ]
    }

    pub(crate) async fn create(&self, by: &Caller, new: NewEvent) -> Result<Event, Failure> {
        let Caller { context, principal } = by;
        self.service.create(context, *principal, &self.community, Ok(new), None).await.map(fresh)
    }

    pub(crate) async fn draft(&self) -> Event {
        self.create(&self.organizer, new_event()).await.expect("organizers may")
    }

    pub(crate) async fn published(&self) -> Event {
        let draft = self.draft().await;
        self.publish(&self.organizer, &draft).await.expect("it is a draft")
    }

    pub(crate) async fn update(
        &self,
        by: &Caller,
        event: &Event,
        patch: EventPatch,
    ) -> Result<Event, Failure> {
        let Caller { context, principal } = by;
        let if_match = IfMatch { tags: Tags::Any, etag };
        self.service
            .update(context, *principal, event.id, Ok(patch), &if_match, None)
            .await
            .map(fresh)
    }

    pub(crate) async fn publish(&self, by: &Caller, event: &Event) -> Result<Event, Failure> {
        self.service.publish(&by.context, by.principal, event.id, None).await.map(fresh)
    }

    pub(crate) async fn cancel(&self, by: &Caller, event: &Event) -> Result<Event, Failure> {
        let reason = Ok(Some(Reason::new("The venue is closed.").expect("the reason is one")));
        let Caller { context, principal } = by;
        self.service.cancel(context, *principal, event.id, reason, None).await.map(fresh)
    }

    pub(crate) async fn archive(&self) {
        let if_match = IfMatch { tags: Tags::Any, etag: |_: &Community| String::new() };
        let Caller { context, principal } = &self.owner;
        let archived =
            self.communities.archive(context, *principal, &self.community, &if_match, None);
        archived.await.expect("the owner may");
    }

    pub(crate) async fn hide(&self) {
        let if_match = IfMatch { tags: Tags::Any, etag: |_: &Community| String::new() };
        let visibility = Some(Visibility::Private);
        let patch = Ok(CommunityPatch { visibility, ..CommunityPatch::default() });
        let Caller { context, principal } = &self.owner;
        let hidden =
            self.communities.update(context, *principal, &self.community, patch, &if_match, None);
        hidden.await.expect("the owner may");
    }

    /// As if so many seats were taken and so many parties waited.
    pub(crate) async fn fill(&self, event: &Event, taken: u32, waiting: u32) {
        let mut tables = self.store.peek().await;
        let seats = tables.seating.0.get_mut(&event.id).expect("it has seats");
        *seats = Seats { taken, waiting, ..*seats };
    }

    pub(crate) async fn titles(&self, viewer: Option<&Caller>) -> Result<Vec<String>, Failure> {
        let viewer = viewer.map(Caller::user);
        let query = Ok(PageQuery { limit: 100, travel: Travel::First });
        let page = self.service.of_community(viewer, &self.community, query).await?;
        Ok(page.items.iter().map(|event| event.title.to_string()).collect())
    }

    /// The events recorded about an event, as `type@version`, with their data.
    pub(crate) fn recorded(&self, event: &Event) -> (Vec<String>, Vec<Value>) {
        self.store
            .ledger()
            .events
            .iter()
            .map(|event| serde_json::from_slice::<Value>(&event.envelope).expect("it is JSON"))
            .filter(|recorded| recorded["subject"] == event.id.to_string())
            .map(|recorded| {
                let name = recorded["type"].as_str().expect("a type is text");
                let version = &recorded["aggregateversion"];
                (format!("{name}@{version}"), recorded["data"].clone())
            })
            .unzip()
    }
}

pub(crate) fn new_event() -> NewEvent {
    NewEvent {
        title: Title::new("Spring Hack Day").expect("the title is one"),
        description: None,
        plan: Plan {
            starts_at_local: local("2027-05-01T18:00"),
            ends_at_local: local("2027-05-01T22:00"),
            time_zone: TimeZoneName::new("Europe/Berlin").expect("it is a zone"),
            fold: None,
        },
        rsvp_opens_at: None,
        rsvp_closes_at: None,
        capacity: Capacity::new(40),
    }
}

pub(crate) fn local(text: &str) -> LocalTime {
    LocalTime::parse(text).expect("the time is one")
}

pub(crate) fn titled(title: &str) -> EventPatch {
    let title = Title::new(title).expect("the title is one");
    EventPatch { title: Some(title), ..EventPatch::default() }
}

pub(crate) fn sized(capacity: Option<u32>) -> EventPatch {
    let capacity = capacity.map(|seats| Capacity::new(seats).expect("it is in range"));
    EventPatch { capacity: Some(capacity), ..EventPatch::default() }
}

pub(crate) fn etag(event: &Event) -> String {
    format!("v{}", event.version)
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
