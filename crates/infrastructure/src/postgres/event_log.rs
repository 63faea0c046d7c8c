//! The event log: read by position, by sinks and by a community's admins, and how far each sink has got.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use convene_application::kernel::events::{EventLog, Lead, LoggedEvent, SinkLag};
use convene_application::kernel::log::{CommunityLog, TypeFilter};
use convene_application::kernel::page::{Page, PageKey, PageQuery};
use convene_application::kernel::store::StoreError;
use convene_domain::ids::{CommunityId, TypedId as _};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Binary, Nullable, SmallInt, Text, Uuid as SqlUuid};
use uuid::Uuid;

use super::PgStore;
use super::sql::{micros, sql};

/// An event of the log.
#[derive(QueryableByName)]
pub(super) struct Row {
    #[diesel(sql_type = BigInt)]
    position: i64,
    #[diesel(sql_type = SqlUuid)]
    event_id: Uuid,
    #[diesel(sql_type = Text)]
    event_type: String,
    #[diesel(sql_type = SmallInt)]
    version: i16,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    community_id: Option<Uuid>,
    #[diesel(sql_type = Binary)]
    envelope: Vec<u8>,
}

impl From<Row> for LoggedEvent {
    fn from(row: Row) -> Self {
        Self {
            position: row.position,
            id: row.event_id,
            event_type: row.event_type,
            version: u16::try_from(row.version).unwrap_or(0),
            community: row.community_id.map(CommunityId::from_uuid),
            envelope: Bytes::from(row.envelope),
            replay: 0,
        }
    }
}

#[derive(QueryableByName)]
struct Position {
    #[diesel(sql_type = BigInt)]
    position: i64,
}

#[derive(QueryableByName)]
struct Lag {
    #[diesel(sql_type = BigInt)]
    events: i64,
    #[diesel(sql_type = BigInt)]
    age_micros: i64,
}

#[derive(QueryableByName)]
struct Led {
    #[diesel(sql_type = BigInt)]
    position: i64,
    #[diesel(sql_type = BigInt)]
    epoch: i64,
}

#[async_trait]
impl EventLog for PgStore {
    async fn read_after(&self, position: i64, limit: u32) -> Result<Vec<LoggedEvent>, StoreError> {
        let connection = self.connection().await?;
        let rows: Vec<Row> =
            sql("SELECT position, event_id, event_type, version, community_id, envelope FROM domain_events
                 WHERE position > $1 ORDER BY position LIMIT $2")
                .bind(position)
                .bind(i64::from(limit))
                .rows(&connection)
                .await?;
        Ok(rows.into_iter().map(LoggedEvent::from).collect())
    }

    async fn head(&self) -> Result<i64, StoreError> {
        let connection = self.connection().await?;
        let head: Option<Position> = sql("SELECT position FROM log_head").row(&connection).await?;
        Ok(head.map_or(0, |head| head.position))
    }

    async fn lag(&self, sink: &str) -> Result<Option<SinkLag>, StoreError> {
        let connection = self.connection().await?;
        let lag: Option<Lag> = sql("SELECT log_head.position - sink_cursors.position AS events,
                    coalesce((SELECT (extract(epoch FROM clock_timestamp() - recorded_at) * 1000000)::bigint
                              FROM domain_events WHERE domain_events.position > sink_cursors.position
                              ORDER BY domain_events.position LIMIT 1), 0) AS age_micros
             FROM sink_cursors CROSS JOIN log_head WHERE sink = $1")
        .bind(sink.to_owned())
        .row(&connection)
        .await?;
        let count = |number| u64::try_from(number).unwrap_or(0);
        Ok(lag.map(|lag| SinkLag {
            events: count(lag.events),
            age: Duration::from_micros(count(lag.age_micros)),
        }))
    }

    async fn lead(
        &self,
        sink: &str,
        holder: Uuid,
        lease: Duration,
    ) -> Result<Option<Lead>, StoreError> {
        let connection = self.connection().await?;
        // A lease that ends later than any that is given now was given before the clock was set back. Whoever holds it and is
        // alive has made it shorter since, or is fenced off by the epoch.
        let led: Option<Led> =
            sql("INSERT INTO sink_cursors (sink, position, epoch, holder, leased_until)
                 VALUES ($1, (SELECT coalesce(max(position), 0) FROM sink_cursors), 1, $2,
                         clock_timestamp() + $3 * interval '1 microsecond')
                 ON CONFLICT (sink) DO UPDATE
                     SET epoch = sink_cursors.epoch + 1, holder = excluded.holder, leased_until = excluded.leased_until
                     WHERE sink_cursors.leased_until NOT BETWEEN clock_timestamp()
                               AND clock_timestamp() + 2 * $3 * interval '1 microsecond'
                        OR sink_cursors.holder = excluded.holder
                 RETURNING position, epoch")
                .bind(sink.to_owned())
                .bind(holder)
                .bind(micros(lease))
                .row(&connection)
                .await?;
        Ok(led.map(|Led { position, epoch }| Lead { position, epoch }))
    }

    async fn advance(
        &self,
        sink: &str,
        lead: Lead,
        position: i64,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        let connection = self.connection().await?;
        let moved = sql("UPDATE sink_cursors SET position = greatest(position, $3),
                 leased_until = clock_timestamp() + $4 * interval '1 microsecond'
             WHERE sink = $1 AND epoch = $2")
        .bind(sink.to_owned())
        .bind(lead.epoch)
        .bind(position)
        .bind(micros(lease))
        .run(&connection)
        .await?;
        Ok(moved == 1)
    }

    async fn resign(&self, sink: &str, lead: Lead) -> Result<(), StoreError> {
        let connection = self.connection().await?;
        sql("UPDATE sink_cursors SET leased_until = clock_timestamp() WHERE sink = $1 AND epoch = $2")
            .bind(sink.to_owned())
            .bind(lead.epoch)
            .run(&connection)
            .await?;
        Ok(())
    }
}

#[async_trait]
impl CommunityLog for PgStore {
    async fn page(
        &self,
        community: CommunityId,
        filter: &TypeFilter,
        query: PageQuery,
    ) -> Result<Page<LoggedEvent>, StoreError> {
        let (exact, prefix) = match filter {
            TypeFilter::Any => (None, None),
            TypeFilter::Module(module) => (None, Some(format!("{module}."))),
            TypeFilter::Exact(event_type) => (Some(event_type.clone()), None),
        };
        let forwards = "SELECT position, event_id, event_type, version, community_id, envelope FROM domain_events
             WHERE community_id = $1 AND position > $2 AND ($3 IS NULL OR event_type = $3)
               AND ($4 IS NULL OR starts_with(event_type, $4))
             ORDER BY position LIMIT $5";
        let backwards = "SELECT position, event_id, event_type, version, community_id, envelope FROM domain_events
             WHERE community_id = $1 AND position < $2 AND ($3 IS NULL OR event_type = $3)
               AND ($4 IS NULL OR starts_with(event_type, $4))
             ORDER BY position DESC LIMIT $5";
        let connection = self.connection().await?;
        let rows: Vec<Row> = sql(if query.backwards() { backwards } else { forwards })
            .bind(community.uuid())
            .bind(query.edge().map_or(0, |edge| edge.sort))
            .bind(exact)
            .bind(prefix)
            .bind(query.fetch())
            .rows(&connection)
            .await?;
        let events = rows.into_iter().map(LoggedEvent::from).collect();
        Ok(query.page(events, |event: &LoggedEvent| PageKey { sort: event.position, id: event.id }))
    }
}
