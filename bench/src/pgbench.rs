//! The base line: pgbench writing the same rows, one prepared statement per round trip.

use std::error::Error;
use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use crate::scene::{EVENTS, Scene, USERS};

/// Connections, the same for both sides.
pub(crate) const CLIENTS: usize = 16;

/// RSVPs per second over as many events as ours, of its own.
pub(crate) fn spread(scene: &Scene, duration: Duration) -> Result<f64, Box<dyn Error>> {
    run(scene, duration, &format!("\\set e random({EVENTS}, {} - 1)", EVENTS * 2))
}

/// RSVPs per second to one event.
pub(crate) fn hot(scene: &Scene, duration: Duration) -> Result<f64, Box<dyn Error>> {
    run(scene, duration, &format!("\\set e {} - 1", EVENTS * 2))
}

fn run(scene: &Scene, duration: Duration, choose_event: &str) -> Result<f64, Box<dyn Error>> {
    let user = "('00000000-0000-0001-0000-' || lpad(to_hex(:u), 12, '0'))::uuid";
    let event = "('00000000-0000-0002-0000-' || lpad(to_hex(:e), 12, '0'))::uuid";
    let script = format!(
        "\\set u random(0, {USERS} - 1)
{choose_event}
BEGIN;
SELECT user_id, role FROM members WHERE community_id = (SELECT community_id FROM events WHERE id = {event}) AND user_id = {user} FOR SHARE;
SELECT capacity, taken, waiting, next_number FROM event_seats WHERE event_id = {event} FOR NO KEY UPDATE;
SELECT e.community_id, c.visibility, e.status, e.starts_at, e.ends_at, e.rsvp_opens_at, e.rsvp_closes_at, c.archived_at FROM events e JOIN communities c ON c.id = e.community_id WHERE e.id = {event};
SELECT id, status, party_size, version FROM rsvps WHERE event_id = {event} AND user_id = {user} AND status <> 'cancelled';
INSERT INTO rsvps (id, event_id, user_id, status, party_size, version, created_at, updated_at) VALUES (gen_random_uuid(), {event}, {user}, 'confirmed', 1, 1, now(), now()) ON CONFLICT (event_id, user_id) WHERE status <> 'cancelled' DO UPDATE SET updated_at = now();
UPDATE event_seats SET taken = taken + 1 WHERE event_id = {event};
INSERT INTO outbox (event_id, event_type, version, community_id, envelope) VALUES (gen_random_uuid(), 'rsvp.confirmed', 1, gen_random_uuid(), decode(repeat('ab', 900), 'hex'));
INSERT INTO audit_pending (community_id, actor, session_id, action, object, changed, request_id) VALUES (gen_random_uuid(), 'user_01mg05crrsfpkt7dx9d6rg53q3', gen_random_uuid(), 'rsvp.attend', 'rsvp_01mgz7z9ynfjhtx5dy8nb2nwsx', '{{\"party_size\":1}}', 'bench');
COMMIT;
"
    );
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(script.as_bytes())?;
    let output = Command::new("pgbench")
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
        .arg(format!("--client={CLIENTS}"))
        .arg(format!("--time={}", duration.as_secs()))
        .arg(format!("--port={}", scene.port))
        .args(["--host=127.0.0.1", "--username=postgres", "--file"])
        .arg(file.path())
        .arg("convene_bench")
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .find_map(|line| line.strip_prefix("tps = ")?.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| {
            format!("pgbench told no rate: {text}{}", String::from_utf8_lossy(&output.stderr))
                .into()
        })
}
