//! Reads of RSVPs that need no transaction.

use async_trait::async_trait;
use convene_application::kernel::page::{Page, PageQuery};
use convene_application::kernel::store::StoreError;
use convene_application::rsvp::ports::{EventCard, RsvpReads, RsvpView, Seen};
use convene_domain::ids::{CommunityId, EventId, TypedId, UserId};
use convene_domain::rsvp::{Seats, Status};
use diesel::QueryableByName;
use diesel::sql_types::{Text, Timestamp as SqlTimestamp, Uuid as SqlUuid};
use jiff::Timestamp;
use jiff::civil::DateTime;
use uuid::Uuid;

use super::rows::{FACTS_COLUMNS, RSVP_COLUMNS, RsvpRow, SeatsRow, SeenRow};
use super::tx::last_of_each;
use crate::postgres::keyset::{Order, Slice, slice};
use crate::postgres::sql::{Sql, flight, sql};
use crate::postgres::store::PgStore;

/// RSVPs are listed by their creation.
const KEYS: [&str; 2] = ["r.created_at", "r.id"];

#[derive(QueryableByName)]
struct UserRow {
    #[diesel(sql_type = SqlUuid)]
    user_id: Uuid,
}

#[derive(QueryableByName)]
struct EventRow {
    #[diesel(sql_type = SqlUuid)]
    event_id: Uuid,
}

/// An event as a viewer sees it, with its seats.
#[derive(QueryableByName)]
struct SeatedRow {
    #[diesel(embed)]
    event: EventRow,
    #[diesel(embed)]
    seen: SeenRow,
    #[diesel(embed)]
    seats: SeatsRow,
}

#[derive(QueryableByName)]
struct CardRow {
    #[diesel(sql_type = Text)]
    title: String,
    #[diesel(sql_type = SqlTimestamp, deserialize_as = jiff_diesel::DateTime)]
    starts_at_local: DateTime,
    #[diesel(sql_type = Text)]
    time_zone: String,
}

#[async_trait]
impl RsvpReads for PgStore {
    async fn event(
        &self,
        event: EventId,
        viewer: Option<UserId>,
    ) -> Result<Option<Seen>, StoreError> {
        let connection = self.connection().await?;
        let row = seen(event, viewer).row::<SeenRow>(&connection).await?;
        row.map(Seen::try_from).transpose()
    }

    async fn seats(
        &self,
        event: EventId,
        viewer: Option<UserId>,
    ) -> Result<Option<(Seen, Seats)>, StoreError> {
        let connection = self.connection().await?;
        let (seen, seats) =
            flight!(
            seen(event, viewer).row::<SeenRow>(&connection),
            sql("SELECT capacity, taken, waiting, next_number FROM event_seats WHERE event_id = $1")
                .bind(event.uuid())
                .row::<SeatsRow>(&connection),
        )?;
        let (Some(seen), Some(seats)) = (seen, seats) else { return Ok(None) };
        Ok(Some((seen.try_into()?, seats.into())))
    }

    async fn last_of(
        &self,
        event: EventId,
        user: UserId,
    ) -> Result<Option<(Seen, Option<RsvpView>)>, StoreError> {
        let connection = self.connection().await?;
        let (seen, last) = flight!(
            seen(event, Some(user)).row::<SeenRow>(&connection),
            last_of_each(event, vec![user.uuid()]).row::<RsvpRow>(&connection),
        )?;
        let Some(seen) = seen else { return Ok(None) };
        Ok(Some((seen.try_into()?, last.map(RsvpRow::into_view).transpose()?)))
    }

    async fn seats_of(
        &self,
        events: &[EventId],
        viewer: Option<UserId>,
    ) -> Result<Vec<(EventId, Seen, Seats)>, StoreError> {
        // One after the other by the plan of one: for a join of all, Postgres may read whole tables.
        let rows: Vec<SeatedRow> = sql(format!(
            "SELECT seen.* FROM unnest($1) AS asked(id), LATERAL (
                 SELECT e.id AS event_id, {FACTS_COLUMNS}, s.capacity, s.taken, s.waiting, s.next_number,
                        (SELECT m.role FROM members m
                         WHERE m.community_id = e.community_id AND m.user_id = $2) AS role,
                        EXISTS (SELECT FROM event_organizers o
                                WHERE o.event_id = e.id AND o.user_id = $2) AS organizes
                 FROM events e JOIN communities c ON c.id = e.community_id JOIN event_seats s ON s.event_id = e.id
                 WHERE e.id = asked.id LIMIT 1
             ) AS seen"
        ))
        .bind(uuids(events))
        .bind(viewer.map(TypedId::uuid))
        .rows(&self.connection().await?)
        .await?;
        let seated = |row: SeatedRow| {
            Ok((EventId::from_uuid(row.event.event_id), row.seen.try_into()?, row.seats.into()))
        };
        rows.into_iter().map(seated).collect()
    }

    async fn last_to_each(
        &self,
        events: &[EventId],
        user: UserId,
    ) -> Result<Vec<RsvpView>, StoreError> {
        let rows: Vec<RsvpRow> = sql(format!(
            "SELECT DISTINCT ON (r.event_id) {RSVP_COLUMNS}
             FROM unnest($2) AS asked(event_id), LATERAL (
                 SELECT * FROM rsvps WHERE event_id = asked.event_id AND user_id = $1 AND status <> 'cancelled'
                 UNION ALL
                 (SELECT * FROM rsvps WHERE event_id = asked.event_id AND user_id = $1 AND status = 'cancelled'
                  ORDER BY created_at DESC, id DESC LIMIT 1)
             ) AS r
             ORDER BY r.event_id, r.status <> 'cancelled' DESC"
        ))
        .bind(user.uuid())
        .bind(uuids(events))
        .rows(&self.connection().await?)
        .await?;
        rows.into_iter().map(RsvpRow::into_view).collect()
    }

    async fn of_event(
        &self,
        event: EventId,
        status: Option<Status>,
        query: PageQuery,
    ) -> Result<Page<RsvpView>, StoreError> {
        let slice = slice(KEYS, Order::OldestFirst, query, 2);
        // In the text, since a parameter would keep a generic plan from the indexes of those who wait and who cancelled.
        let of_status = match status {
            None => "r.status <> 'cancelled'",
            Some(Status::Confirmed) => "r.status = 'confirmed'",
            Some(Status::Waitlisted) => "r.status = 'waitlisted'",
            Some(Status::Cancelled) => "r.status = 'cancelled'",
        };
        let of = format!("r.event_id = $1 AND {of_status}");
        let list = list(&of, &slice).bind(event.uuid()).bind_page(query);
        self.rsvps(list, query).await
    }

    async fn of_user(&self, user: UserId, query: PageQuery) -> Result<Page<RsvpView>, StoreError> {
        let slice = slice(KEYS, Order::NewestFirst, query, 2);
        let list = list("r.user_id = $1", &slice).bind(user.uuid()).bind_page(query);
        self.rsvps(list, query).await
    }

    async fn active_users(&self, event: EventId, limit: i64) -> Result<Vec<UserId>, StoreError> {
        let connection = self.connection().await?;
        let rows: Vec<UserRow> =
            sql("SELECT user_id FROM rsvps WHERE event_id = $1 AND status <> 'cancelled'
             ORDER BY user_id LIMIT $2")
            .bind(event.uuid())
            .bind(limit)
            .rows(&connection)
            .await?;
        Ok(rows.into_iter().map(|row| UserId::from_uuid(row.user_id)).collect())
    }

    async fn events_held_by(
        &self,
        community: CommunityId,
        user: UserId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<EventId>, StoreError> {
        let connection = self.connection().await?;
        let rows: Vec<EventRow> =
            sql("SELECT r.event_id FROM rsvps r JOIN events e ON e.id = r.event_id
             WHERE r.user_id = $2 AND r.status <> 'cancelled' AND r.updated_at <= $3
               AND e.community_id = $1 AND e.ends_at > $4
             ORDER BY r.event_id")
            .bind(community.uuid())
            .bind(user.uuid())
            .bind(until)
            .bind(now)
            .rows(&connection)
            .await?;
        Ok(rows.into_iter().map(|row| EventId::from_uuid(row.event_id)).collect())
    }

    async fn card(&self, event: EventId) -> Result<Option<EventCard>, StoreError> {
        let connection = self.connection().await?;
        let row: Option<CardRow> =
            sql("SELECT title, starts_at_local, time_zone FROM events WHERE id = $1")
                .bind(event.uuid())
                .row(&connection)
                .await?;
        Ok(row.map(|row| EventCard {
            title: row.title,
            starts_at_local: row.starts_at_local,
            time_zone: row.time_zone,
        }))
    }
}

impl PgStore {
    async fn rsvps(&self, list: Sql, query: PageQuery) -> Result<Page<RsvpView>, StoreError> {
        let connection = self.connection().await?;
        let rows: Vec<RsvpRow> = list.rows(&connection).await?;
        query.page(rows, RsvpRow::page_key).try_map(RsvpRow::into_view)
    }
}

fn uuids(events: &[EventId]) -> Vec<Uuid> {
    events.iter().map(|event| event.uuid()).collect()
}

/// A page of the RSVPs that meet a condition.
fn list(of: &str, slice: &Slice) -> Sql {
    let Slice { condition, order } = slice;
    sql(format!("SELECT {RSVP_COLUMNS} FROM rsvps r WHERE {of} AND {condition} {order}"))
}

/// The event with who the viewer is to it.
fn seen(event: EventId, viewer: Option<UserId>) -> Sql {
    sql(format!(
        "SELECT {FACTS_COLUMNS},
                (SELECT m.role FROM members m WHERE m.community_id = e.community_id AND m.user_id = $2) AS role,
                EXISTS (SELECT FROM event_organizers o WHERE o.event_id = e.id AND o.user_id = $2) AS organizes
         FROM events e JOIN communities c ON c.id = e.community_id WHERE e.id = $1"
    ))
    .bind(event.uuid())
    .bind(viewer.map(TypedId::uuid))
}
