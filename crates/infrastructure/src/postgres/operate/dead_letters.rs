//! What dead jobs carry.

use async_trait::async_trait;
use convene_application::kernel::operate::dead_letters::DeadPayloads;
use convene_application::kernel::store::StoreError;
use diesel::QueryableByName;
use diesel::sql_types::Jsonb;
use serde_json::Value;

use crate::postgres::sql::sql;
use crate::postgres::store::PgStore;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Jsonb)]
    payload: Value,
}

#[async_trait]
impl DeadPayloads for PgStore {
    async fn dead_payload(&self, job: i64) -> Result<Option<Value>, StoreError> {
        let connection = self.connection().await?;
        let row: Option<Row> =
            sql("SELECT payload FROM jobs_dead WHERE job_id = $1 ORDER BY id DESC LIMIT 1")
                .bind(job)
                .row(&connection)
                .await?;
        Ok(row.map(|row| row.payload))
    }
}
