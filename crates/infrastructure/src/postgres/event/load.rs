//! Events for load tests.

use crate::postgres::load::{EVENTS_EACH, Kind, Load, id_sql};
use crate::postgres::sql::{Sql, sql};

/// One event a week in each community, half of them over. The last in the shape is a draft, and the one before cancelled.
pub(in crate::postgres) fn statements(load: &Load) -> Vec<Sql> {
    let (event, last) = (id_sql(Kind::Event, "n"), load.events() - 1);
    let community = format!("n / {EVENTS_EACH}");
    vec![
        sql(format!(
            "INSERT INTO events (id, community_id, title, description, status, starts_at_local, ends_at_local,
                                 time_zone, starts_at, ends_at, published_at, version, created_at, updated_at)
             SELECT {event}, {of}, 'Meetup ' || n, 'Two talks, and time to talk to each other.', status, starts,
                    starts + interval '3 hours', zone, starts AT TIME ZONE zone,
                    (starts + interval '3 hours') AT TIME ZONE zone,
                    CASE WHEN status <> 'draft' THEN made + interval '1 hour' END,
                    CASE status WHEN 'draft' THEN 1 WHEN 'published' THEN 2 ELSE 3 END, made, made + interval '1 hour'
             FROM (SELECT n, status, zone, starts, starts AT TIME ZONE zone - interval '120 days' AS made
                   FROM (SELECT n, zone,
                                CASE n % {EVENTS_EACH} WHEN 19 THEN 'draft' WHEN 18 THEN 'cancelled' ELSE 'published' END
                                    AS status,
                                date_trunc('day', $1 AT TIME ZONE zone)
                                    + make_interval(weeks => n % {EVENTS_EACH} * 7 % 20 - 10, hours => 18) AS starts
                         FROM (SELECT n, (ARRAY['UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Tokyo'])
                                             [{community} % 4 + 1] AS zone
                               FROM generate_series(0, {last}) AS n) AS placed) AS planned) AS event",
            of = id_sql(Kind::Community, &community),
        ))
        .bind(load.now()),
        sql(format!(
            "INSERT INTO event_organizers (event_id, user_id)
             SELECT {event}, {user} FROM generate_series(0, {last}) AS n, unnest(ARRAY[0, 2]) AS k",
            user = id_sql(Kind::User, &load.person_sql(&community, "k")),
        )),
    ]
}
