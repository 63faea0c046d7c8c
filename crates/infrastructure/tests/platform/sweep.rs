//! What is over goes, what is not stays, and the inbox has its next partitions.

use std::time::Duration;

use convene_application::kernel::sweep::{Keep, Sweep as _, Swept};

use super::{count, database, session, store};

const KEEP: Keep = Keep { ended_jobs: Duration::from_hours(24), events: None };

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_is_swept_and_what_is_not_stays() {
    let database = database().await;
    let (admin, store) = (session(&database.admin_url()).await, store(&database));
    admin
        .batch_execute(
            "INSERT INTO idempotency_keys (scope, fingerprint, status, body, created_at)
             SELECT sha256(number::text::bytea), sha256(''), 200, '', now() - number * interval '10 hours'
             FROM generate_series(1, 5) AS number;
             INSERT INTO jobs_dead (job_id, kind, queue, payload, priority, attempt, max_attempts, last_error,
                                    created_at, died_at)
             SELECT number, 'test', 'default', 'null', 1, 1, 1, '', now(), now() - number * interval '20 days'
             FROM generate_series(0, 3) AS number;
             INSERT INTO cron_ticks (name, tick)
             SELECT name, now() - number * interval '5 days'
             FROM generate_series(0, 3) AS number, unnest('{often,seldom}'::text[]) AS name
             WHERE name = 'often' OR number = 3;
             INSERT INTO cache_invalidations (kind, subject, at)
             SELECT 'event', gen_random_uuid(), now() - number * interval '9 minutes' FROM generate_series(0, 6) AS number;
             INSERT INTO job_groups (queue, job_group, ready_at, looked_at, paused)
             VALUES ('q', 'idle', 'infinity', now() - interval '2 days', false),
                    ('q', 'paused', 'infinity', now() - interval '2 days', true),
                    ('q', 'waits', now() + interval '1 hour', now() - interval '2 days', false),
                    ('q', 'fresh', 'infinity', now(), false);
             SET ROLE convene_owner;
             CREATE TABLE jobs_archive_20200106 (LIKE jobs_archive INCLUDING ALL);
             ALTER TABLE jobs_archive ATTACH PARTITION jobs_archive_20200106
                 FOR VALUES FROM ('2020-01-06Z') TO ('2020-01-07Z');
             CREATE TABLE inbox_20200106 (LIKE inbox INCLUDING ALL);
             ALTER TABLE inbox ATTACH PARTITION inbox_20200106
                 FOR VALUES FROM (convene_first_uuid('2020-01-06Z')) TO (convene_first_uuid('2020-01-13Z'));
             INSERT INTO inbox (event_id, consumer) VALUES (convene_first_uuid('2020-01-08Z'), 'test');
             RESET ROLE",
        )
        .await
        .unwrap();
    assert_eq!(count(&admin, "inbox_20200106").await, 1);
    let swept = store.sweep(KEEP).await.unwrap();
    let expected = Swept {
        idempotency_keys: 3,
        dead_jobs: 2,
        cron_ticks: 2,
        invalidations: 4,
        inbox_partitions: 1,
        job_partitions: 1,
        job_groups: 1,
        event_partitions: 0,
    };
    assert_eq!(swept, expected);
    assert_eq!(count(&admin, "idempotency_keys").await, 2);
    assert_eq!(count(&admin, "jobs_dead").await, 2);
    assert_eq!(count(&admin, "cron_ticks WHERE name = 'seldom'").await, 1, "the last tick stays");
    assert_eq!(count(&admin, "job_groups").await, 3);
    assert_eq!(store.sweep(KEEP).await.unwrap(), Swept::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inbox_gets_the_partitions_that_are_missing_with_the_rows_that_came_too_early() {
    let database = database().await;
    let (admin, store) = (session(&database.admin_url()).await, store(&database));
    let this_week = "(SELECT 'inbox_' || to_char(date_trunc('week', now(), 'UTC') AT TIME ZONE 'UTC', 'YYYYMMDD'))";
    let name: String = admin.query_one(this_week, &[]).await.unwrap().get(0);
    // As after a long time without a sweep.
    admin
        .batch_execute(&format!(
            "DROP TABLE {name};
             INSERT INTO inbox (event_id, consumer) VALUES (convene_first_uuid(now()), 'test')"
        ))
        .await
        .unwrap();
    assert_eq!(count(&admin, "inbox_default").await, 1);
    store.sweep(KEEP).await.unwrap();
    assert_eq!(count(&admin, "inbox_default").await, 0);
    assert_eq!(count(&admin, &name).await, 1);
}

/// Two full partitions and a begun one, whose events are old in the first and in the second.
#[tokio::test(flavor = "multi_thread")]
async fn old_events_go_by_whole_partitions_and_never_before_they_are_delivered() {
    let database = database().await;
    let (admin, store) = (session(&database.admin_url()).await, store(&database));
    admin
        .batch_execute(
            "SET ROLE convene_owner;
             UPDATE log_head SET position = 1000000;
             SELECT convene_extend_log();
             UPDATE log_head SET position = 2000000;
             SELECT convene_extend_log();
             UPDATE log_head SET position = 2000001;
             INSERT INTO domain_events (position, event_id, event_type, version, envelope, recorded_at)
             SELECT position, gen_random_uuid(), 'rsvp.confirmed', 1, '{}', now() - age * interval '1 day'
             FROM (VALUES (1, 40), (1000000, 30), (1000001, 29), (2000000, 25), (2000001, 22)) AS event(position, age);
             RESET ROLE",
        )
        .await
        .unwrap();
    let keep = Keep { events: Some(Duration::from_hours(20 * 24)), ..KEEP };
    let forget = async || store.sweep(keep).await.unwrap().event_partitions;
    assert_eq!(forget().await, 0, "no sink has delivered anything");
    admin
        .batch_execute(
            "INSERT INTO sink_cursors VALUES ('slow', 1999999, 1, gen_random_uuid(), now()),
                                             ('fast', 2000001, 1, gen_random_uuid(), now())",
        )
        .await
        .unwrap();
    assert_eq!(store.sweep(KEEP).await.unwrap().event_partitions, 0, "they are kept for good");
    assert_eq!(forget().await, 1, "the second is not delivered by all");
    assert_eq!(count(&admin, "domain_events").await, 3);
    admin.batch_execute("UPDATE sink_cursors SET position = 2000001").await.unwrap();
    let longer = Keep { events: Some(Duration::from_hours(27 * 24)), ..KEEP };
    assert_eq!(store.sweep(longer).await.unwrap().event_partitions, 0, "it is too young");
    assert_eq!(forget().await, 1);
    assert_eq!(forget().await, 0, "the newest is not full");
    assert_eq!(count(&admin, "domain_events").await, 1);
}
