//! The audit log, read by a community's owner and admins.

use async_trait::async_trait;
use convene_application::kernel::audit::{AuditLog, EntryFilter, LoggedEntry};
use convene_application::kernel::page::{Page, PageKey, PageQuery};
use convene_application::kernel::store::StoreError;
use convene_domain::ids::{CommunityId, TypedId};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Binary, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use jiff::Timestamp;
use uuid::Uuid;

use super::PgStore;
use super::sql::sql;

/// An entry with what is personal of it.
#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    number: i64,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    at: Timestamp,
    #[diesel(sql_type = Nullable<Text>)]
    actor: Option<String>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    session_id: Option<Uuid>,
    #[diesel(sql_type = Text)]
    action: String,
    #[diesel(sql_type = Text)]
    object: String,
    #[diesel(sql_type = Text)]
    outcome: String,
    #[diesel(sql_type = Jsonb)]
    changed: serde_json::Value,
    #[diesel(sql_type = Text)]
    request_id: String,
    #[diesel(sql_type = Binary)]
    hash: Vec<u8>,
    #[diesel(sql_type = Nullable<Text>)]
    client_ip: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    user_agent: Option<String>,
}

impl From<Row> for LoggedEntry {
    fn from(row: Row) -> Self {
        Self {
            number: row.number,
            at: row.at,
            actor: row.actor,
            session: row.session_id.map(TypedId::from_uuid),
            action: row.action,
            object: row.object,
            outcome: row.outcome,
            changed: row.changed,
            request_id: row.request_id,
            hash: row.hash,
            client_ip: row.client_ip,
            user_agent: row.user_agent,
        }
    }
}

#[async_trait]
impl AuditLog for PgStore {
    async fn entries(
        &self,
        community: CommunityId,
        filter: &EntryFilter,
        query: PageQuery,
    ) -> Result<Page<LoggedEntry>, StoreError> {
        if let EntryFilter::During { since, until } = filter {
            return self.during(community, *since, *until, query).await;
        }
        let (behind, order) = if query.backwards() { ("<", "DESC") } else { (">", "ASC") };
        // Each filter is a statement of its own, so that each has the plan of its index.
        let (condition, value) = match filter {
            EntryFilter::Any | EntryFilter::During { .. } => ("", None),
            EntryFilter::Actor(actor) => ("AND entry.actor = $4", Some(actor.clone())),
            EntryFilter::Action(action) => ("AND entry.action = $4", Some(action.clone())),
        };
        let statement = sql(format!(
            "SELECT entry.number, at, actor, session_id, action, object, outcome, changed, request_id, hash, client_ip,
                    user_agent
             FROM audit_log AS entry LEFT JOIN audit_personal AS personal
                  ON personal.chain_id = entry.chain_id AND personal.number = entry.number
             WHERE entry.chain_id = $1 AND entry.number {behind} $2 {condition}
             ORDER BY entry.number {order} LIMIT $3"
        ))
        .bind(community.uuid())
        .bind(query.edge().map_or(0, |edge| edge.sort))
        .bind(query.fetch());
        let statement = match value {
            Some(value) => statement.bind(value),
            None => statement,
        };
        let connection = self.connection().await?;
        let rows: Vec<Row> = statement.rows(&connection).await?;
        let entries = rows.into_iter().map(LoggedEntry::from).collect();
        Ok(query
            .page(entries, |entry: &LoggedEntry| PageKey { sort: entry.number, id: Uuid::nil() }))
    }
}

impl PgStore {
    /// Those of a time. The edge of the page, or of the time where there is none, is one end of what is read from the index,
    /// and the other end of the time is the other.
    async fn during(
        &self,
        community: CommunityId,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        query: PageQuery,
    ) -> Result<Page<LoggedEntry>, StoreError> {
        let since = since.unwrap_or(EARLIEST).max(EARLIEST);
        let until = until.unwrap_or(LATEST).min(LATEST);
        let edge = query.edge().map(|edge| Ok((instant(edge.sort)?, number(edge.id))));
        // Numbers begin with 1.
        let (at, number) = edge.transpose()?.unwrap_or((since, 0));
        let (behind, order, other_end) = if query.backwards() {
            ("<", "DESC", "entry.at >= $4")
        } else {
            (">", "ASC", "entry.at < $4")
        };
        let statement = sql(format!(
            "SELECT entry.number, at, actor, session_id, action, object, outcome, changed, request_id, hash, client_ip,
                    user_agent
             FROM audit_log AS entry LEFT JOIN audit_personal AS personal
                  ON personal.chain_id = entry.chain_id AND personal.number = entry.number
             WHERE entry.chain_id = $1 AND (entry.at, entry.number) {behind} ($2, $3) AND {other_end}
             ORDER BY entry.at {order}, entry.number {order} LIMIT $5"
        ))
        .bind(community.uuid())
        .bind(at)
        .bind(number)
        .bind(if query.backwards() { since } else { until })
        .bind(query.fetch());
        let connection = self.connection().await?;
        let rows: Vec<Row> = statement.rows(&connection).await?;
        let entries = rows.into_iter().map(LoggedEntry::from).collect();
        Ok(query.page(entries, |entry: &LoggedEntry| PageKey {
            sort: entry.at.as_microsecond(),
            id: Uuid::from_u128(u128::from(entry.number.unsigned_abs())),
        }))
    }
}

/// No entry is older.
const EARLIEST: Timestamp = Timestamp::UNIX_EPOCH;
/// The last second that jiff and Postgres both know; no entry is younger.
const LATEST: Timestamp = Timestamp::constant(253_402_207_200, 0);

fn instant(micros: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(micros).map_err(|error| StoreError::Other(Box::new(error)))
}

fn number(id: Uuid) -> i64 {
    i64::try_from(id.as_u128()).unwrap_or(i64::MAX)
}
