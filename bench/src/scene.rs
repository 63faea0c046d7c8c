//! What is measured on: private servers, a database with the whole load and one with a hundredth of it. Beside the load
//! there are people and events of the measurement's own, so that nobody has answered yet.

use std::collections::HashMap;
use std::sync::Arc;

use convene_application::kernel::wake::Wake;
use convene_embedded::{Postgres, RabbitMq, Redis, ServerOptions};
use convene_infrastructure::postgres::PgStore;
use convene_infrastructure::postgres::pool::{Pool, PoolOptions};
use serde_json::{Value, json};
use tokio_postgres::NoTls;
use uuid::Uuid;

use crate::client::Client;
use crate::process::command;
use crate::{Fault, tell};

/// People who can RSVP.
pub(crate) const USERS: u128 = 150_000;
/// The first of them are members of every community; all of them, of the last.
pub(crate) const REGULARS: u128 = 5_000;
/// Events over which RSVPs are spread; the base line has as many of its own.
pub(crate) const EVENTS: u128 = 1_000;
/// The number of the event that everybody wants to go to; the base line has the one behind it.
pub(crate) const HOT: u128 = EVENTS * 2;
const COMMUNITIES: u128 = 20;

/// The servers, and what is known of the data.
pub(crate) struct Scene {
    postgres: Postgres,
    _servers: (Redis, RabbitMq),
    /// The URL of Redis.
    pub(crate) redis: String,
    /// The URL of RabbitMQ.
    pub(crate) broker: String,
    /// By database, who can log in and with what.
    logins: HashMap<&'static str, Value>,
}

/// The `n`-th user of the measurement's own.
pub(crate) fn user(n: u128) -> Uuid {
    Uuid::from_u128(1 << 64 | n)
}

/// The `n`-th event of the measurement's own.
pub(crate) fn event(n: u128) -> Uuid {
    Uuid::from_u128(2 << 64 | n)
}

/// The same id in SQL.
pub(crate) fn id_sql(kind: u8, number: &str) -> String {
    format!("('00000000-0000-000{kind}-0000-' || lpad(to_hex({number}), 12, '0'))::uuid")
}

impl Scene {
    /// Starts the servers and loads the data.
    pub(crate) async fn build() -> Result<Self, Fault> {
        tell("starting private servers");
        let (postgres, redis, broker) = tokio::task::spawn_blocking(|| {
            let durable = || ServerOptions { durable: true, ..ServerOptions::temporary() };
            let postgres = Postgres::start(
                durable().setting("max_connections", "200").setting("shared_buffers", "256MB"),
            )?;
            let redis = Redis::start(durable())?;
            let broker = RabbitMq::start(durable())?;
            Ok::<_, convene_embedded::Error>((postgres, redis, broker))
        })
        .await??;
        let mut scene = Self {
            redis: redis.url(),
            broker: broker.url(),
            postgres,
            _servers: (redis, broker),
            logins: HashMap::new(),
        };
        for (database, scale) in [(scene.small(), "0.01"), (scene.large(), "1")] {
            tell(&format!("loading the database {database} (scale {scale})"));
            scene.create(database).await?;
            let seed = ["--json", "db", "seed", "--profile", "load", "--scale", scale];
            let seeded: Value = serde_json::from_slice(&scene.run(database, &seed)?)?;
            scene.logins.insert(database, seeded);
            let sql = scene.connect(database).await?;
            sql.batch_execute(LOGIN_0).await?;
            if database == scene.large() {
                sql.batch_execute(&own_data()).await?;
            }
            sql.batch_execute("VACUUM (ANALYZE)").await?;
        }
        let admin = scene.connect("postgres").await?;
        admin.batch_execute("CHECKPOINT").await?;
        Ok(scene)
    }

    /// The database with the whole load.
    #[expect(clippy::unused_self, reason = "a scene has it")]
    pub(crate) fn large(&self) -> &'static str {
        "convene_large"
    }

    /// The database with a hundredth of it.
    #[expect(clippy::unused_self, reason = "a scene has it")]
    pub(crate) fn small(&self) -> &'static str {
        "convene_small"
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("{}?sslmode=disable", self.postgres.url("postgres", database))
    }

    pub(crate) fn port(&self) -> u16 {
        self.postgres.port()
    }

    pub(crate) async fn connect(&self, database: &str) -> Result<tokio_postgres::Client, Fault> {
        let (client, connection) = tokio_postgres::connect(&self.url(database), NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Creates a database with our tables.
    pub(crate) async fn create(&self, database: &str) -> Result<(), Fault> {
        let admin = self.connect("postgres").await?;
        admin.batch_execute(&format!("CREATE DATABASE {database}")).await?;
        self.run(database, &["db", "migrate"])?;
        Ok(())
    }

    pub(crate) fn pool_options(&self, connections: usize) -> PoolOptions {
        self.pool_options_of(self.large(), connections)
    }

    pub(crate) fn pool_options_of(&self, database: &str, connections: usize) -> PoolOptions {
        PoolOptions::new(self.url(database).into(), connections)
    }

    /// A store over the large database.
    pub(crate) fn store(&self, connections: usize, wake: Arc<Wake>) -> Result<PgStore, Fault> {
        self.store_of(self.large(), connections, wake)
    }

    /// A store over a database.
    pub(crate) fn store_of(
        &self,
        database: &str,
        connections: usize,
        wake: Arc<Wake>,
    ) -> Result<PgStore, Fault> {
        let options = self.pool_options_of(database, connections);
        let pool = Pool::new(&options, tokio::runtime::Handle::current())?;
        Ok(PgStore::new(pool, wake))
    }

    /// Logs the n-th person of a database in.
    pub(crate) async fn token(
        &self,
        client: &mut Client,
        database: &str,
        person: usize,
    ) -> Result<String, Fault> {
        let seeded = self.logins.get(database).ok_or("the database is not loaded")?;
        let login = json!({"email": seeded["emails"][person], "password": seeded["password"]});
        let tokens = client.call("POST", "/v1/auth/login", "", Some(&login)).await?;
        Ok(tokens["access_token"].as_str().ok_or("no access token")?.to_owned())
    }

    /// The id of an event of the load's first community.
    pub(crate) async fn open_event(&self, client: &mut Client) -> Result<String, Fault> {
        let events = client.call("GET", "/v1/communities/community-0/events", "", None).await?;
        let listed = events["data"].as_array().ok_or("no list of events")?;
        let largest = listed.iter().find(|event| event["title"] == "Meetup 0");
        Ok(largest.and_then(|event| event["id"].as_str()).ok_or("no such event")?.to_owned())
    }

    fn run(&self, database: &str, arguments: &[&str]) -> Result<Vec<u8>, Fault> {
        let output = command(self, database)?
            .args(arguments)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("convene {}: {said}", arguments.join(" ")).into());
        }
        Ok(output.stdout)
    }
}

/// The first who can log in is an admin of the first community, a member of each, and has an RSVP to every event.
const LOGIN_0: &str = "
    INSERT INTO members (id, community_id, user_id, role, version, joined_at, updated_at)
    SELECT gen_random_uuid(), c.id, u.id, CASE c.slug WHEN 'community-0' THEN 'admin' ELSE 'member' END, 1,
           c.created_at, now()
    FROM communities c, users u WHERE u.email = 'login-0@example.org';
    INSERT INTO rsvps (id, event_id, user_id, status, party_size, version, created_at, updated_at)
    SELECT gen_random_uuid(), e.id, u.id, 'confirmed', 1, 1, e.created_at, now()
    FROM events e, users u WHERE u.email = 'login-0@example.org' AND e.status = 'published'";

fn own_data() -> String {
    let (user, event) = (id_sql(1, "n"), id_sql(2, "n"));
    let (community, of) = (id_sql(3, "n"), id_sql(3, &format!("n % {COMMUNITIES}")));
    let hot = id_sql(3, &COMMUNITIES.to_string());
    let events = HOT + 1;
    format!(
        "INSERT INTO users (id, email, display_name, time_zone, version, created_at, updated_at)
         SELECT {user}, 'user' || n || '@bench.example', 'User', 'UTC', 1, now(), now()
         FROM generate_series(0, {USERS} - 1) AS n;
         BEGIN;
         INSERT INTO communities (id, slug, name, visibility, version, created_at, updated_at)
         SELECT {community}, 'bench-' || n, 'Bench', 'public', 1, now(), now()
         FROM generate_series(0, {COMMUNITIES}) AS n;
         INSERT INTO community_slugs (slug, community_id)
         SELECT slug, id FROM communities WHERE slug LIKE 'bench-%';
         COMMIT;
         INSERT INTO members (id, community_id, user_id, role, version, joined_at, updated_at)
         SELECT gen_random_uuid(), c.id, {user}, 'member', 1, now(), now()
         FROM communities c, generate_series(0, {REGULARS} - 1) AS n
         WHERE c.slug LIKE 'bench-%' AND c.id <> {hot};
         INSERT INTO members (id, community_id, user_id, role, version, joined_at, updated_at)
         SELECT gen_random_uuid(), {hot}, {user}, 'member', 1, now(), now() FROM generate_series(0, {USERS} - 1) AS n;
         INSERT INTO events (id, community_id, title, status, starts_at_local, ends_at_local, time_zone, starts_at,
                             ends_at, published_at, version, created_at, updated_at)
         SELECT {event}, CASE WHEN n >= {HOT} THEN {hot} ELSE {of} END, 'Event', 'published',
                now() + interval '1 day', now() + interval '2 days', 'UTC', now() + interval '1 day',
                now() + interval '2 days', now(), 1, now(), now()
         FROM generate_series(0, {events}) AS n;
         INSERT INTO event_seats (event_id, capacity) SELECT {event}, NULL FROM generate_series(0, {events}) AS n;"
    )
}
