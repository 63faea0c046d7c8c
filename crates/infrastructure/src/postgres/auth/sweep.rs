//! Removing what has outlived its time, a bounded number of rows at a time. Rows that somebody holds are left for the next
//! time.

use async_trait::async_trait;
use convene_application::auth::ports::Sweep;
use convene_application::kernel::store::StoreError;
use jiff::Timestamp;

use crate::postgres::sql::sql;
use crate::postgres::store::PgStore;

/// Each deletes at most `$2` rows that are over at `$1`. Revocations count by the database's own time, like the feed.
const SWEEPS: [&str; 6] = [
    "DELETE FROM registrations WHERE id IN
         (SELECT id FROM registrations WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
    "DELETE FROM email_tokens WHERE digest IN
         (SELECT digest FROM email_tokens WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
    "DELETE FROM sessions WHERE id IN
         (SELECT id FROM sessions WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
    "DELETE FROM refresh_tokens WHERE digest IN
         (SELECT digest FROM refresh_tokens WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
    "DELETE FROM revocations WHERE $1::timestamptz IS NOT NULL AND (subject, kind) IN
         (SELECT subject, kind FROM revocations WHERE at < now() - interval '20 minutes'
          LIMIT $2 FOR UPDATE SKIP LOCKED)",
    // What was tried against an account counts until it succeeds; for an address without account a day is enough to keep
    // the table small.
    "DELETE FROM login_failures WHERE account IN
         (SELECT f.account FROM login_failures f WHERE f.updated_at <= $1 - interval '1 day'
          AND NOT EXISTS (SELECT FROM credentials c WHERE c.account = f.account)
          LIMIT $2 FOR UPDATE OF f SKIP LOCKED)",
];

#[async_trait]
impl Sweep for PgStore {
    async fn sweep(&self, now: Timestamp, limit: i64) -> Result<bool, StoreError> {
        let connection = self.connection().await?;
        let mut more = false;
        for statement in SWEEPS {
            let deleted = sql(statement).bind(now).bind(limit).run(&connection).await?;
            more |= i64::try_from(deleted).is_ok_and(|deleted| deleted >= limit);
        }
        Ok(more)
    }
}
