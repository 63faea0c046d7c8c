//! The event log searched, the cursors of the sinks, and replays.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use convene_application::kernel::log::TypeFilter;
use convene_application::kernel::operate::relay::{SinkCursor, SinkCursors};
use convene_application::kernel::operate::replay::{
    EventFilter, InboxReads, LogSearch, RecordedEvent, ReplayTx,
};
use convene_application::kernel::store::StoreError;
use convene_domain::ids::TypedId;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use jiff::Timestamp;
use uuid::Uuid;

use crate::postgres::event_log;
use crate::postgres::sql::sql;
use crate::postgres::store::PgStore;
use crate::postgres::tx::PgTx;

#[derive(QueryableByName)]
struct RecordedRow {
    #[diesel(embed)]
    event: event_log::Row,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    recorded_at: Timestamp,
}

#[derive(QueryableByName)]
struct CursorRow {
    #[diesel(sql_type = Text)]
    sink: String,
    #[diesel(sql_type = BigInt)]
    position: i64,
    #[diesel(sql_type = BigInt)]
    epoch: i64,
    #[diesel(sql_type = Bool)]
    is_led: bool,
    #[diesel(sql_type = Nullable<BigInt>)]
    age_micros: Option<i64>,
}

#[derive(QueryableByName)]
struct EventId {
    #[diesel(sql_type = SqlUuid)]
    event_id: Uuid,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = Integer)]
    id: i32,
}

#[derive(QueryableByName)]
struct ConsumerName {
    #[diesel(sql_type = Text)]
    consumer: String,
}

#[async_trait]
impl LogSearch for PgStore {
    async fn search(
        &self,
        filter: &EventFilter,
        after: i64,
        through: i64,
        limit: u32,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        let (exact, prefix) = match &filter.types {
            TypeFilter::Any => (None, None),
            TypeFilter::Module(module) => (None, Some(format!("{module}."))),
            TypeFilter::Exact(event_type) => (Some(event_type.clone()), None),
        };
        let connection = self.connection().await?;
        let rows: Vec<RecordedRow> = sql(
            "SELECT position, event_id, event_type, version, community_id, envelope, recorded_at FROM domain_events
             WHERE position > $1 AND position <= $2 AND ($3 IS NULL OR event_type = $3)
               AND ($4 IS NULL OR starts_with(event_type, $4)) AND ($5 IS NULL OR community_id = $5)
               AND ($6 IS NULL OR recorded_at >= $6) AND ($7 IS NULL OR recorded_at < $7)
               AND ($8 IS NULL OR convert_from(envelope, 'UTF8')::jsonb ->> 'subject' = $8)
             ORDER BY position LIMIT $9",
        )
        .bind(after)
        .bind(through)
        .bind(exact)
        .bind(prefix)
        .bind(filter.community.map(TypedId::uuid))
        .bind(filter.from)
        .bind(filter.to)
        .bind(filter.subject.clone())
        .bind(i64::from(limit))
        .rows(&connection)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| RecordedEvent { event: row.event.into(), recorded_at: row.recorded_at })
            .collect())
    }
}

#[async_trait]
impl InboxReads for PgStore {
    async fn consumed(
        &self,
        consumer: &str,
        replay: i32,
        events: &[Uuid],
    ) -> Result<HashSet<Uuid>, StoreError> {
        let connection = self.connection().await?;
        let rows: Vec<EventId> =
            sql("SELECT event_id FROM inbox WHERE event_id = ANY ($1) AND consumer = $2 AND replay = $3")
                .bind(events.to_vec())
                .bind(consumer.to_owned())
                .bind(replay)
                .rows(&connection)
                .await?;
        Ok(rows.into_iter().map(|row| row.event_id).collect())
    }
}

#[async_trait]
impl SinkCursors for PgStore {
    async fn sinks(&self) -> Result<Vec<SinkCursor>, StoreError> {
        let connection = self.connection().await?;
        let rows: Vec<CursorRow> = sql("SELECT sink, position, epoch, leased_until > clock_timestamp() AS is_led,
                (SELECT (extract(epoch FROM clock_timestamp() - recorded_at) * 1000000)::bigint FROM domain_events
                 WHERE domain_events.position > sink_cursors.position ORDER BY domain_events.position LIMIT 1)
                    AS age_micros
             FROM sink_cursors ORDER BY sink")
        .rows(&connection)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| SinkCursor {
                sink: row.sink,
                position: row.position,
                epoch: row.epoch,
                is_led: row.is_led,
                oldest_behind: row
                    .age_micros
                    .map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0))),
            })
            .collect())
    }
}

#[async_trait]
impl ReplayTx for PgTx {
    async fn number_replay(&mut self, consumer: &str) -> Result<i32, StoreError> {
        let insert = sql("INSERT INTO replays (consumer) VALUES ($1) RETURNING id")
            .bind(consumer.to_owned());
        let row = self.flight(|connection| insert.row::<Number>(connection)).await?;
        row.map(|row| row.id).ok_or_else(|| StoreError::other("a new replay has no number"))
    }

    async fn consumer_of(&mut self, replay: i32) -> Result<Option<String>, StoreError> {
        let find = sql("SELECT consumer FROM replays WHERE id = $1").bind(replay);
        let row = self.flight(|connection| find.row::<ConsumerName>(connection)).await?;
        Ok(row.map(|row| row.consumer))
    }
}
