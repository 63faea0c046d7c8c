//! The transaction of RSVPs. Locks in the order of the house: memberships, then the event's seats; everything else about
//! an event's RSVPs is read behind that one lock and needs none of its own.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use convene_application::kernel::store::StoreError;
use convene_application::rsvp::offers::SeatingTx;
use convene_application::rsvp::ports::{EventFacts, Opened, RsvpTx};
use convene_domain::ids::{EventId, TypedId as _, UserId};
use convene_domain::rsvp::{Rsvp, Seats};
use diesel::QueryableByName;
use diesel::sql_types::{Text, Uuid as SqlUuid};
use uuid::Uuid;

use super::rows::{FACTS_COLUMNS, FactsRow, RSVP_COLUMNS, RsvpRow, SeatsRow};
use crate::postgres::sql::{Sql, flight, sql};
use crate::postgres::tx::PgTx;

#[derive(QueryableByName)]
struct MemberRow {
    #[diesel(sql_type = SqlUuid)]
    user_id: Uuid,
    #[diesel(sql_type = Text)]
    role: String,
}

#[derive(QueryableByName)]
struct OrganizerRow {
    #[diesel(sql_type = SqlUuid)]
    user_id: Uuid,
}

#[async_trait]
impl RsvpTx for PgTx {
    async fn open(
        &mut self,
        event: EventId,
        users: &[UserId],
        promote: u32,
    ) -> Result<Option<Opened>, StoreError> {
        let ids: Vec<Uuid> = users.iter().map(|user| user.uuid()).collect();
        let promote = i64::from(promote);
        self.flight(|connection| async move {
            // In the order in which they are to run. Each takes a snapshot of its own, behind the locks before it.
            let (members, seats, facts, organizers, requesters, front) = flight!(
                lock_members(event, ids.clone()).rows::<MemberRow>(connection),
                lock_seats(event).row::<SeatsRow>(connection),
                facts(event).row::<FactsRow>(connection),
                organizers(event, ids.clone()).rows::<OrganizerRow>(connection),
                last_of_each(event, ids.clone()).rows::<RsvpRow>(connection),
                front_of_the_line(event, ids, promote).rows::<RsvpRow>(connection),
            )?;
            let (Some(seats), Some(facts)) = (seats, facts) else { return Ok(None) };
            let roles: HashMap<Uuid, String> =
                members.into_iter().map(|row| (row.user_id, row.role)).collect();
            let organizers: HashSet<Uuid> = organizers.into_iter().map(|row| row.user_id).collect();
            let standings = users.iter().map(|user| {
                let role = roles.get(&user.uuid()).map(String::as_str);
                facts.standing(role, organizers.contains(&user.uuid()))
            });
            let standings = standings.collect::<Result<_, _>>()?;
            Ok(Some(Opened {
                event: EventFacts::try_from(facts)?,
                standings,
                seats: seats.into(),
                requesters: requesters
                    .into_iter()
                    .map(RsvpRow::into_parts)
                    .collect::<Result<_, _>>()?,
                front: front
                    .into_iter()
                    .map(|row| row.into_parts().map(|(rsvp, _)| rsvp))
                    .collect::<Result<_, _>>()?,
            }))
        })
        .await
    }

    fn save(&mut self, event: EventId, seats: Seats, rsvps: Vec<Rsvp>) {
        self.write(
            sql("UPDATE event_seats SET taken = $2, waiting = $3, next_number = $4 WHERE event_id = $1")
                .bind(event.uuid())
                .bind(seats.taken.cast_signed())
                .bind(seats.waiting.cast_signed())
                .bind(seats.next_number),
        );
        self.write(save_rsvps(rsvps));
    }
}

#[async_trait]
impl SeatingTx for PgTx {
    async fn lock_seats(&mut self, event: EventId) -> Result<Option<Seats>, StoreError> {
        let row = self.flight(|connection| lock_seats(event).row::<SeatsRow>(connection)).await?;
        Ok(row.map(Seats::from))
    }

    fn open_seats(&mut self, event: EventId, capacity: Option<u32>) {
        self.write(
            sql("INSERT INTO event_seats (event_id, capacity) VALUES ($1, $2)")
                .bind(event.uuid())
                .bind(capacity.map(u32::cast_signed)),
        );
    }

    fn change_capacity(&mut self, event: EventId, capacity: Option<u32>) {
        self.write(
            sql("UPDATE event_seats SET capacity = $2 WHERE event_id = $1")
                .bind(event.uuid())
                .bind(capacity.map(u32::cast_signed)),
        );
    }
}

/// Shared, so that two events of one person do not wait for each other; leaving or being banned waits for both.
fn lock_members(event: EventId, users: Vec<Uuid>) -> Sql {
    // One look-up each. `user_id = ANY` would be a filter over all members: an index scan in the order of the persons cannot
    // take it for a condition.
    sql("SELECT m.user_id, m.role
         FROM (SELECT user_id FROM unnest($2) AS asked(user_id) ORDER BY user_id) AS asked,
              LATERAL (SELECT user_id, role FROM members
                       WHERE community_id = (SELECT community_id FROM events WHERE id = $1)
                         AND user_id = asked.user_id FOR SHARE) AS m")
    .bind(event.uuid())
    .bind(users)
}

/// The lock that orders everything about an event's seats.
pub(in crate::postgres) fn lock_seats(event: EventId) -> Sql {
    sql("SELECT capacity, taken, waiting, next_number FROM event_seats WHERE event_id = $1 FOR NO KEY UPDATE")
        .bind(event.uuid())
}

fn facts(event: EventId) -> Sql {
    sql(format!(
        "SELECT {FACTS_COLUMNS} FROM events e JOIN communities c ON c.id = e.community_id WHERE e.id = $1"
    ))
    .bind(event.uuid())
}

fn organizers(event: EventId, users: Vec<Uuid>) -> Sql {
    sql("SELECT user_id FROM event_organizers WHERE event_id = $1 AND user_id = ANY($2)")
        .bind(event.uuid())
        .bind(users)
}

/// The last RSVP of each: the active one, else the one that was made last. Each of the two is one look-up in an index of its
/// own, however many RSVPs the event or the person has.
pub(super) fn last_of_each(event: EventId, users: Vec<Uuid>) -> Sql {
    sql(format!(
        "SELECT DISTINCT ON (r.user_id) {RSVP_COLUMNS}
         FROM unnest($2) AS asked(user_id), LATERAL (
             SELECT * FROM rsvps WHERE event_id = $1 AND user_id = asked.user_id AND status <> 'cancelled'
             UNION ALL
             (SELECT * FROM rsvps WHERE event_id = $1 AND user_id = asked.user_id AND status = 'cancelled'
              ORDER BY created_at DESC, id DESC LIMIT 1)
         ) AS r
         ORDER BY r.user_id, r.status <> 'cancelled' DESC"
    ))
    .bind(event.uuid())
    .bind(users)
}

/// As many who wait as these users can make room for: one for each of their seats, and those of them who leave the line.
fn front_of_the_line(event: EventId, users: Vec<Uuid>, promote: i64) -> Sql {
    sql(format!(
        "SELECT {RSVP_COLUMNS} FROM rsvps r WHERE r.event_id = $1 AND r.status = 'waitlisted'
         ORDER BY r.waitlist_number
         LIMIT $3 + (SELECT coalesce(sum(h.party_size) + count(*), 0) FROM rsvps h
                     WHERE h.event_id = $1 AND h.user_id = ANY($2) AND h.status <> 'cancelled')"
    ))
    .bind(event.uuid())
    .bind(users)
    .bind(promote)
}

/// In the order in which they changed: whoever cancels and joins again in one batch leaves the old row before the new one
/// takes its place under the unique index.
fn save_rsvps(rsvps: Vec<Rsvp>) -> Sql {
    let (mut ids, mut events, mut users, mut statuses) = (vec![], vec![], vec![], vec![]);
    let (mut parties, mut numbers, mut versions) = (vec![], vec![], vec![]);
    let (mut made, mut changed) = (vec![], vec![]);
    for rsvp in rsvps {
        ids.push(rsvp.id.uuid());
        events.push(rsvp.event.uuid());
        users.push(rsvp.user.uuid());
        statuses.push(rsvp.status.as_str());
        parties.push(i16::try_from(rsvp.party.get()).unwrap_or(i16::MAX));
        numbers.push(rsvp.waitlist_number);
        versions.push(rsvp.version);
        made.push(rsvp.created_at);
        changed.push(rsvp.updated_at);
    }
    sql("INSERT INTO rsvps
             (id, event_id, user_id, status, party_size, waitlist_number, version, created_at, updated_at)
         SELECT id, event_id, user_id, status, party_size, waitlist_number, version, created_at, updated_at
         FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::smallint[], $6::bigint[], $7::integer[],
                     $8::timestamptz[], $9::timestamptz[]) WITH ORDINALITY
              AS rsvp(id, event_id, user_id, status, party_size, waitlist_number, version, created_at, updated_at,
                      place)
         ORDER BY place
         ON CONFLICT (id) DO UPDATE SET status = excluded.status, party_size = excluded.party_size,
             waitlist_number = excluded.waitlist_number, version = excluded.version,
             updated_at = excluded.updated_at")
    .bind(ids)
    .bind(events)
    .bind(users)
    .bind(statuses)
    .bind(parties)
    .bind(numbers)
    .bind(versions)
    .bind(made)
    .bind(changed)
}
