//! The data set for load tests: it keeps every rule that the code keeps.

use convene_infrastructure::postgres::load::{self, Load};
use convene_infrastructure::postgres::seed::{self, SeedError};
use convene_testkit::database::TestDatabase;
use jiff::Timestamp;
use secrecy::SecretString;

use super::session;

async fn database() -> (TestDatabase, SecretString) {
    let database = super::database().await;
    let url = database.admin_url().into();
    (database, url)
}

fn smallest() -> Load {
    Load::new(0.0, "2026-05-01T12:00:00Z".parse::<Timestamp>().expect("an instant"))
}

#[tokio::test]
async fn a_load_has_the_sizes_it_tells_and_counters_that_match_a_recount() {
    let (database, url) = database().await;
    let load = smallest();
    seed::load(&url, &load).await.expect("an empty database can be filled");
    let admin = session(&database.admin_url()).await;

    for (table, rows) in [
        ("communities", load.communities()),
        ("community_slugs", load.communities()),
        ("users", load.users()),
        ("events", load.events()),
        ("event_seats", load.events()),
        ("rsvps", load.rsvps()),
    ] {
        let count = admin.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await;
        assert_eq!(count.expect("it can be counted").get::<_, i64>(0), rows, "{table}");
    }
    for (wrong, query) in [
        (
            "counters that differ from a recount",
            "SELECT count(*) FROM event_seats s, LATERAL (
                 SELECT coalesce(sum(party_size) FILTER (WHERE status = 'confirmed'), 0) AS taken,
                        count(*) FILTER (WHERE status = 'waitlisted') AS waiting
                 FROM rsvps WHERE event_id = s.event_id) AS counted
             WHERE (s.taken, s.waiting) <> (counted.taken, counted.waiting)",
        ),
        (
            "numbers in a line that the next one would not follow",
            "SELECT count(*) FROM event_seats s
             WHERE next_number <= (SELECT max(waitlist_number) FROM rsvps WHERE event_id = s.event_id)",
        ),
        (
            "people who wait although the first of them would fit",
            "SELECT count(*) FROM event_seats s JOIN rsvps r USING (event_id)
             WHERE r.waitlist_number = 1 AND s.taken + r.party_size <= s.capacity",
        ),
        (
            "active RSVPs to events that take none",
            "SELECT count(*) FROM rsvps r JOIN events e ON e.id = r.event_id
             WHERE e.status <> 'published' AND r.status <> 'cancelled'",
        ),
        (
            "RSVPs of people who are no members",
            "SELECT count(*) FROM rsvps r JOIN events e ON e.id = r.event_id
             WHERE NOT EXISTS (SELECT FROM members m WHERE m.community_id = e.community_id AND m.user_id = r.user_id)",
        ),
        (
            "RSVPs from the future or after the start",
            "SELECT count(*) FROM rsvps r JOIN events e ON e.id = r.event_id
             WHERE r.created_at > '2026-05-01T12:00:00Z' OR r.created_at >= e.starts_at",
        ),
        (
            "communities without exactly one owner",
            "SELECT count(*) FROM communities c
             WHERE (SELECT count(*) FROM members m WHERE m.community_id = c.id AND m.role = 'owner') <> 1",
        ),
        (
            "events without an organiser",
            "SELECT count(*) FROM events e
             WHERE NOT EXISTS (SELECT FROM event_organizers o WHERE o.event_id = e.id)",
        ),
        (
            "statuses that do not occur",
            "SELECT 3 - count(DISTINCT status) FROM rsvps",
        ),
    ] {
        let count = admin.query_one(query, &[]).await.expect("the check runs");
        assert_eq!(count.get::<_, i64>(0), 0, "{wrong}");
    }
}

#[tokio::test]
async fn ids_can_be_computed() {
    let (database, url) = database().await;
    let load = smallest();
    seed::load(&url, &load).await.expect("an empty database can be filled");
    let admin = session(&database.admin_url()).await;
    let (community, event, member) = (3, 3 * load::EVENTS_EACH + 2, 7);
    let found = admin
        .query_one(
            &format!(
                "SELECT count(*) FILTER (WHERE m.user_id = '{}'), count(*)
                 FROM members m JOIN events e USING (community_id) WHERE m.community_id = '{}' AND e.id = '{}'",
                load::user_id(load.person(community, member)),
                load::community_id(community),
                load::event_id(event),
            ),
            &[],
        )
        .await
        .expect("the check runs");
    let (member, members): (i64, i64) = (found.get(0), found.get(1));
    assert_eq!((member, members), (1, load.members_of(community)));
}

#[tokio::test]
async fn a_database_with_people_is_emptied_on_demand_alone() {
    let (database, url) = database().await;
    seed::prepare(&url, false).await.expect("an empty database is ready");
    seed::load(&url, &smallest()).await.expect("an empty database can be filled");
    let refused = seed::prepare(&url, false).await;
    assert!(matches!(refused, Err(SeedError::NotEmpty)), "{refused:?}");

    let admin = session(&database.admin_url()).await;
    admin
        .batch_execute(
            "INSERT INTO signing_keys VALUES ('kid', '', '', now());
             UPDATE log_head SET position = 7;
             INSERT INTO sink_cursors VALUES ('sink', 3, 1, gen_random_uuid(), now())",
        )
        .await
        .expect("the rows fit the schema");
    seed::prepare(&url, true).await.expect("it is emptied");
    let left = admin
        .query_one(
            "SELECT (SELECT count(*) FROM rsvps) + (SELECT count(*) FROM users), (SELECT count(*) FROM signing_keys),
                    (SELECT position FROM log_head), (SELECT position FROM sink_cursors)",
            &[],
        )
        .await
        .expect("the check runs");
    let left: [i64; 4] = std::array::from_fn(|column| left.get(column));
    assert_eq!(left, [0, 1, 7, 7], "rows, keys, the log's position, the sink's");
    seed::load(&url, &smallest()).await.expect("it can be filled again");
}
