//! The rows that the statements meet: a tenth of the load, and what the load leaves out.

use std::collections::BTreeSet;
use std::sync::Arc;

use convene_embedded::Postgres;
use convene_infrastructure::postgres::load::{self, Load};
use convene_infrastructure::postgres::seed;
use convene_testkit::database::TestDatabase;
use convene_tests::app::App;
use convene_tests::client::{Person, text};
use convene_tests::receiver::Receiver;
use serde_json::json;
use tokio_postgres::{Client, NoTls};

/// Rows from which on a table counts as big.
const BIG: f32 = 1_000.0;

/// The event that everybody wants to go to, of the first community. It lies ahead.
const HOT_EVENT: i64 = 2;

/// Who calls, and what they call.
pub(super) struct Cast {
    /// An admin of the community, with many communities, RSVPs and sessions.
    pub(super) admin: Person,
    /// A member like any other.
    pub(super) member: Person,
    /// Somebody who comes for the first time.
    pub(super) guest: Person,
    /// The community's name in URLs.
    pub(super) community: &'static str,
    /// The hot event.
    pub(super) event: String,
    /// An endpoint with many deliveries.
    pub(super) webhook: String,
    pub(super) receiver: Receiver,
}

pub(super) async fn build() -> (Postgres, Arc<TestDatabase>) {
    let (server, database) = super::server().await;
    let load = Load::new(0.1, jiff::Timestamp::now());
    seed::load(&database.admin_url().into(), &load).await.expect("the load fits the schema");
    let admin = connect(&database).await;
    let (community, event) = (load::community_id(0), load::event_id(HOT_EVENT));
    admin
        .batch_execute(&format!(
            "SET auto_explain.log_min_duration = -1;
             BEGIN;
             INSERT INTO communities (id, slug, name, visibility, version, created_at, updated_at)
             SELECT gen_random_uuid(), 'quiet-' || n, 'Quiet ' || n, CASE WHEN n % 3 = 0 THEN 'private' ELSE 'public' END,
                    1, now() - n * interval '1 hour', now()
             FROM generate_series(1, 10000) AS n;
             INSERT INTO community_slugs (slug, community_id)
             SELECT slug, id FROM communities WHERE slug LIKE 'quiet-%';
             COMMIT;

             DELETE FROM rsvps WHERE event_id = '{event}';
             INSERT INTO rsvps (id, event_id, user_id, status, party_size, waitlist_number, version, created_at, updated_at)
             SELECT gen_random_uuid(), '{event}', id,
                    CASE WHEN n > 4700 THEN 'cancelled' WHEN n > 4200 THEN 'waitlisted' ELSE 'confirmed' END, 1,
                    CASE WHEN n BETWEEN 4201 AND 4700 THEN 1000 + n END, 1,
                    now() - interval '1 hour' + n * interval '100 ms', now()
             FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM users) AS everybody;
             UPDATE event_seats SET (capacity, taken, waiting, next_number) =
                    (SELECT sum(party_size) FILTER (WHERE status = 'confirmed'),
                            sum(party_size) FILTER (WHERE status = 'confirmed'),
                            count(*) FILTER (WHERE status = 'waitlisted'), 10000
                     FROM rsvps WHERE event_id = '{event}') WHERE event_id = '{event}';

             INSERT INTO domain_events (position, event_id, event_type, version, community_id, envelope, recorded_at)
             SELECT n, gen_random_uuid(), CASE WHEN n % 50 = 0 THEN 'event.created' ELSE 'rsvp.confirmed' END, 1,
                    CASE WHEN n % 4 = 0 THEN '{community}'::uuid ELSE gen_random_uuid() END, '{{}}', now()
             FROM generate_series(1, 30000) AS n;
             UPDATE log_head SET position = 30000;
             INSERT INTO sink_cursors VALUES ('before', 30000, 1, gen_random_uuid(), now());

             INSERT INTO webhook_endpoints (id, community_id, created_by, url, event_types, status, secret, created_at,
                                            updated_at)
             SELECT gen_random_uuid(), CASE WHEN n % 10 = 0 THEN '{community}'::uuid ELSE gen_random_uuid() END,
                    gen_random_uuid(), 'https://hooks.example/' || n, '{{community.archived}}', 'enabled', '',
                    now() - n * interval '1 minute', now()
             FROM generate_series(1, 3000) AS n;

             INSERT INTO webhook_deliveries (id, endpoint_id, event_id, event_type, body, status, number, created_at)
             SELECT gen_random_uuid(), w.id, gen_random_uuid(), 'rsvp.confirmed', '{{}}', 'failed', 0, now()
             FROM webhook_endpoints w, generate_series(1, 5) AS n;

             INSERT INTO jobs (kind, queue, payload, priority, run_at, max_attempts)
             SELECT 'auth.mail_token', 'default', '{{}}', 0, now() + interval '1 day', 1 FROM generate_series(1, 3000);

             INSERT INTO registrations (id, email, address, display_name, password_hash, created_at, expires_at)
             SELECT gen_random_uuid(), n || '@wait.example', n || '@wait.example', 'W', '', now(),
                    now() + interval '1 day' FROM generate_series(1, 3000) AS n;
             INSERT INTO email_tokens (digest, registration_id, expires_at)
             SELECT sha256(id::text::bytea), id, expires_at FROM registrations;
             INSERT INTO credentials (user_id, address, account, password_hash)
             SELECT id, lower(email), sha256(email::bytea), '' FROM users;
             INSERT INTO login_failures (account, failures, updated_at)
             SELECT account, 1, now() FROM credentials LIMIT 3000;
             INSERT INTO sessions (id, user_id, created_at, last_used_at, expires_at)
             SELECT gen_random_uuid(), user_id, now(), now(), now() + interval '1 day' FROM credentials;
             INSERT INTO refresh_tokens (digest, session_id, expires_at)
             SELECT sha256(id::text::bytea), id, expires_at FROM sessions;
             INSERT INTO revocations (subject, kind, at)
             SELECT gen_random_uuid(), 'session', now() - interval '1 hour' - n * interval '1 second'
             FROM generate_series(1, 3000) AS n;
             INSERT INTO idempotency_keys (scope, fingerprint, status, body)
             SELECT sha256(n::text::bytea), sha256(n::text::bytea), 200, '' FROM generate_series(1, 3000) AS n;
             INSERT INTO audit_chains (chain_id, number, hash)
             SELECT gen_random_uuid(), 1, '' FROM generate_series(1, 3000);
             INSERT INTO audit_chains (chain_id, number, hash) VALUES ('{community}', 30000, '');
             INSERT INTO audit_log (chain_id, number, at, actor, action, object, changed, request_id, personal_digest, hash)
             SELECT '{community}', n, now(), CASE WHEN n % 500 = 0 THEN 'system' ELSE 'user_' || n % 50 END,
                    CASE WHEN n % 500 = 0 THEN 'event.update' ELSE 'rsvp.attend' END, 'rsvp_' || n, '{{}}', '', '', ''
             FROM generate_series(1, 30000) AS n;
             INSERT INTO audit_personal (chain_id, number, salt) SELECT chain_id, number, '' FROM audit_log;"
        ))
        .await
        .expect("the rows fit the schema");
    admin.batch_execute("VACUUM (ANALYZE)").await.expect("the tables can be analysed");
    (server, database)
}

/// Registers the people who call, and gives them what they have.
pub(super) async fn cast(app: &App, sql: &Client) -> Cast {
    let (admin, member, guest) =
        (app.person("admin").await, app.person("member").await, app.person("guest").await);
    let community = load::community_id(0);
    sql.batch_execute(&format!(
        "SET auto_explain.log_min_duration = -1;
         INSERT INTO members (id, community_id, user_id, role, version, joined_at, updated_at)
         SELECT gen_random_uuid(), '{community}', id, CASE email WHEN '{admin}' THEN 'admin' ELSE 'member' END, 1, now(), now()
         FROM users WHERE email IN ('{admin}', '{member}');
         INSERT INTO members (id, community_id, user_id, role, version, joined_at, updated_at)
         SELECT gen_random_uuid(), c.id, u.id, 'member', 1, c.created_at, now() FROM communities c, users u
         WHERE c.slug LIKE 'quiet-1_' AND u.email = '{admin}';
         INSERT INTO rsvps (id, event_id, user_id, status, party_size, version, created_at, updated_at)
         SELECT gen_random_uuid(), e.id, u.id, 'confirmed', 1, 1, e.created_at, now() FROM events e, users u
         WHERE e.id <> '{hot}' AND u.email = '{admin}';",
        admin = admin.email,
        member = member.email,
        hot = load::event_id(HOT_EVENT),
    ))
    .await
    .expect("the rows fit the schema");

    let receiver = Receiver::start();
    let endpoint = json!({"url": receiver.url(), "event_types": ["rsvp.*"]});
    let made = app.post("/v1/communities/community-0/webhooks").by(&admin).json(endpoint).await;
    let made = made.expect(201).json();
    sql.batch_execute(&format!(
        "INSERT INTO webhook_deliveries (id, endpoint_id, event_id, event_type, body, status, number, created_at)
         SELECT gen_random_uuid(), w.id, gen_random_uuid(), 'rsvp.confirmed', '{{}}', 'succeeded', 1,
                now() - n * interval '1 minute'
         FROM webhook_endpoints w, generate_series(1, 6000) AS n WHERE w.url = '{}';
         INSERT INTO webhook_attempts (delivery_id, number, started_at, status_code, duration_ms)
         SELECT id, 1, created_at, 200, 3 FROM webhook_deliveries WHERE number = 1
         ON CONFLICT DO NOTHING;",
        receiver.url()
    ))
    .await
    .expect("the rows fit the schema");
    sql.batch_execute("VACUUM (ANALYZE)").await.expect("the tables can be analysed");

    let events = app.get("/v1/communities/community-0/events?limit=100").await.expect(200).json();
    let hot = format!("Meetup {HOT_EVENT}");
    let listed = events["data"].as_array().expect("a list has data");
    let event = listed.iter().find(|event| event["title"] == hot.as_str());
    Cast {
        event: text(&event.expect("the hot event is listed")["id"]),
        webhook: text(&made["id"]),
        community: "community-0",
        admin,
        member,
        guest,
        receiver,
    }
}

pub(super) async fn big_tables(sql: &Client) -> BTreeSet<String> {
    let rows = sql
        .query(
            "SELECT relname::text FROM pg_class
             WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
               AND reltuples >= $1",
            &[&BIG],
        )
        .await
        .expect("the catalogue can be read");
    rows.iter().map(|row| row.get(0)).collect()
}

pub(super) async fn connect(database: &TestDatabase) -> Client {
    let (client, connection) =
        tokio_postgres::connect(&database.admin_url(), NoTls).await.expect("the database answers");
    tokio::spawn(connection);
    client
}
