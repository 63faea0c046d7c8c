//! A migrated database with one community, one event and some members, and a store over it.

use std::sync::Arc;

use convene_application::kernel::clock::SystemClock;
use convene_application::kernel::context::{Actor, Principal, RequestContext};
use convene_application::kernel::env::Env;
use convene_application::kernel::random::Random;
use convene_application::kernel::wake::Wake;
use convene_application::rsvp::{LaneOptions, RsvpService};
use convene_domain::ids::{EventId, TypedId as _, UserId};
use convene_infrastructure::postgres::PgStore;
use convene_infrastructure::postgres::migrate;
use convene_infrastructure::postgres::pool::{Pool, PoolOptions};
use convene_testkit::database::TestDatabase;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// A database with a published event.
pub(crate) struct Scene {
    pub(crate) database: TestDatabase,
    pub(crate) admin: Client,
    pub(crate) event: EventId,
    pub(crate) members: Vec<UserId>,
}

impl Scene {
    pub(crate) async fn new(capacity: i32, members: usize) -> Self {
        let database = TestDatabase::create(
            async |url| migrate::migrate(&url.into()).await.map(|_| ()),
            migrate::migrations_hash(),
        )
        .await;
        let admin = connect(&database.admin_url()).await;
        let (community, event) = (Uuid::from_u128(1), Uuid::from_u128(2));
        admin
            .batch_execute(&format!(
                "INSERT INTO communities (id, slug, name, visibility, version, created_at, updated_at)
                 VALUES ('{community}', 'scene', 'Scene', 'public', 1, now(), now());
                 INSERT INTO community_slugs (slug, community_id) VALUES ('scene', '{community}');
                 INSERT INTO events (id, community_id, title, description, status, starts_at_local, ends_at_local,
                                     time_zone, starts_at, ends_at, published_at, version, created_at,
                                     updated_at)
                 VALUES ('{event}', '{community}', 'Opening', '', 'published', now() + interval '1 day',
                         now() + interval '2 days', 'UTC', now() + interval '1 day', now() + interval '2 days', now(),
                         1, now(), now());
                 INSERT INTO event_seats (event_id, capacity) VALUES ('{event}', {capacity});"
            ))
            .await
            .expect("the scene's rows fit the schema");
        let members: Vec<UserId> =
            (0..members).map(|n| UserId::from_uuid(Uuid::from_u128(100 + n as u128))).collect();
        for member in &members {
            admin
                .batch_execute(&format!(
                    "INSERT INTO users (id, email, display_name, time_zone, version, created_at, updated_at)
                     VALUES ('{0}', '{0}@example.org', 'Member', 'UTC', 1, now(), now());
                     INSERT INTO members (id, community_id, user_id, role, version, joined_at, updated_at)
                     VALUES (gen_random_uuid(), '{community}', '{0}', 'member', 1, now(), now());",
                    member.uuid()
                ))
                .await
                .expect("the members' rows fit the schema");
        }
        Self { database, admin, event: EventId::from_uuid(event), members }
    }

    /// The serving role's URL, without TLS, at another address if one is given.
    pub(crate) fn url(&self, through: Option<std::net::SocketAddr>) -> String {
        let mut url =
            url::Url::parse(&self.database.app_url()).expect("the test kit's URLs are URLs");
        url.set_query(Some("sslmode=disable"));
        if let Some(address) = through {
            url.set_host(Some(&address.ip().to_string())).expect("an address is a host");
            url.set_port(Some(address.port())).expect("a URL with a host has a port");
        }
        url.into()
    }

    pub(crate) fn store(
        &self,
        connections: usize,
        through: Option<std::net::SocketAddr>,
    ) -> PgStore {
        let options = PoolOptions::new(self.url(through).into(), connections);
        let pool = Pool::new(&options, tokio::runtime::Handle::current()).expect("the URL is good");
        PgStore::new(pool, Arc::new(Wake::default()))
    }

    pub(crate) async fn count(&self, what: &str) -> i64 {
        let row = self.admin.query_one(&format!("SELECT count(*) FROM {what}"), &[]).await;
        row.expect("counting works").get(0)
    }
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.expect("the test database answers");
    tokio::spawn(connection);
    client
}

pub(crate) fn service(store: &PgStore) -> RsvpService {
    let (uow, reads) = (Arc::new(store.clone()), Arc::new(store.clone()));
    RsvpService::new(env(), uow, reads, LaneOptions::default())
}

pub(crate) fn env() -> Env {
    Env { clock: Arc::new(SystemClock), random: Arc::new(Seed), schemas: Default::default() }
}

/// Random enough for ids.
struct Seed;

impl Random for Seed {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(16) {
            chunk.copy_from_slice(&Uuid::new_v4().as_bytes()[..chunk.len()]);
        }
    }
}

pub(crate) fn caller(user: UserId) -> (RequestContext, Principal) {
    let session = convene_domain::ids::SessionId::from_uuid(Uuid::from_u128(9));
    let context = RequestContext {
        actor: Actor::User(user),
        session: Some(session),
        ..RequestContext::system("req-test")
    };
    (context, Principal { user, session })
}
