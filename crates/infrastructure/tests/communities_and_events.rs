//! The stores of communities and of events, held to their contracts and to what only a real database can show: the number
//! of flights, and who waits for whom.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use convene_application::community::ports::CommunityTx;
use convene_application::community::{CommunityService, Standings};
use convene_application::event::EventService;
use convene_application::event::ports::EventTx;
use convene_application::kernel::cache::Caches;
use convene_application::kernel::context::{Actor, Principal, RequestContext};
use convene_application::kernel::error::Code;
use convene_application::kernel::idempotency::Reply;
use convene_application::kernel::precondition::{IfMatch, Tags};
use convene_application::kernel::uow::Begin;
use convene_application::kernel::wake::Wake;
use convene_application::rsvp::ports::RsvpTx;
use convene_domain::community::{Community, CommunityRef, NewCommunity, Visibility};
use convene_domain::event::{Capacity, Event, EventPatch, LocalTime, NewEvent, Plan};
use convene_domain::ids::{SessionId, TypedId as _, UserId};
use convene_domain::text::{CommunityName, Slug, Title};
use convene_domain::zone::TimeZoneName;
use convene_infrastructure::postgres::PgStore;
use convene_infrastructure::postgres::migrate;
use convene_infrastructure::postgres::pool::{Pool, PoolOptions};
use convene_testkit::contract::community::NAMES;
use convene_testkit::database::TestDatabase;
use convene_testkit::fake::{FixedClock, env};
use convene_testkit::poll::poll_until;
use convene_testkit::wiretap::{Count, Wiretap};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// A migrated database with three people.
struct Scene {
    database: TestDatabase,
    admin: Client,
    people: [UserId; 3],
}

impl Scene {
    async fn new() -> Self {
        let database = TestDatabase::create(
            async |url| migrate::migrate(&url.into()).await.map(|_| ()),
            migrate::migrations_hash(),
        )
        .await;
        let (admin, connection) = tokio_postgres::connect(&database.admin_url(), NoTls)
            .await
            .expect("the test database answers");
        tokio::spawn(connection);
        let people = [1, 2, 3].map(|number| UserId::from_uuid(Uuid::from_u128(number)));
        for (user, name) in people.iter().zip(NAMES) {
            let id = user.uuid();
            admin
                .batch_execute(&format!(
                    "INSERT INTO users (id, email, display_name, time_zone, version, created_at, updated_at)
                     VALUES ('{id}', '{name}@example.org', '{name}', 'UTC', 1, now(), now())"
                ))
                .await
                .expect("the row fits the schema");
        }
        Self { database, admin, people }
    }

    /// A store over so many connections, through a proxy if there is one.
    fn store(&self, connections: usize, through: Option<SocketAddr>) -> PgStore {
        let mut url =
            url::Url::parse(&self.database.app_url()).expect("the test kit's URLs are URLs");
        url.set_query(Some("sslmode=disable"));
        if let Some(address) = through {
            url.set_host(Some(&address.ip().to_string())).expect("an address is a host");
            url.set_port(Some(address.port())).expect("a URL with a host has a port");
        }
        let options = PoolOptions::new(String::from(url).into(), connections);
        let pool = Pool::new(&options, tokio::runtime::Handle::current()).expect("the URL is good");
        PgStore::new(pool, Arc::new(Wake::default()))
    }

    /// The row is not locked by anybody.
    async fn is_free(&self, select: &str) -> bool {
        let locked = format!("{select} FOR NO KEY UPDATE NOWAIT");
        self.admin.query(&locked, &[]).await.is_ok()
    }
}

mod community {
    use super::*;
    use convene_testkit::contract::community::Ports;

    async fn ports() -> (Ports, Scene) {
        let scene = Scene::new().await;
        let store = scene.store(4, None);
        let (uow, reads) = (Arc::new(store.clone()), Arc::new(store));
        (Ports { uow, reads, people: scene.people }, scene)
    }

    convene_testkit::community_contract!(ports());
}

mod event {
    use super::*;
    use convene_testkit::contract::event::Ports;

    async fn ports() -> (Ports, Scene) {
        let scene = Scene::new().await;
        let store = scene.store(4, None);
        let (uow, reads) = (Arc::new(store.clone()), Arc::new(store.clone()));
        (Ports { uow, reads, communities: Arc::new(store), people: scene.people }, scene)
    }

    convene_testkit::event_contract!(ports());
}

fn caller(user: UserId) -> (RequestContext, Principal) {
    let session = SessionId::from_uuid(Uuid::from_u128(9));
    let context = RequestContext { actor: Actor::User(user), ..RequestContext::system("req-test") };
    (context, Principal { user, session })
}

fn services(store: &PgStore) -> (CommunityService, EventService) {
    let env = env(Arc::new(FixedClock::default()));
    let port = Arc::new(store.clone());
    let caches = Caches::none(Arc::clone(&env.random));
    let standings = Standings::new(port.clone(), &caches);
    let communities =
        CommunityService::new(env.clone(), port.clone(), port.clone(), standings.clone());
    (communities, EventService::new(env, port.clone(), port, standings, &caches))
}

async fn community(service: &CommunityService, owner: UserId, slug: &str) -> Community {
    let new = NewCommunity {
        slug: Slug::new(slug).expect("it is a slug"),
        name: CommunityName::new("Rust Berlin").expect("it is a name"),
        description: None,
        visibility: Visibility::Public,
    };
    let (context, principal) = caller(owner);
    match service.create(&context, principal, Ok(new), None).await {
        Ok(Reply::Fresh(community)) => community,
        other => panic!("{other:?}"),
    }
}

async fn draft(service: &EventService, owner: UserId, community: &Community) -> Event {
    let local = |time| LocalTime::parse(time).expect("it is a local time");
    let new = NewEvent {
        title: Title::new("Spring Hack Day").expect("it is a title"),
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
    };
    let (context, principal) = caller(owner);
    match service.create(&context, principal, &community.id.into(), Ok(new), None).await {
        Ok(Reply::Fresh(event)) => event,
        other => panic!("{other:?}"),
    }
}

fn any<T>() -> IfMatch<T> {
    IfMatch { tags: Tags::Any, etag: |_| String::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_costs_two_flights() {
    let scene = Scene::new().await;
    let server = url::Url::parse(convene_testkit::services::database_url()).unwrap();
    let tap = Wiretap::start(server.socket_addrs(|| Some(5432)).unwrap()[0]).await;
    let (communities, events) = services(&scene.store(1, Some(tap.address())));
    let [ada, ben, _] = scene.people;
    let two = Count { flights: 2, prepared: 0 };
    // The first round prepares the statements of the connection.
    for round in 0..2 {
        let check = |what| {
            let count = tap.take();
            assert!(round == 0 || count == two, "{what}: {count:?}");
        };
        let _ = tap.take();
        let community = community(&communities, ada, &format!("round-{round}")).await;
        check("create a community");
        let (context, principal) = caller(ben);
        let target = CommunityRef::Slug(community.slug.clone());
        communities.join(&context, principal, &target, None).await.unwrap();
        check("join");
        communities.leave(&context, principal, &target, None).await.unwrap();
        check("leave");
        let event = draft(&events, ada, &community).await;
        check("create an event");
        let (context, principal) = caller(ada);
        let patch = EventPatch {
            title: Some(Title::new("Spring Hack Night").unwrap()),
            capacity: Some(Capacity::new(60)),
            ..EventPatch::default()
        };
        events.update(&context, principal, event.id, Ok(patch), &any(), None).await.unwrap();
        check("change an event and its capacity");
        events.publish(&context, principal, event.id, None).await.unwrap();
        check("publish");
        events.cancel(&context, principal, event.id, Ok(None), None).await.unwrap();
        check("cancel");
        communities.archive(&context, principal, &target, &any(), None).await.unwrap();
        check("archive");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_an_event_holds_its_seats_its_community_and_the_membership() {
    let scene = Scene::new().await;
    let store = scene.store(2, None);
    let (communities, events) = services(&store);
    let [ada, ..] = scene.people;
    let event = draft(&events, ada, &community(&communities, ada, "rust-berlin").await).await;
    let rows = [
        "SELECT FROM communities",
        "SELECT FROM members",
        "SELECT FROM event_seats",
        "SELECT FROM events",
    ];
    for row in rows {
        assert!(scene.is_free(row).await, "{row}");
    }
    let mut tx = Begin::<dyn EventTx>::begin(&store, Vec::new()).await.unwrap();
    tx.lock_event(event.id, ada).await.unwrap().expect("the event is there");
    for row in rows {
        assert!(!scene.is_free(row).await, "{row}");
    }
    // RSVPs need the membership too, but shared.
    assert!(scene.admin.query("SELECT FROM members FOR SHARE NOWAIT", &[]).await.is_ok());
    drop(tx);
    for row in rows {
        poll_until(Duration::from_secs(2), row, async || scene.is_free(row).await.then_some(()))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn seats_that_are_taken_while_a_capacity_is_lowered_are_seen() {
    let scene = Scene::new().await;
    let store = scene.store(3, None);
    let (communities, events) = services(&store);
    let [ada, ..] = scene.people;
    let event = draft(&events, ada, &community(&communities, ada, "rust-berlin").await).await;
    // Somebody is about to take thirty seats.
    let mut rsvp = Begin::<dyn RsvpTx>::begin(&store, Vec::new()).await.unwrap();
    let opened = rsvp.open(event.id, &[ada], 0).await.unwrap().expect("the event is there");
    let (context, principal) = caller(ada);
    let lowering = tokio::spawn({
        let (events, event) = (events.clone(), event.id);
        async move {
            let patch = EventPatch { capacity: Some(Capacity::new(29)), ..EventPatch::default() };
            events.update(&context, principal, event, Ok(patch), &any(), None).await
        }
    });
    let waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    poll_until(Duration::from_secs(2), "the change waits for the seats", async || {
        scene.admin.query_opt(waits, &[]).await.unwrap()
    })
    .await;
    let seats = convene_domain::rsvp::Seats { taken: 30, ..opened.seats };
    rsvp.save(event.id, seats, Vec::new());
    rsvp.commit().await.unwrap();
    let refused = lowering.await.unwrap().unwrap_err();
    assert_eq!(refused.code, Code::CapacityBelowConfirmed);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_who_joins_many_times_at_once_becomes_a_member_once() {
    let scene = Scene::new().await;
    let (communities, _) = services(&scene.store(8, None));
    let [ada, ben, _] = scene.people;
    let target: CommunityRef = community(&communities, ada, "rust-berlin").await.id.into();
    let joins = (0..20).map(|_| {
        let (communities, target) = (communities.clone(), target.clone());
        tokio::spawn(async move {
            let (context, principal) = caller(ben);
            communities.join(&context, principal, &target, None).await
        })
    });
    let mut memberships = std::collections::HashSet::new();
    for joined in futures::future::join_all(joins).await {
        match joined.unwrap().unwrap() {
            Reply::Fresh(member) => memberships.insert(member.membership.id),
            Reply::Replayed(_) => panic!("there was no key"),
        };
    }
    assert_eq!(memberships.len(), 1);
    let recorded = "SELECT count(*) FROM outbox WHERE event_type = 'community.member_joined'";
    let row = scene.admin.query_one(recorded, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 2, "the owner's and Ben's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_community_keeps_one_owner_whatever_is_written() {
    let scene = Scene::new().await;
    let store = scene.store(1, None);
    let (communities, _) = services(&store);
    let [ada, ben, _] = scene.people;
    let community = community(&communities, ada, "rust-berlin").await;
    let (context, principal) = caller(ben);
    let target = community.id.into();
    communities.join(&context, principal, &target, None).await.unwrap();
    let mut tx = Begin::<dyn CommunityTx>::begin(&store, Vec::new()).await.unwrap();
    let locked = tx.lock_members(&target, &[ben]).await.unwrap().expect("it is there");
    let usurper = locked.membership(ben).expect("Ben is a member");
    let usurper = usurper.with_role(convene_domain::role::Role::Owner, usurper.joined_at);
    tx.update_member(&usurper.expect("it is another role"));
    let refused = tx.commit().await.unwrap_err();
    assert!(refused.violates("members_one_owner"), "{refused:?}");
}
