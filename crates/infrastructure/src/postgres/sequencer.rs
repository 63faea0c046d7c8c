//! The sequencer: one call to the database moves committed events to the log and audit entries to their chains.

use std::time::Duration;

use async_trait::async_trait;
use convene_application::kernel::events::{OutboxBacklog, Sequenced, Sequencer};
use convene_application::kernel::store::StoreError;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Bool, Integer};

use super::PgStore;
use super::sql::sql;

#[derive(QueryableByName)]
struct Moved {
    #[diesel(sql_type = Bool)]
    busy: bool,
    #[diesel(sql_type = Integer)]
    events: i32,
    #[diesel(sql_type = Integer)]
    audit: i32,
}

#[derive(QueryableByName)]
struct Backlog {
    #[diesel(sql_type = BigInt)]
    waiting: i64,
    #[diesel(sql_type = BigInt)]
    age_micros: i64,
}

#[async_trait]
impl Sequencer for PgStore {
    async fn sequence(&self, limit: u32) -> Result<Sequenced, StoreError> {
        let connection = self.connection().await?;
        let moved: Option<Moved> = sql("SELECT busy, events, audit FROM convene_sequence($1)")
            .bind(i32::try_from(limit).unwrap_or(i32::MAX))
            .row(&connection)
            .await?;
        Ok(match moved {
            Some(Moved { busy: false, events, audit }) => Sequenced::Moved {
                events: u32::try_from(events).unwrap_or(0),
                audit: u32::try_from(audit).unwrap_or(0),
            },
            _ => Sequenced::Busy,
        })
    }

    async fn backlog(&self) -> Result<OutboxBacklog, StoreError> {
        let connection = self.connection().await?;
        let backlog: Option<Backlog> = sql("SELECT count(*) AS waiting,
                    coalesce(extract(epoch FROM clock_timestamp() - min(recorded_at)) * 1000000, 0)::bigint
                        AS age_micros
             FROM (SELECT recorded_at FROM outbox ORDER BY id LIMIT $1) AS waiting")
        .bind(OutboxBacklog::COUNTED.cast_signed())
        .row(&connection)
        .await?;
        Ok(backlog.map_or_else(OutboxBacklog::default, |backlog| OutboxBacklog {
            rows: u64::try_from(backlog.waiting).unwrap_or(0),
            age: Duration::from_micros(u64::try_from(backlog.age_micros).unwrap_or(0)),
        }))
    }
}
