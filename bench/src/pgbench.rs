//! The base line of writes: pgbench sends the statements that an RSVP sends, one prepared statement a round trip.
//!
//! They are those of `postgres/rsvp/tx.rs`, `outbox.rs` and `audit.rs`, with one element where those send arrays, and an
//! envelope as long as a real one.

use std::io::Write as _;
use std::process::Command;

use crate::scene::{EVENTS, HOT, REGULARS, Scene, USERS, id_sql};
use crate::{DURATION, Fault};

/// Connections, the same for both sides.
pub(crate) const CLIENTS: usize = 16;

/// RSVPs per second over as many events as ours, of its own.
pub(crate) async fn spread(scene: &Scene) -> Result<f64, Fault> {
    let (first, last) = (EVENTS, EVENTS * 2 - 1);
    run(scene, &format!("\\set u random(0, {REGULARS} - 1)\n\\set e random({first}, {last})")).await
}

/// RSVPs per second to one event.
pub(crate) async fn hot(scene: &Scene) -> Result<f64, Fault> {
    run(scene, &format!("\\set u random(0, {USERS} - 1)\n\\set e {HOT} + 1")).await
}

async fn run(scene: &Scene, choose: &str) -> Result<f64, Fault> {
    let sql = scene.connect(scene.large()).await?;
    let length: i32 =
        sql.query_one("SELECT coalesce(max(length(envelope)), 900) FROM outbox", &[]).await?.get(0);
    let script = script(choose, length);
    let port = scene.port();
    let database = scene.large();
    tokio::task::spawn_blocking(move || pgbench(&script, port, database)).await?
}

fn script(choose: &str, envelope: i32) -> String {
    let (user, event) = (id_sql(1, ":u::bigint"), id_sql(2, ":e::bigint"));
    let columns = "r.id, r.event_id, r.user_id, r.status, r.party_size, r.waitlist_number, r.version, r.created_at, \
         r.updated_at, CASE WHEN r.status = 'waitlisted' THEN (SELECT count(*) FROM rsvps w WHERE w.event_id = r.event_id \
         AND w.status = 'waitlisted' AND w.waitlist_number < r.waitlist_number) ELSE 0 END AS ahead";
    let statements = [
        "BEGIN".to_owned(),
        format!(
            "SELECT m.user_id, m.role FROM (SELECT user_id FROM unnest(ARRAY[{user}]) AS asked(user_id) ORDER BY user_id) \
             AS asked, LATERAL (SELECT user_id, role FROM members WHERE community_id = (SELECT community_id FROM events \
             WHERE id = {event}) AND user_id = asked.user_id FOR SHARE) AS m"
        ),
        format!(
            "SELECT capacity, taken, waiting, next_number FROM event_seats WHERE event_id = {event} FOR NO KEY UPDATE"
        ),
        format!(
            "SELECT e.community_id, c.visibility = 'private' AS private, e.status, e.published_at IS NOT NULL AS published, \
             e.starts_at, e.ends_at, e.rsvp_opens_at, e.rsvp_closes_at, c.archived_at IS NOT NULL AS archived \
             FROM events e JOIN communities c ON c.id = e.community_id WHERE e.id = {event}"
        ),
        format!(
            "SELECT user_id FROM event_organizers WHERE event_id = {event} AND user_id = ANY(ARRAY[{user}])"
        ),
        format!(
            "SELECT DISTINCT ON (r.user_id) {columns} FROM unnest(ARRAY[{user}]) AS asked(user_id), LATERAL (SELECT * FROM \
             rsvps WHERE event_id = {event} AND user_id = asked.user_id AND status <> 'cancelled' UNION ALL (SELECT * FROM \
             rsvps WHERE event_id = {event} AND user_id = asked.user_id AND status = 'cancelled' ORDER BY created_at DESC, \
             id DESC LIMIT 1)) AS r ORDER BY r.user_id, r.status <> 'cancelled' DESC"
        ),
        format!(
            "SELECT {columns} FROM rsvps r WHERE r.event_id = {event} AND r.status = 'waitlisted' ORDER BY \
             r.waitlist_number LIMIT 0 + (SELECT coalesce(sum(h.party_size) + count(*), 0) FROM rsvps h WHERE h.event_id = \
             {event} AND h.user_id = ANY(ARRAY[{user}]) AND h.status <> 'cancelled')"
        ),
        format!(
            "UPDATE event_seats SET taken = taken + 1, waiting = 0, next_number = 1 WHERE event_id = {event}"
        ),
        format!(
            "INSERT INTO rsvps (id, event_id, user_id, status, party_size, waitlist_number, version, created_at, updated_at) \
             VALUES (gen_random_uuid(), {event}, {user}, 'confirmed', 1, NULL, 1, now(), now()) \
             ON CONFLICT (event_id, user_id) WHERE status <> 'cancelled' DO UPDATE SET updated_at = excluded.updated_at"
        ),
        format!(
            "INSERT INTO outbox (event_id, event_type, version, community_id, envelope) VALUES (gen_random_uuid(), \
             'rsvp.confirmed', 1, {event}, convert_to(repeat('x', {envelope}), 'UTF8'))"
        ),
        format!(
            "INSERT INTO audit_pending (community_id, actor, session_id, action, object, changed, request_id, client_ip, \
             user_agent) VALUES ({event}, 'user_01mg05crrsfpkt7dx9d6rg53q3', {user}, 'rsvp.attend', \
             'rsvp_01mgz7z9ynfjhtx5dy8nb2nwsx', '{{\"party_size\": 1}}', 'bench', NULL, NULL)"
        ),
        "COMMIT".to_owned(),
    ];
    format!("{choose}\n{};\n", statements.join(";\n"))
}

fn pgbench(script: &str, port: u16, database: &str) -> Result<f64, Fault> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(script.as_bytes())?;
    let output = Command::new("pgbench")
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
        .arg(format!("--client={CLIENTS}"))
        .arg(format!("--time={}", DURATION.as_secs()))
        .arg(format!("--port={port}"))
        .args(["--host=127.0.0.1", "--username=postgres", "--file"])
        .arg(file.path())
        .arg(database)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .find_map(|line| line.strip_prefix("tps = ")?.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| {
            format!("pgbench told no rate: {text}{}", String::from_utf8_lossy(&output.stderr))
                .into()
        })
}
