//! The keys that sign access tokens.

use async_trait::async_trait;
use convene_application::auth::crypto::{SigningKey, SigningKeyStore};
use convene_application::kernel::store::StoreError;
use convene_application::kernel::uow::Tx as _;
use diesel::QueryableByName;
use diesel::sql_types::{Binary, Nullable, Text, Timestamptz};
use jiff::Timestamp;

use crate::postgres::sql::sql;
use crate::postgres::store::PgStore;

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
        tx.flight(|connection| {
            sql("SELECT pg_advisory_xact_lock(hashtextextended('convene.signing_keys', 0))")
                .run(connection)
        })
        .await?;
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
