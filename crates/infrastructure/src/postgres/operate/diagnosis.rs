//! What a database tells about itself before anybody relies on it.

use convene_application::kernel::store::StoreError;
use diesel::QueryableByName;
use diesel::sql_types::{Array, Bool, Integer, Text, Timestamptz};
use jiff::{SignedDuration, Timestamp};

use crate::postgres::line::Purpose;
use crate::postgres::migrate::{APPEND_ONLY, ERASABLE, READ_ONLY};
use crate::postgres::pool::Pool;
use crate::postgres::sql::sql;

/// What a database tells about itself, as the role that serves sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The server's version, such as `16.4`.
    pub version: String,
    /// Its major version.
    pub major: u32,
    /// The role that this session acts as.
    pub role: String,
    /// Whether the role passes every check of rights.
    pub is_superuser: bool,
    /// The tables that the role owns: it could change them, whatever it was granted.
    pub owned_tables: Vec<String>,
    /// What the role may do to the logs beyond what it needs.
    pub excesses: Vec<Excess>,
}

/// How far the database's clock is from ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew {
    /// By how much it is ahead; negative if it is behind.
    pub ahead: SignedDuration,
    /// How long asking took: the answer is as good as half of this.
    pub travelled: SignedDuration,
}

/// A right on a log that the serving role should not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    /// The table.
    pub table: String,
    /// The right, such as `DELETE`.
    pub privilege: String,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    version: String,
    #[diesel(sql_type = Integer)]
    version_number: i32,
    #[diesel(sql_type = Text)]
    role: String,
    #[diesel(sql_type = Bool)]
    is_superuser: bool,
    #[diesel(sql_type = Array<Text>)]
    owned_tables: Vec<String>,
}

#[derive(QueryableByName)]
struct Clock {
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    clock: Timestamp,
}

#[derive(QueryableByName)]
struct ExcessRow {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    privilege: String,
}

/// Asks the database behind the pool.
///
/// # Errors
/// [`StoreError::Unavailable`] if it does not answer.
pub async fn diagnose(pool: &Pool) -> Result<Diagnosis, StoreError> {
    let connection = pool.get(Purpose::Upkeep).await?;
    let excesses: Vec<ExcessRow> = sql("SELECT relation.relname::text AS name, privilege
         FROM pg_class AS relation
         CROSS JOIN unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS privilege
         WHERE relation.relnamespace = 'public'::regnamespace AND relation.relkind IN ('r', 'p')
           AND has_table_privilege(relation.oid, privilege)
           AND (relation.relname = ANY ($1)
                OR relation.relname = ANY ($2) AND privilege <> 'INSERT'
                OR relation.relname = ANY ($3) AND privilege <> 'DELETE'
                OR relation.relispartition AND EXISTS (
                    SELECT FROM pg_inherits WHERE inhrelid = relation.oid AND inhparent = to_regclass('public.domain_events')))
         ORDER BY 1, 2")
    .bind(READ_ONLY.to_vec())
    .bind(APPEND_ONLY.to_vec())
    .bind(ERASABLE.to_vec())
    .rows(&connection)
    .await?;
    let row: Option<Row> = sql("SELECT current_setting('server_version') AS version,
                current_setting('server_version_num')::integer AS version_number,
                current_user::text AS role,
                (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
                ARRAY(SELECT relname::text FROM pg_class
                      WHERE relnamespace = to_regnamespace('public') AND relkind IN ('r', 'p') AND NOT relispartition
                        AND pg_get_userbyid(relowner) = current_user ORDER BY 1) AS owned_tables")
    .row(&connection)
    .await?;
    let row = row.ok_or_else(|| StoreError::other("the database tells nothing about itself"))?;
    Ok(Diagnosis {
        major: row.version_number.unsigned_abs() / 10_000,
        version: row.version,
        role: row.role,
        is_superuser: row.is_superuser,
        owned_tables: row.owned_tables,
        excesses: excesses
            .into_iter()
            .map(|row| Excess { table: row.name, privilege: row.privilege })
            .collect(),
    })
}

/// The database's clock, by which leases run. Asked twice: the first question carries the making of the connection.
///
/// # Errors
/// [`StoreError::Unavailable`] if it does not answer.
pub async fn clock(pool: &Pool, now: impl Fn() -> Timestamp + Send) -> Result<Skew, StoreError> {
    let connection = pool.get(Purpose::Upkeep).await?;
    let read = || sql("SELECT clock_timestamp() AS clock").row::<Clock>(&connection);
    read().await?;
    let before = now();
    let row = read().await?;
    let travelled = now().duration_since(before);
    let there = row.ok_or_else(|| StoreError::other("the database has no clock"))?.clock;
    // It was read on the way, most likely halfway.
    Ok(Skew { ahead: there.duration_since(before) - travelled / 2, travelled })
}
