//! The chains of the audit log, recomputed by the functions that made them, and what is personal, erased.

use async_trait::async_trait;
use convene_application::kernel::operate::audit::{
    AuditChains, AuditTx, Erased, Erasure, Fault, Link, Run,
};
use convene_application::kernel::store::StoreError;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Binary, Nullable, Text, Uuid as SqlUuid};
use uuid::Uuid;

use crate::postgres::sql::{sql, stored};
use crate::postgres::store::PgStore;
use crate::postgres::tx::PgTx;

#[derive(QueryableByName)]
struct ChainRow {
    #[diesel(sql_type = Nullable<SqlUuid>)]
    chain_id: Option<Uuid>,
}

#[derive(QueryableByName)]
struct EntryRow {
    #[diesel(sql_type = BigInt)]
    number: i64,
    #[diesel(sql_type = BigInt)]
    place: i64,
    #[diesel(sql_type = Binary)]
    hash: Vec<u8>,
    #[diesel(sql_type = Nullable<Text>)]
    flaw: Option<String>,
}

#[derive(QueryableByName)]
struct EndRow {
    #[diesel(sql_type = BigInt)]
    number: i64,
    #[diesel(sql_type = Binary)]
    hash: Vec<u8>,
}

#[derive(QueryableByName)]
struct NumberRow {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

#[derive(QueryableByName)]
struct ErasedRow {
    #[diesel(sql_type = BigInt)]
    erased: i64,
    #[diesel(sql_type = SqlUuid)]
    chain_id: Uuid,
    #[diesel(sql_type = BigInt)]
    number: i64,
}

#[async_trait]
impl AuditChains for PgStore {
    async fn chain_from(&self, from: Uuid) -> Result<Option<Uuid>, StoreError> {
        let connection = self.connection().await?;
        let next: Option<ChainRow> = sql("SELECT least(
                (SELECT chain_id FROM audit_chains WHERE chain_id >= $1 ORDER BY chain_id LIMIT 1),
                (SELECT chain_id FROM audit_log WHERE chain_id >= $1 ORDER BY chain_id, number LIMIT 1),
                (SELECT chain_id FROM audit_personal WHERE chain_id >= $1 ORDER BY chain_id, number LIMIT 1)
             ) AS chain_id")
        .bind(from)
        .row(&connection)
        .await?;
        Ok(next.and_then(|next| next.chain_id))
    }

    async fn recompute(&self, chain: Uuid, behind: &Link, limit: u32) -> Result<Run, StoreError> {
        let connection = self.connection().await?;
        let entries: Vec<EntryRow> = sql("WITH entry AS (
                SELECT * FROM audit_log WHERE chain_id = $1 AND number > $2 ORDER BY number LIMIT $4
             ), recomputed AS (
                SELECT entry.number, entry.hash, $2 + row_number() OVER run AS place,
                       convene_audit_chain($3, convene_audit_bytes(entry.chain_id, entry.number, at, actor, session_id,
                           action, object, changed, request_id, personal_digest, outcome)) OVER run AS expected,
                       personal.salt IS NULL OR personal_digest =
                           convene_personal_digest(personal.salt, client_ip, user_agent) AS personal_fits
                FROM entry LEFT JOIN audit_personal AS personal
                     ON personal.chain_id = entry.chain_id AND personal.number = entry.number
                WINDOW run AS (ORDER BY entry.number)
             )
             SELECT number, place, hash,
                    CASE WHEN number <> place THEN 'missing' WHEN hash <> expected THEN 'changed'
                         WHEN NOT personal_fits THEN 'personal_changed' END AS flaw
             FROM recomputed ORDER BY number")
        .bind(chain)
        .bind(behind.number)
        .bind(behind.hash.clone())
        .bind(i64::from(limit))
        .rows(&connection)
        .await?;
        let mut run = Run::default();
        for entry in entries {
            if let Some(flaw) = entry.flaw {
                let flaw = stored("the flaw of an entry", flaw.parse())?;
                // In the place of one that is missing stands a later one.
                run.fault = Some(Fault { number: entry.place, flaw });
                break;
            }
            run.entries += 1;
            run.last = Some(Link { number: entry.number, hash: entry.hash });
        }
        Ok(run)
    }

    async fn end(&self, chain: Uuid) -> Result<Option<Link>, StoreError> {
        let connection = self.connection().await?;
        let end: Option<EndRow> = sql("SELECT number, hash FROM audit_chains WHERE chain_id = $1")
            .bind(chain)
            .row(&connection)
            .await?;
        Ok(end.map(|EndRow { number, hash }| Link { number, hash }))
    }

    async fn stray(&self, chain: Uuid, last: i64) -> Result<Option<i64>, StoreError> {
        let connection = self.connection().await?;
        let stray: Option<NumberRow> = sql("SELECT number FROM (
                (SELECT number FROM audit_personal WHERE chain_id = $1 AND number < 1 ORDER BY number LIMIT 1)
                UNION ALL
                (SELECT number FROM audit_personal WHERE chain_id = $1 AND number > $2 ORDER BY number LIMIT 1)
             ) AS stray ORDER BY number LIMIT 1")
        .bind(chain)
        .bind(last)
        .row(&connection)
        .await?;
        Ok(stray.map(|stray| stray.number))
    }
}

#[async_trait]
impl AuditTx for PgTx {
    async fn erase(
        &mut self,
        what: &Erasure,
        behind: Option<(Uuid, i64)>,
        limit: u32,
    ) -> Result<Erased, StoreError> {
        let (chain, number) = behind.unwrap_or((Uuid::nil(), i64::MIN));
        let erase = sql("WITH batch AS (
                SELECT personal.chain_id, personal.number,
                       ($4 IS NULL OR entry.actor = $4) AND ($5 IS NULL OR entry.at < $5) AS due
                FROM (SELECT chain_id, number FROM audit_personal WHERE (chain_id, number) > ($1, $2)
                      ORDER BY chain_id, number LIMIT $3) AS personal
                     LEFT JOIN audit_log AS entry
                     ON entry.chain_id = personal.chain_id AND entry.number = personal.number
             ), gone AS (
                DELETE FROM audit_personal AS personal USING batch
                WHERE personal.chain_id = batch.chain_id AND personal.number = batch.number AND batch.due
                RETURNING 1
             )
             SELECT (SELECT count(*) FROM gone) AS erased, chain_id, number FROM batch
             ORDER BY chain_id DESC, number DESC LIMIT 1")
        .bind(chain)
        .bind(number)
        .bind(i64::from(limit))
        .bind(what.user.map(|user| user.to_string()))
        .bind(what.before);
        let row = self.flight(|connection| erase.row::<ErasedRow>(connection)).await?;
        Ok(row.map_or_else(Erased::default, |row| Erased {
            entries: row.erased.unsigned_abs(),
            until: Some((row.chain_id, row.number)),
        }))
    }
}
