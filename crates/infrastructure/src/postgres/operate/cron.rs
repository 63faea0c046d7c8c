//! The scheduler's duties as operators see and pause them.

use async_trait::async_trait;
use convene_application::kernel::operate::cron::{CronReads, CronTx, DutyView};
use convene_application::kernel::store::StoreError;
use diesel::QueryableByName;
use diesel::sql_types::{Bool, Nullable, Text, Timestamptz};
use jiff::Timestamp;

use crate::postgres::sql::sql;
use crate::postgres::store::PgStore;
use crate::postgres::tx::PgTx;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    schedule: String,
    #[diesel(sql_type = Text)]
    missed: String,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    next_tick: Timestamp,
    #[diesel(sql_type = Bool)]
    paused: bool,
    #[diesel(sql_type = Nullable<Timestamptz>, deserialize_as = jiff_diesel::NullableTimestamp)]
    last_tick: Option<Timestamp>,
    #[diesel(sql_type = Nullable<Timestamptz>, deserialize_as = jiff_diesel::NullableTimestamp)]
    last_fired_at: Option<Timestamp>,
}

#[async_trait]
impl CronReads for PgStore {
    async fn duties(&self) -> Result<Vec<DutyView>, StoreError> {
        let connection = self.connection().await?;
        let rows: Vec<Row> =
            sql("SELECT name, schedule, missed, next_tick, paused, last_tick, last_fired_at
             FROM cron_duties ORDER BY name")
            .rows(&connection)
            .await?;
        Ok(rows.into_iter().map(DutyView::from).collect())
    }
}

impl From<Row> for DutyView {
    fn from(row: Row) -> Self {
        Self {
            name: row.name,
            schedule: row.schedule,
            missed: row.missed,
            next_tick: row.next_tick,
            paused: row.paused,
            last_tick: row.last_tick,
            last_fired_at: row.last_fired_at,
        }
    }
}

#[async_trait]
impl CronTx for PgTx {
    async fn pause_duty(&mut self, name: &str, paused: bool) -> Result<bool, StoreError> {
        let pause = sql("UPDATE cron_duties SET paused = $2 WHERE name = $1")
            .bind(name.to_owned())
            .bind(paused);
        Ok(self.flight(|connection| pause.run(connection)).await? > 0)
    }
}
