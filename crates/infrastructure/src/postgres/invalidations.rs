//! Invalidations of what is cached: written with the change, read continually by every process.

use async_trait::async_trait;
use convene_application::kernel::cache::{Invalidation, Invalidations, News, Stale};
use convene_application::kernel::store::StoreError;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use jiff::Timestamp;
use uuid::Uuid;

use super::sql::{Sql, flight, sql};
use super::store::PgStore;

/// Writes a transaction's invalidations; to be sent right in front of COMMIT.
pub(super) fn insert(stale: &[Stale]) -> Option<Sql> {
    if stale.is_empty() {
        return None;
    }
    let kinds: Vec<&'static str> = stale.iter().map(|key| key.kind).collect();
    let subjects: Vec<Uuid> = stale.iter().map(|key| key.subject).collect();
    let parts: Vec<Option<Uuid>> = stale.iter().map(|key| key.part).collect();
    Some(
        sql("INSERT INTO cache_invalidations (kind, subject, part)
             SELECT kind, subject, part FROM unnest($1::text[], $2::uuid[], $3::uuid[]) AS stale(kind, subject, part)")
            .bind(kinds)
            .bind(subjects)
            .bind(parts),
    )
}

#[derive(QueryableByName)]
struct NowRow {
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    now: Timestamp,
    #[diesel(sql_type = SqlUuid)]
    epoch: Uuid,
}

#[derive(QueryableByName)]
struct InvalidationRow {
    #[diesel(sql_type = BigInt)]
    number: i64,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = SqlUuid)]
    subject: Uuid,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    part: Option<Uuid>,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    at: Timestamp,
}

#[async_trait]
impl Invalidations for PgStore {
    async fn invalidated_since(
        &self,
        since: Option<Timestamp>,
        most: usize,
    ) -> Result<News, StoreError> {
        let connection = self.connection().await?;
        // The time first: what is written after it is read next time.
        let (now, rows) = flight!(
            sql("SELECT clock_timestamp() AS now, epoch FROM cache_epochs")
                .row::<NowRow>(&connection),
            // With both ends a generic plan expects few rows, and takes the index.
            sql("SELECT number, kind, subject, part, at FROM cache_invalidations
                 WHERE at BETWEEN coalesce($1, now() - interval '20 minutes') AND 'infinity'
                 ORDER BY at LIMIT $2")
            .bind(since)
            .bind(i64::try_from(most).unwrap_or(i64::MAX))
            .rows::<InvalidationRow>(&connection),
        )?;
        let now = now.ok_or_else(|| StoreError::other("the database has no epoch"))?;
        let invalidation = |row: InvalidationRow| Invalidation {
            number: row.number,
            key: Stale { kind: row.kind, subject: row.subject, part: row.part },
            at: row.at,
        };
        Ok(News {
            invalidations: rows.into_iter().map(invalidation).collect(),
            as_of: now.now,
            epoch: now.epoch,
        })
    }
}
