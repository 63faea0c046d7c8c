//! What is over goes, what is not stays, and the inbox has its next partitions.

use convene_application::kernel::sweep::{Sweep as _, Swept};

use super::{count, database, session, store};

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
             SET ROLE convene_owner;
             CREATE TABLE inbox_20200106 (LIKE inbox INCLUDING ALL);
             ALTER TABLE inbox ATTACH PARTITION inbox_20200106
                 FOR VALUES FROM (convene_first_uuid('2020-01-06Z')) TO (convene_first_uuid('2020-01-13Z'));
             INSERT INTO inbox (event_id, consumer) VALUES (convene_first_uuid('2020-01-08Z'), 'test');
             RESET ROLE",
        )
        .await
        .unwrap();
    assert_eq!(count(&admin, "inbox_20200106").await, 1);
    let swept = store.sweep().await.unwrap();
    let expected = Swept { idempotency_keys: 3, dead_jobs: 2, cron_ticks: 2, inbox_partitions: 1 };
    assert_eq!(swept, expected);
    assert_eq!(count(&admin, "idempotency_keys").await, 2);
    assert_eq!(count(&admin, "jobs_dead").await, 2);
    assert_eq!(count(&admin, "cron_ticks WHERE name = 'seldom'").await, 1, "the last tick stays");
    assert_eq!(store.sweep().await.unwrap(), Swept::default());
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
    store.sweep().await.unwrap();
    assert_eq!(count(&admin, "inbox_default").await, 0);
    assert_eq!(count(&admin, &name).await, 1);
}
