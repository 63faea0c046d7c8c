//! Revocations, which every process reads continually.

use async_trait::async_trait;
use convene_application::auth::ports::{Revocations, Revoked};
use convene_application::kernel::store::StoreError;
use convene_domain::ids::{SessionId, TypedId as _};
use diesel::QueryableByName;
use diesel::sql_types::{Bool, Timestamptz};
use jiff::Timestamp;

use super::rows::IdRow;
use crate::postgres::sql::{flight, sql};
use crate::postgres::store::PgStore;

#[derive(QueryableByName)]
struct NowRow {
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    now: Timestamp,
}

#[derive(QueryableByName)]
struct RevokedRow {
    #[diesel(sql_type = Bool)]
    revoked: bool,
}

#[async_trait]
impl Revocations for PgStore {
    async fn since(&self, since: Option<Timestamp>) -> Result<Revoked, StoreError> {
        let connection = self.connection().await?;
        // The time first: what is written after it is read next time.
        let (now, rows) = flight!(
            sql("SELECT clock_timestamp() AS now").row::<NowRow>(&connection),
            // With both ends a generic plan expects few rows, and takes the index.
            sql("SELECT subject AS id FROM revocations
                 WHERE kind = 'session' AND at BETWEEN coalesce($1, now() - interval '20 minutes') AND 'infinity'")
            .bind(since)
            .rows::<IdRow>(&connection),
        )?;
        let now = now.ok_or_else(|| StoreError::other("the database does not tell the time"))?;
        Ok(Revoked { sessions: rows.into_iter().map(SessionId::from).collect(), as_of: now.now })
    }

    async fn is_revoked(&self, session: SessionId) -> Result<bool, StoreError> {
        let connection = self.connection().await?;
        let row: Option<RevokedRow> =
            sql("SELECT EXISTS (SELECT FROM revocations
                                WHERE subject = $1 AND kind = 'session' AND at >= now() - interval '20 minutes')
                        AS revoked")
            .bind(session.uuid())
            .row(&connection)
            .await?;
        Ok(row.is_some_and(|row| row.revoked))
    }
}
