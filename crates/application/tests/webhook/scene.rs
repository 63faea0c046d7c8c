//! A community with one person of each rank, and a receiver for its webhooks.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use convene_application::kernel::clock::Clock as _;
use convene_application::kernel::context::RequestContext;
use convene_application::kernel::env::Env;
use convene_application::kernel::error::{Checked, Code, Failure};
use convene_application::kernel::events::{Consumer as _, LoggedEvent, NewEvent};
use convene_application::kernel::idempotency::{Idempotency, KeyClaim, Reply, StoredReply};
use convene_application::kernel::jobs::{Handler, LeasedJob, NewJob, Outcome};
use convene_application::kernel::log::{CommunityLog, TypeFilter};
use convene_application::kernel::page::{Page, PageKey, PageQuery, Travel};
use convene_application::kernel::precondition::{IfMatch, Tags};
use convene_application::kernel::store::StoreError;
use convene_application::webhook::ports::DeliveryView;
use convene_application::webhook::{
    CreatedEndpoint, Drain, DrainOptions, Drainer, EndpointChange, EndpointInput, FanOut, Notices,
    Replays, RotatedEndpoint, Rotation, WebhookService, handlers,
};
use convene_contracts::rsvp::RsvpConfirmed;
use convene_contracts::{CloudEvent, EventPayload};
use convene_domain::community::{
    Community, CommunityRef, Membership, NewCommunity, Role, Visibility,
};
use convene_domain::ids::{CommunityId, DeliveryId, RsvpId, TypedId, WebhookId};
use convene_domain::text::{CommunityName, Slug};
use convene_domain::webhook::{Endpoint, SignatureScheme};
use convene_testkit::fake::webhook::{FakeReceiver, FakeSigner, FakeUrlPolicy, Webhooks};
use convene_testkit::fake::{Caller, FakeMailer, FakeSealer, FakeStore, FixedClock, World, env};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use uuid::Uuid;

pub(crate) struct Scene {
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) env: Env,
    pub(crate) world: FakeStore<World>,
    pub(crate) store: FakeStore<Webhooks>,
    pub(crate) receiver: Arc<FakeReceiver>,
    pub(crate) mailer: Arc<FakeMailer>,
    log: Arc<FakeLog>,
    pub(crate) service: WebhookService,
    pub(crate) fan_out: Arc<FanOut>,
    handlers: HashMap<&'static str, Arc<dyn Handler>>,
    pub(crate) community: CommunityId,
    pub(crate) owner: Caller,
    pub(crate) admin: Caller,
    pub(crate) organizer: Caller,
    pub(crate) member: Caller,
    pub(crate) stranger: Caller,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let clock = Arc::new(FixedClock::default());
        let env = env(Arc::clone(&clock));
        let (world, store) = (FakeStore::<World>::default(), FakeStore::<Webhooks>::default());
        let (receiver, mailer) = (Arc::<FakeReceiver>::default(), Arc::<FakeMailer>::default());
        let (world_port, port) = (Arc::new(world.clone()), Arc::new(store.clone()));
        let (signer, sealer) = (Arc::<FakeSigner>::default(), Arc::new(FakeSealer));
        let service = WebhookService::new(
            env.clone(),
            port.clone(),
            port.clone(),
            world_port.clone(),
            Arc::new(FakeUrlPolicy),
            signer.clone(),
            sealer.clone(),
        );
        let drainer = Drainer::new(
            env.clone(),
            port.clone(),
            port.clone(),
            receiver.clone(),
            signer,
            sealer,
            DrainOptions { batch: 4, concurrency: 2 },
        );
        let notices = Notices::new(port.clone(), world_port.clone(), world_port, mailer.clone());
        let log = Arc::<FakeLog>::default();
        let replays = Replays::new(env.clone(), port.clone(), port.clone(), log.clone());
        let handlers = handlers(drainer, notices, replays, clock.clone(), port.clone());
        let scene = Self {
            fan_out: Arc::new(FanOut::new(env.clone(), port.clone(), port)),
            handlers: handlers.into_iter().map(|handler| (handler.kind(), handler)).collect(),
            community: CommunityId::from_uuid(Uuid::from_u128(1)),
            owner: world.person(1, "Olga").await,
            admin: world.person(2, "Anna").await,
            organizer: world.person(3, "Emil").await,
            member: world.person(4, "Mira").await,
            stranger: world.person(5, "Sven").await,
            clock,
            env,
            world,
            store,
            receiver,
            mailer,
            log,
            service,
        };
        scene.found_community().await;
        scene
    }

    async fn found_community(&self) {
        let new = NewCommunity {
            slug: Slug::new("rust-berlin").unwrap(),
            name: CommunityName::new("Rust Berlin").unwrap(),
            description: None,
            visibility: Visibility::Public,
        };
        let now = self.clock.now();
        let mut world = self.world.peek().await;
        world.communities.slugs.insert(new.slug.clone(), self.community);
        let community = Community::new(self.community, new, now);
        world.communities.communities.insert(self.community, community);
        for (caller, role) in [
            (&self.owner, Role::Owner),
            (&self.admin, Role::Admin),
            (&self.organizer, Role::Organizer),
            (&self.member, Role::Member),
        ] {
            let id = TypedId::from_uuid(caller.user().uuid());
            let membership = Membership::new(id, self.community, caller.user(), role, now);
            world.communities.members.insert(id, membership);
        }
    }

    /// Changes the community behind the scenes.
    pub(crate) async fn change_community(&self, change: impl FnOnce(&mut Community)) {
        let mut world = self.world.peek().await;
        change(world.communities.communities.get_mut(&self.community).unwrap());
    }

    pub(crate) async fn archive(&self) {
        let now = self.clock.now();
        self.change_community(|community| community.archived_at = Some(now)).await;
    }

    pub(crate) fn target(&self) -> CommunityRef {
        CommunityRef::Id(self.community)
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }

    pub(crate) async fn create(
        &self,
        by: &Caller,
        input: Checked<EndpointInput>,
        key: Option<Idempotency<CreatedEndpoint>>,
    ) -> Result<Reply<CreatedEndpoint>, Failure> {
        self.service.create(&by.context, by.principal, &self.target(), input, key).await
    }

    /// An endpoint of the owner for these events; a second has passed since.
    pub(crate) async fn endpoint(&self, event_types: &[&str]) -> Endpoint {
        let created = self.create(&self.owner, Ok(input(event_types)), None).await;
        self.advance(1);
        fresh(created.unwrap()).endpoint
    }

    pub(crate) async fn update(
        &self,
        webhook: WebhookId,
        change: EndpointChange,
    ) -> Result<Endpoint, Failure> {
        let Caller { context, principal } = &self.owner;
        let (if_match, target) = (any(), self.target());
        let change = Ok(change);
        self.service
            .update(context, *principal, &target, webhook, change, &if_match, None)
            .await
            .map(fresh)
    }

    pub(crate) async fn resend(&self, webhook: WebhookId, delivery: DeliveryId) -> DeliveryView {
        let Caller { context, principal } = &self.owner;
        let target = self.target();
        let reply =
            self.service.resend(context, *principal, &target, webhook, delivery, None).await;
        fresh(reply.unwrap())
    }

    pub(crate) async fn deliveries(&self, webhook: WebhookId) -> Vec<DeliveryView> {
        let (principal, target) = (self.owner.principal, self.target());
        self.service.deliveries(principal, &target, webhook, all()).await.unwrap().items
    }

    /// An event of the community with its place in the log, recorded now.
    pub(crate) fn event<P: EventPayload>(&self, subject: impl TypedId, data: P) -> LoggedEvent
    where
        P::Subject: From<String>,
    {
        let context = RequestContext {
            traceparent: Some("00-trace".to_owned()),
            ..self.owner.context.clone()
        };
        let recorder = self.env.recorder(&context, self.clock.now(), Some(self.community));
        logged(recorder.event(subject, 1, data))
    }

    pub(crate) fn confirmed(&self) -> LoggedEvent {
        self.event(RsvpId::from_uuid(Uuid::from_u128(8)), RsvpConfirmed::example())
    }

    pub(crate) async fn publish(&self, event: &LoggedEvent) {
        self.fan_out.consume(event).await.unwrap();
    }

    /// Has the log hold an event, without giving it to anybody.
    pub(crate) fn record(&self, event: &LoggedEvent) {
        let mut events = self.log.0.lock().unwrap();
        let position = events.len() as i64 + 1;
        events.push(LoggedEvent { position, ..event.clone() });
    }

    pub(crate) async fn rotate(&self, webhook: WebhookId, rotation: Rotation) -> RotatedEndpoint {
        let Caller { context, principal } = &self.owner;
        let (target, rotation) = (self.target(), Ok(rotation));
        let service = &self.service;
        let rotated =
            service.rotate_secret(context, *principal, &target, webhook, rotation, None).await;
        fresh(rotated.unwrap())
    }

    /// Runs the jobs that wait, once each.
    pub(crate) async fn run_jobs(&self) -> Vec<(&'static str, Outcome)> {
        let mut ended = Vec::new();
        for job in self.store.take_jobs() {
            ended.push((job.kind, self.run(&job).await));
        }
        ended
    }

    pub(crate) async fn run(&self, job: &NewJob) -> Outcome {
        let lease = LeasedJob {
            id: 7,
            kind: job.kind.to_owned(),
            queue: job.queue.to_owned(),
            group: job.group.clone(),
            payload: job.payload.clone(),
            attempt: 1,
            max_attempts: job.max_attempts,
            epoch: 1,
            traceparent: job.traceparent.clone(),
            correlation_id: job.correlation_id.clone(),
            control: convene_application::kernel::jobs::RunControl::default(),
        };
        self.handlers[job.kind].run(&lease).await
    }

    pub(crate) async fn drain(&self, webhook: WebhookId) -> Outcome {
        self.run(&Drain { webhook }.job(self.community)).await
    }

    /// Drains, and waits as long as the job wants to, until nothing is left to send; returns the waits in seconds.
    pub(crate) async fn drain_to_the_end(&self, webhook: WebhookId) -> Vec<u64> {
        let mut waits = Vec::new();
        while let Outcome::Snooze(wait) = self.drain(webhook).await {
            waits.push(wait.as_secs());
            self.clock.advance(SignedDuration::try_from(wait).unwrap());
            assert!(waits.len() < 1_000, "it never ends");
        }
        waits
    }

    /// The types and data of what was recorded.
    pub(crate) fn recorded(&self) -> Vec<(&'static str, CloudEvent)> {
        let events = self.store.ledger().events.into_iter();
        let read = |event: &NewEvent| serde_json::from_slice(&event.envelope).unwrap();
        events.map(|event| (event.event_type, read(&event))).collect()
    }
}

/// The event log of the community.
#[derive(Default)]
struct FakeLog(Mutex<Vec<LoggedEvent>>);

#[async_trait::async_trait]
impl CommunityLog for FakeLog {
    async fn page(
        &self,
        _: CommunityId,
        filter: &TypeFilter,
        query: PageQuery,
    ) -> Result<Page<LoggedEvent>, StoreError> {
        assert_eq!(filter, &TypeFilter::Any);
        let after = query.edge().map_or(0, |edge| edge.sort);
        let events = self.0.lock().unwrap();
        let behind = events.iter().filter(|event| event.position > after);
        let fetched = behind.take(usize::try_from(query.fetch()).unwrap()).cloned().collect();
        Ok(query.page(fetched, |event| PageKey { sort: event.position, id: event.id }))
    }
}

pub(crate) fn logged(event: NewEvent) -> LoggedEvent {
    LoggedEvent {
        position: 1,
        id: event.id,
        event_type: event.event_type.to_owned(),
        version: event.version,
        community: event.community,
        envelope: event.envelope,
        replay: 0,
    }
}

pub(crate) fn input(event_types: &[&str]) -> EndpointInput {
    EndpointInput {
        url: "https://hooks.example/crm".to_owned(),
        event_types: event_types.iter().map(ToString::to_string).collect(),
        description: None,
        signature: SignatureScheme::Hmac,
        headers: BTreeMap::new(),
        rate_limit: None,
    }
}

pub(crate) fn key<T>(number: u8, render: fn(&T) -> StoredReply) -> Idempotency<T> {
    Idempotency { claim: Ok(KeyClaim { scope: [number; 32], fingerprint: [7; 32] }), render }
}

pub(crate) fn bytes(status: u16, body: impl Into<Bytes>) -> StoredReply {
    StoredReply { status, location: None, etag: None, body: body.into() }
}

pub(crate) fn etag(endpoint: &Endpoint) -> String {
    format!("{}-{}", endpoint.id, endpoint.updated_at)
}

pub(crate) fn any() -> IfMatch<Endpoint> {
    IfMatch { tags: Tags::Any, etag }
}

pub(crate) fn all() -> Checked<PageQuery> {
    Ok(PageQuery { limit: 100, travel: Travel::First })
}

pub(crate) fn code<T: std::fmt::Debug>(outcome: Result<T, Failure>) -> Code {
    outcome.expect_err("it is refused").code
}

pub(crate) fn fresh<T: std::fmt::Debug>(reply: Reply<T>) -> T {
    match reply {
        Reply::Fresh(outcome) => outcome,
        Reply::Replayed(reply) => panic!("a replay: {reply:?}"),
    }
}

pub(crate) fn header<'r>(
    request: &'r convene_application::webhook::egress::SignedRequest,
    name: &str,
) -> &'r str {
    let found = request.headers.iter().find(|(header, _)| header == name);
    &found.unwrap_or_else(|| panic!("{name} is missing")).1
}

pub(crate) fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

pub(crate) fn seconds(from: Timestamp, to: Timestamp) -> i64 {
    Duration::try_from(to.duration_since(from)).unwrap().as_secs().cast_signed()
}
