//! The keys that sign access tokens, and what else is stored under the envelope key.

use async_trait::async_trait;
use convene_application::auth::crypto::{SigningKey, SigningKeyStore};
use convene_application::auth::keys::{KeyUpkeep, KeyedAccount, Rekeyed};
use convene_application::auth::ports::AccountKey;
use convene_application::kernel::context::RequestContext;
use convene_application::kernel::store::StoreError;
use convene_application::kernel::uow::{AuditEntry, AuditOutcome, Tx as _};
use convene_domain::ids::{TypedId as _, UserId};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Binary, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use jiff::Timestamp;
use uuid::Uuid;

use crate::postgres::sql::sql;
use crate::postgres::store::PgStore;

const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('convene.signing_keys', 0))";

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    keys: i64,
}

#[derive(QueryableByName)]
struct AccountRow {
    #[diesel(sql_type = SqlUuid)]
    user_id: Uuid,
    #[diesel(sql_type = Text)]
    address: String,
    #[diesel(sql_type = Binary)]
    account: Vec<u8>,
}

#[derive(QueryableByName)]
struct KeyRow {
    #[diesel(sql_type = Text)]
    kid: String,
    #[diesel(sql_type = Binary)]
    sealed_private: Vec<u8>,
    #[diesel(sql_type = Binary)]
    public: Vec<u8>,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    created_at: Timestamp,
    #[diesel(sql_type = Nullable<Timestamptz>, deserialize_as = jiff_diesel::NullableTimestamp)]
    retired_at: Option<Timestamp>,
}

#[async_trait]
impl SigningKeyStore for PgStore {
    async fn load(&self) -> Result<Vec<SigningKey>, StoreError> {
        let connection = self.connection().await?;
        let rows: Vec<KeyRow> =
            sql("SELECT kid, sealed_private, public, created_at, retired_at FROM signing_keys")
                .rows(&connection)
                .await?;
        Ok(rows.into_iter().map(SigningKey::from).collect())
    }

    async fn insert_if_none(&self, key: SigningKey) -> Result<(), StoreError> {
        let mut tx = self.tx(Vec::new()).await?;
        // Only one process at a time looks whether there is a key; the next sees what it committed.
        tx.flight(|connection| sql(LOCK).run(connection)).await?;
        tx.write(
            sql("INSERT INTO signing_keys (kid, sealed_private, public, created_at, retired_at)
                 SELECT $1, $2, $3, $4, $5
                 WHERE NOT EXISTS (SELECT FROM signing_keys WHERE retired_at IS NULL)")
            .bind(key.kid)
            .bind(key.sealed_private)
            .bind(key.public)
            .bind(key.created_at)
            .bind(key.retired_at),
        );
        tx.commit().await
    }
}

#[async_trait]
impl KeyUpkeep for PgStore {
    async fn rotate(
        &self,
        context: &RequestContext,
        key: SigningKey,
        distrusted: Option<String>,
    ) -> Result<usize, StoreError> {
        let mut tx = self.tx(Vec::new()).await?;
        tx.flight(|connection| sql(LOCK).run(connection)).await?;
        // What is not trusted is retired so long ago that nothing it signed can still be alive.
        let retire = sql("WITH retired AS (
                UPDATE signing_keys
                SET retired_at = CASE WHEN kid = $2 THEN least(created_at, $1) - interval '1 day' ELSE $1 END
                WHERE retired_at IS NULL OR retired_at > $1 OR kid = $2 RETURNING kid
             )
             SELECT count(*) AS keys FROM retired")
        .bind(key.created_at)
        .bind(distrusted.clone());
        let retired = tx.flight(|connection| retire.row::<Count>(connection)).await?;
        let retired = retired.map_or(0, |count| usize::try_from(count.keys).unwrap_or(0));
        let (kid, begins) = (key.kid.clone(), key.created_at);
        tx.write(
            sql("INSERT INTO signing_keys (kid, sealed_private, public, created_at, retired_at)
                 VALUES ($1, $2, $3, $4, $5)")
            .bind(key.kid)
            .bind(key.sealed_private)
            .bind(key.public)
            .bind(key.created_at)
            .bind(key.retired_at),
        );
        tx.staged().audit.push(AuditEntry {
            context: context.clone(),
            community: None,
            action: "auth.rotate_keys",
            object: kid,
            outcome: AuditOutcome::Done,
            changed: serde_json::json!({
                "begins": begins.to_string(), "retired": retired, "distrusted": distrusted,
            }),
        });
        tx.commit().await?;
        Ok(retired)
    }

    async fn replace_private(
        &self,
        kid: &str,
        old: Vec<u8>,
        new: Vec<u8>,
    ) -> Result<bool, StoreError> {
        let connection = self.connection().await?;
        let replaced = sql(
            "UPDATE signing_keys SET sealed_private = $3 WHERE kid = $1 AND sealed_private = $2",
        )
        .bind(kid.to_owned())
        .bind(old)
        .bind(new)
        .run(&connection)
        .await?;
        Ok(replaced == 1)
    }

    async fn accounts_after(
        &self,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<KeyedAccount>, StoreError> {
        let connection = self.connection().await?;
        let rows: Vec<AccountRow> = sql("SELECT user_id, address, account FROM credentials
             WHERE $1 IS NULL OR user_id > $1 ORDER BY user_id LIMIT $2")
        .bind(after.map(UserId::uuid))
        .bind(i64::from(limit))
        .rows(&connection)
        .await?;
        rows.into_iter()
            .map(|row| {
                let account = row.account.try_into();
                let account = account.map_err(|_| StoreError::other("a digest is cut short"))?;
                Ok(KeyedAccount {
                    user: UserId::from_uuid(row.user_id),
                    address: row.address,
                    account: AccountKey(account),
                })
            })
            .collect()
    }

    async fn rekey_accounts(&self, changes: Vec<Rekeyed>) -> Result<(), StoreError> {
        let users: Vec<Uuid> = changes.iter().map(|change| change.user.uuid()).collect();
        let old: Vec<Vec<u8>> = changes.iter().map(|change| change.old.0.to_vec()).collect();
        let new: Vec<Vec<u8>> = changes.iter().map(|change| change.new.0.to_vec()).collect();
        let connection = self.connection().await?;
        sql("WITH change AS (
                SELECT * FROM unnest($1::uuid[], $2::bytea[], $3::bytea[]) AS change(user_id, old, new)
             ), rekeyed AS (
                UPDATE credentials SET account = change.new FROM change
                WHERE credentials.user_id = change.user_id AND credentials.account = change.old
             ), moved AS (
                DELETE FROM login_failures USING change WHERE login_failures.account = change.old
                RETURNING change.new AS account, login_failures.failures, login_failures.updated_at
             )
             INSERT INTO login_failures (account, failures, updated_at) SELECT * FROM moved
             ON CONFLICT (account) DO UPDATE SET failures = login_failures.failures + excluded.failures,
                 updated_at = greatest(login_failures.updated_at, excluded.updated_at)")
        .bind(users)
        .bind(old)
        .bind(new)
        .run(&connection)
        .await?;
        Ok(())
    }
}

impl From<KeyRow> for SigningKey {
    fn from(row: KeyRow) -> Self {
        Self {
            kid: row.kid,
            sealed_private: row.sealed_private,
            public: row.public,
            created_at: row.created_at,
            retired_at: row.retired_at,
        }
    }
}
