//! Seats and RSVPs for load tests.

use crate::postgres::load::{EVENTS_EACH, Kind, Load, id_sql, parties_sql};
use crate::postgres::sql::{Sql, sql};

/// Every other event has seats for four fifths of those who ask, so that some wait; one RSVP in thirteen was cancelled. The
/// counters are counted from the rows.
pub(in crate::postgres) fn statements(load: &Load) -> Vec<Sql> {
    let (event, last) = (id_sql(Kind::Event, "n"), load.events() - 1);
    let community = format!("n / {EVENTS_EACH}");
    let parties = parties_sql(&format!("n % {EVENTS_EACH}"));
    let place = format!("(n % {EVENTS_EACH} * 37 + i) % {}", load.members_of_sql(&community));
    vec![
        sql(format!(
            "INSERT INTO event_seats (event_id, capacity)
             SELECT {event}, CASE WHEN n % 2 = 0 THEN {parties} * 4 / 5 END FROM generate_series(0, {last}) AS n"
        )),
        sql(format!(
            "INSERT INTO rsvps (id, event_id, user_id, status, party_size, waitlist_number, version, created_at,
                                updated_at)
             SELECT {id}, event_id, user_id, status, party,
                    CASE WHEN status = 'waitlisted' THEN count(*) FILTER (WHERE status = 'waitlisted') OVER line END,
                    CASE WHEN status = 'cancelled' THEN 2 ELSE 1 END, made,
                    CASE WHEN status = 'cancelled' THEN made + interval '1 day' ELSE made END
             FROM (SELECT n, i, e.id AS event_id, {user} AS user_id, party,
                          CASE WHEN cancelled THEN 'cancelled'
                               WHEN sum(party) FILTER (WHERE NOT cancelled) OVER line > s.capacity THEN 'waitlisted'
                               ELSE 'confirmed' END AS status,
                          e.created_at + make_interval(days => 1, hours => 3 * i, secs => n % 3600) AS made
                   FROM (SELECT n, i, 1 + (i % 7 = 3)::int + (i % 31 = 17)::int AS party,
                                i % 13 = 5 OR n % {EVENTS_EACH} = 18 AS cancelled
                         FROM generate_series(0, {last}) AS n, generate_series(0, {parties} - 1) AS i) AS asked
                   JOIN events e ON e.id = {event}
                   JOIN event_seats s ON s.event_id = e.id
                   WINDOW line AS (PARTITION BY n ORDER BY i)) AS answered
             WINDOW line AS (PARTITION BY n ORDER BY i)",
            id = id_sql(Kind::Rsvp, "(n::bigint << 8) + i"),
            user = id_sql(Kind::User, &load.person_sql(&community, &format!("({place})"))),
        )),
        sql("UPDATE event_seats SET taken = counted.taken, waiting = counted.waiting, next_number = counted.waiting + 1
             FROM (SELECT event_id, coalesce(sum(party_size) FILTER (WHERE status = 'confirmed'), 0)::int AS taken,
                          count(*) FILTER (WHERE status = 'waitlisted')::int AS waiting
                   FROM rsvps GROUP BY event_id) AS counted
             WHERE counted.event_id = event_seats.event_id"),
    ]
}
