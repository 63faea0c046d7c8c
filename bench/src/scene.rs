//! The data that is measured on: 2,000 events in 20 communities, and 5,000 people who are members of all of them.

use std::error::Error;

use convene_embedded::Postgres;
use convene_infrastructure::postgres::migrate;
use tokio_postgres::NoTls;
use uuid::Uuid;

/// People who can RSVP.
pub(crate) const USERS: u128 = 5_000;
/// Events from which RSVPs are measured; the base line has as many of its own.
pub(crate) const EVENTS: u128 = 1_000;
const COMMUNITIES: u128 = 20;

/// A loaded database.
pub(crate) struct Scene {
    /// Its URL.
    pub(crate) url: String,
    /// The port of its server.
    pub(crate) port: u16,
}

/// The `n`-th user.
pub(crate) fn user(n: u128) -> Uuid {
    Uuid::from_u128(1 << 64 | n)
}

/// The `n`-th event.
pub(crate) fn event(n: u128) -> Uuid {
    Uuid::from_u128(2 << 64 | n)
}

/// Makes the database.
pub(crate) async fn load(admin: &str, server: &Postgres) -> Result<Scene, Box<dyn Error>> {
    let (client, connection) = tokio_postgres::connect(admin, NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute("CREATE DATABASE convene_bench").await?;
    let url = server.url("postgres", "convene_bench");
    migrate::migrate(&url.clone().into()).await?;
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
    tokio::spawn(connection);
    let id = |kind: u8, n: &str| {
        format!("('00000000-0000-000{kind}-0000-' || lpad(to_hex({n}), 12, '0'))::uuid")
    };
    client
        .batch_execute(&format!(
            "INSERT INTO users (id, email, display_name, time_zone, version, created_at, updated_at)
             SELECT {user}, 'user' || n || '@example.org', 'User', 'UTC', 1, now(), now()
             FROM generate_series(0, {users} - 1) n;
             BEGIN;
             INSERT INTO communities (id, slug, name, visibility, version, created_at, updated_at)
             SELECT {community}, 'community-' || n, 'Community', 'public', 1, now(), now()
             FROM generate_series(0, {COMMUNITIES} - 1) n;
             INSERT INTO community_slugs (slug, community_id) SELECT slug, id FROM communities;
             COMMIT;
             INSERT INTO members (id, community_id, user_id, role, version, joined_at, updated_at)
             SELECT gen_random_uuid(), c.id, u.id, 'member', 1, now(), now() FROM communities c, users u;
             INSERT INTO events (id, community_id, title, description, status, starts_at_local, ends_at_local,
                                 time_zone, starts_at, ends_at, published_at, version, created_at,
                                 updated_at)
             SELECT {event}, {of}, 'Event', '', 'published', now() + interval '1 day', now() + interval '2 days',
                    'UTC', now() + interval '1 day', now() + interval '2 days', now(), 1, now(), now()
             FROM generate_series(0, {events} - 1) n;
             INSERT INTO event_seats (event_id, capacity) SELECT id, NULL FROM events;",
            user = id(1, "n"),
            event = id(2, "n"),
            community = id(3, "n"),
            of = id(3, &format!("n % {COMMUNITIES}")),
            users = USERS,
            events = EVENTS * 2,
        ))
        .await?;
    client.batch_execute("VACUUM ANALYZE").await?;
    Ok(Scene { url, port: server.port() })
}
