//! Idempotency keys. A claim is an advisory lock that lasts as long as the transaction; the row is written once, with the
//! reply, when it commits. So a key that was claimed and never answered leaves nothing behind.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use convene_application::kernel::idempotency::{Claimed, KeyClaim, StoredReply};
use convene_application::kernel::store::StoreError;
use diesel::QueryableByName;
use diesel::sql_types::{Binary, Bool, Nullable, SmallInt, Text};

use super::pool::Connection;
use super::sql::{Sql, flight, sql};

#[derive(QueryableByName)]
struct Lock {
    #[diesel(sql_type = Bool)]
    held: bool,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Binary)]
    scope: Vec<u8>,
    #[diesel(sql_type = Binary)]
    fingerprint: Vec<u8>,
    #[diesel(sql_type = SmallInt)]
    status: i16,
    #[diesel(sql_type = Nullable<Text>)]
    location: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    etag: Option<String>,
    #[diesel(sql_type = Binary)]
    body: Vec<u8>,
}

impl Row {
    /// The scope, with the fingerprint and the reply that are stored for it.
    fn into_entry(self) -> (Vec<u8>, (Vec<u8>, StoredReply)) {
        let reply = StoredReply {
            status: u16::try_from(self.status).unwrap_or(200),
            location: self.location,
            etag: self.etag,
            body: Bytes::from(self.body),
        };
        (self.scope, (self.fingerprint, reply))
    }
}

/// Claims keys and reads what is stored for them, without ever waiting. The lookup is a statement of its own, behind the
/// locks: its snapshot sees what a holder committed just before letting go.
pub(super) async fn claim(
    claims: &[KeyClaim],
    connection: &Connection,
) -> Result<Vec<Claimed>, StoreError> {
    if claims.is_empty() {
        return Ok(Vec::new());
    }
    let (locks, rows): (Vec<Lock>, Vec<Row>) = flight!(
        sql("SELECT pg_try_advisory_xact_lock(lock) AS held
             FROM unnest($1::bigint[]) WITH ORDINALITY AS claim(lock, place) ORDER BY place")
        .bind(claims.iter().map(lock_key).collect::<Vec<i64>>())
        .rows(connection),
        sql("SELECT scope, fingerprint, status, location, etag, body FROM idempotency_keys
             WHERE scope = ANY($1) AND created_at > now() - interval '24 hours'")
        .bind(claims.iter().map(|claim| claim.scope).collect::<Vec<_>>())
        .rows(connection),
    )?;
    let stored: HashMap<Vec<u8>, (Vec<u8>, StoredReply)> =
        rows.into_iter().map(Row::into_entry).collect();
    let mut seen = HashSet::new();
    Ok(claims
        .iter()
        .zip(locks)
        .map(|(claim, lock)| match stored.get(claim.scope.as_slice()) {
            Some((fingerprint, reply)) if *fingerprint == claim.fingerprint => {
                Claimed::Done(reply.clone())
            }
            Some(_) => Claimed::Mismatch,
            // A key twice in one batch: its lock is held by this very transaction.
            None if lock.held && seen.insert(claim.scope) => Claimed::First,
            None => Claimed::InFlight,
        })
        .collect())
}

/// Stores the replies under the keys that claimed them. A row that outlived its time is replaced.
pub(super) fn store(claims: &[KeyClaim], replies: Vec<([u8; 32], StoredReply)>) -> Option<Sql> {
    if replies.is_empty() {
        return None;
    }
    let fingerprints: HashMap<_, _> =
        claims.iter().map(|claim| (claim.scope, claim.fingerprint)).collect();
    let (mut scopes, mut prints, mut statuses) = (vec![], vec![], vec![]);
    let (mut locations, mut etags, mut bodies) = (vec![], vec![], vec![]);
    for (scope, reply) in replies {
        let Some(fingerprint) = fingerprints.get(&scope) else { continue };
        scopes.push(scope);
        prints.push(*fingerprint);
        statuses.push(i16::try_from(reply.status).unwrap_or(200));
        locations.push(reply.location);
        etags.push(reply.etag);
        bodies.push(reply.body);
    }
    Some(
        sql("INSERT INTO idempotency_keys (scope, fingerprint, status, location, etag, body)
             SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::smallint[], $4::text[], $5::text[], $6::bytea[])
             ON CONFLICT (scope) DO UPDATE SET fingerprint = excluded.fingerprint, status = excluded.status,
                 location = excluded.location, etag = excluded.etag, body = excluded.body, created_at = now()")
            .bind(scopes)
            .bind(prints)
            .bind(statuses)
            .bind(locations)
            .bind(etags)
            .bind(bodies),
    )
}

/// The first 64 bits of the scope, itself a digest. Two scopes that share them only report each other as in flight.
fn lock_key(claim: &KeyClaim) -> i64 {
    let mut bits = [0; 8];
    bits.copy_from_slice(&claim.scope[..8]);
    i64::from_be_bytes(bits)
}
