//! What is sealed of endpoints at rest.

use async_trait::async_trait;
use convene_application::kernel::store::StoreError;
use convene_application::webhook::{SealedEndpoint, SealedPlace, SecretUpkeep};
use convene_domain::ids::{TypedId as _, WebhookId};
use diesel::QueryableByName;
use diesel::sql_types::{Array, BigInt, Binary, Nullable, Uuid as SqlUuid};
use uuid::Uuid;

use crate::postgres::sql::sql;
use crate::postgres::store::PgStore;

#[derive(QueryableByName)]
struct SecretRow {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = Binary)]
    secret: Vec<u8>,
    #[diesel(sql_type = Nullable<Binary>)]
    headers: Option<Vec<u8>>,
    #[diesel(sql_type = Array<BigInt>)]
    previous_ids: Vec<i64>,
    #[diesel(sql_type = Array<Binary>)]
    previous: Vec<Vec<u8>>,
}

impl From<SecretRow> for SealedEndpoint {
    fn from(row: SecretRow) -> Self {
        let webhook = WebhookId::from_uuid(row.id);
        let headers = row.headers.map(|sealed| (SealedPlace::Headers(webhook), sealed));
        let previous = row.previous_ids.into_iter().map(SealedPlace::Previous).zip(row.previous);
        let secret = (SealedPlace::Secret(webhook), row.secret);
        Self { webhook, values: std::iter::once(secret).chain(headers).chain(previous).collect() }
    }
}

#[async_trait]
impl SecretUpkeep for PgStore {
    async fn secrets_after(
        &self,
        after: Option<WebhookId>,
        limit: u32,
    ) -> Result<Vec<SealedEndpoint>, StoreError> {
        let connection = self.connection().await?;
        let rows: Vec<SecretRow> = sql("SELECT e.id, e.secret, e.headers,
                 ARRAY(SELECT p.id FROM webhook_previous_secrets p WHERE p.endpoint_id = e.id ORDER BY p.id)
                     AS previous_ids,
                 ARRAY(SELECT p.secret FROM webhook_previous_secrets p WHERE p.endpoint_id = e.id ORDER BY p.id)
                     AS previous
             FROM webhook_endpoints e WHERE $1 IS NULL OR e.id > $1 ORDER BY e.id LIMIT $2")
        .bind(after.map(WebhookId::uuid))
        .bind(i64::from(limit))
        .rows(&connection)
        .await?;
        Ok(rows.into_iter().map(SealedEndpoint::from).collect())
    }

    async fn replace_sealed(
        &self,
        place: SealedPlace,
        old: Vec<u8>,
        new: Vec<u8>,
    ) -> Result<(), StoreError> {
        let connection = self.connection().await?;
        let statement = match place {
            SealedPlace::Secret(webhook) => {
                sql("UPDATE webhook_endpoints SET secret = $3 WHERE id = $1 AND secret = $2")
                    .bind(webhook.uuid())
            }
            SealedPlace::Headers(webhook) => {
                sql("UPDATE webhook_endpoints SET headers = $3 WHERE id = $1 AND headers = $2")
                    .bind(webhook.uuid())
            }
            SealedPlace::Previous(number) => {
                sql("UPDATE webhook_previous_secrets SET secret = $3 WHERE id = $1 AND secret = $2")
                    .bind(number)
            }
        };
        statement.bind(old).bind(new).run(&connection).await?;
        Ok(())
    }
}
