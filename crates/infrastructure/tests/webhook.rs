//! The store of webhooks: held to its contract, and what a delivery costs.

use std::sync::Arc;
use std::time::Duration;

use convene_application::kernel::clock::Clock as _;
use convene_application::kernel::env::Env;
use convene_application::kernel::events::Consumer as _;
use convene_application::kernel::jobs::{
    Claim, Job as _, JobQueue, LeasedJob, Outcome, RunJob as _,
};
use convene_application::kernel::secrets::Sealer as _;
use convene_application::kernel::uow::Begin;
use convene_application::kernel::wake::Wake;
use convene_application::webhook::ports::{DeliveryQueue, WebhookTx};
use convene_application::webhook::{Drain, DrainOptions, Drainer, FanOut};
use convene_domain::ids::{CommunityId, TypedId as _, UserId};
use convene_domain::webhook::{Endpoint, EndpointUrl, EventTypes, NewEndpoint};
use convene_infrastructure::postgres::PgStore;
use convene_infrastructure::postgres::migrate;
use convene_infrastructure::postgres::pool::{Pool, PoolOptions};
use convene_testkit::contract::webhook::Ports;
use convene_testkit::database::TestDatabase;
use convene_testkit::fake::webhook::{FakeReceiver, FakeSigner, answer, confirmed_rsvp};
use convene_testkit::fake::{FakeSealer, FixedClock, env};
use convene_testkit::poll::poll_until;
use convene_testkit::wiretap::{Count, Wiretap};
use jiff::SignedDuration;
use tokio_postgres::NoTls;
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(5);

async fn database() -> TestDatabase {
    TestDatabase::create(
        async |url| migrate::migrate(&url.into()).await.map(|_| ()),
        migrate::migrations_hash(),
    )
    .await
}

fn store(url: String, connections: usize) -> PgStore {
    let options = PoolOptions::new(url.into(), connections);
    let pool = Pool::new(&options, tokio::runtime::Handle::current()).expect("the URL is one");
    PgStore::new(pool, Arc::new(Wake::default()))
}

async fn ports() -> (Ports, TestDatabase) {
    let database = database().await;
    let store = store(database.app_url(), 4);
    let (uow, reads) = (Arc::new(store.clone()), Arc::new(store.clone()));
    (Ports { uow, reads, queue: Arc::new(store) }, database)
}

convene_testkit::webhook_contract!(ports());

/// An endpoint, and what delivers to it.
struct Scene {
    store: PgStore,
    clock: Arc<FixedClock>,
    env: Env,
    receiver: Arc<FakeReceiver>,
    fan_out: FanOut,
    drainer: Drainer,
    endpoint: Endpoint,
}

impl Scene {
    async fn new(url: String) -> Self {
        let store = store(url, 1);
        let port = Arc::new(store.clone());
        let (clock, receiver) = (Arc::<FixedClock>::default(), Arc::<FakeReceiver>::default());
        let env = env(clock.clone());
        let endpoint = endpoints(&store, &env, CommunityId::from_uuid(Uuid::nil()), 1).await;
        let endpoint = endpoint.into_iter().next().expect("it was made");
        clock.advance(SignedDuration::from_secs(1));
        let drainer = Drainer::new(
            env.clone(),
            port.clone(),
            port.clone(),
            receiver.clone(),
            Arc::<FakeSigner>::default(),
            Arc::new(FakeSealer),
            DrainOptions::default(),
        );
        let fan_out = FanOut::new(env.clone(), port.clone(), port);
        Self { store, clock, env, receiver, fan_out, drainer, endpoint }
    }

    async fn publish(&self) {
        self.publish_in(self.endpoint.community).await;
    }

    async fn publish_in(&self, community: CommunityId) {
        let event = confirmed_rsvp(&self.env, community);
        self.fan_out.consume(&event).await.expect("the event is taken");
    }

    async fn claim(&self, free: i32) -> Vec<LeasedJob> {
        let claim = Claim {
            worker: Uuid::nil(),
            kinds: vec![Drain::KIND],
            free: vec![(Drain::QUEUE, free)],
            lease: Duration::from_secs(30),
        };
        JobQueue::claim(&self.store, &claim).await.expect("jobs are claimed")
    }

    async fn lease(&self) -> LeasedJob {
        poll_until(SOON, "a job is due", async || self.claim(1).await.pop()).await
    }

    async fn drain(&self, lease: &LeasedJob) -> Outcome {
        self.drainer.run(Drain { webhook: self.endpoint.id }, lease).await
    }
}

/// So many new endpoints of a community that want everything.
async fn endpoints(
    store: &PgStore,
    env: &Env,
    community: CommunityId,
    count: usize,
) -> Vec<Endpoint> {
    let begun = Begin::<dyn WebhookTx>::begin(store, Vec::new()).await;
    let mut tx = begun.expect("a unit of work begins");
    let make = |_| {
        let new = NewEndpoint {
            url: EndpointUrl::new("https://hooks.example/").expect("it is a URL"),
            event_types: EventTypes::new(vec!["*".to_owned()]).expect("there is one"),
            description: None,
        };
        let by = UserId::from_uuid(Uuid::nil());
        Endpoint::new(env.id(env.now()), community, by, new, env.now())
    };
    let made: Vec<Endpoint> = (0..count).map(make).collect();
    for endpoint in &made {
        tx.insert_endpoint(endpoint, FakeSealer.seal("webhook.secret", b"whsec_0"));
    }
    tx.commit().await.expect("endpoints are inserted");
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_costs_five_flights_and_prepares_nothing_anew() {
    let database = database().await;
    let server = url::Url::parse(&database.app_url()).unwrap();
    let tap = Wiretap::start(server.socket_addrs(|| Some(5432)).unwrap()[0]).await;
    let mut url = server;
    url.set_query(Some("sslmode=disable"));
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(tap.address().port())).unwrap();
    let scene = Scene::new(url.into()).await;
    // Warm, and once with a failure.
    for status in [204, 500, 204] {
        scene.receiver.answer_once(answer(status));
        scene.publish().await;
        let lease = scene.lease().await;
        scene.drain(&lease).await;
        scene.store.hand_back(&[lease.fence()]).await.unwrap();
    }
    scene.clock.advance(SignedDuration::from_secs(10));
    let lease = scene.lease().await;
    assert!(matches!(scene.drain(&lease).await, Outcome::Settled));

    let _ = tap.take();
    scene.publish().await;
    assert_eq!(tap.take(), Count { flights: 2, prepared: 0 }, "look who wants it, and write");
    let lease = scene.lease().await;
    let _ = tap.take();
    assert!(matches!(scene.drain(&lease).await, Outcome::Settled));
    assert_eq!(tap.take(), Count { flights: 3, prepared: 0 }, "claim, lock, and settle");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_lost_its_lease_settles_nothing() {
    let database = database().await;
    let scene = Scene::new(database.app_url()).await;
    scene.publish().await;
    let lease = scene.lease().await;
    let (admin, connection) = tokio_postgres::connect(&database.admin_url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    admin.batch_execute("UPDATE jobs SET epoch = epoch + 1").await.unwrap();
    scene.receiver.answer_once(answer(410));
    scene.drain(&lease).await;
    let now = scene.clock.now();
    let queue: &dyn DeliveryQueue = &scene.store;
    let batch = queue.claim(scene.endpoint.id, now, now, 1).await.unwrap();
    assert!(batch.deliveries.is_empty(), "the claim still holds");
    assert!(batch.target.unwrap().enabled, "the answer was not taken note of");
    assert_eq!(batch.next_due, Some(now + SignedDuration::from_secs(30)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_community_with_very_many_endpoints_delays_nobody_elses() {
    let database = database().await;
    let scene = Scene::new(database.app_url()).await;
    let large = CommunityId::from_uuid(Uuid::from_u128(1));
    endpoints(&scene.store, &scene.env, large, 400).await;
    scene.clock.advance(SignedDuration::from_secs(1));
    // Twice, and still one job for each endpoint.
    scene.publish_in(large).await;
    scene.publish_in(large).await;
    scene.publish().await;
    let (admin, connection) = tokio_postgres::connect(&database.admin_url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let drains = admin.query_one("SELECT count(*) FROM jobs", &[]).await.unwrap();
    assert_eq!(drains.get::<_, i64>(0), 401);

    let claimed = scene.claim(8).await;
    assert_eq!(claimed.len(), 8, "what the small one leaves, the large one gets");
    let small = format!("community:{}", scene.endpoint.community);
    let of_the_small: Vec<_> =
        claimed.iter().filter(|job| job.group.as_ref() == Some(&small)).collect();
    let [lease] = of_the_small.as_slice() else { panic!("it is among the first: {claimed:?}") };
    assert!(matches!(scene.drain(lease).await, Outcome::Settled));
    assert_eq!(scene.receiver.take().len(), 1);
}
