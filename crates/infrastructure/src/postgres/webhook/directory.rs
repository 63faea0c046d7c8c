//! Endpoints and deliveries of all communities, for operators.

use async_trait::async_trait;
use convene_application::kernel::store::StoreError;
use convene_application::webhook::ports::{DeliveryView, WebhookDirectory};
use convene_domain::ids::{CommunityId, DeliveryId, TypedId, WebhookId};
use convene_domain::webhook::{DeliveryStatus, Endpoint};

use super::rows::{
    ATTEMPT_COLUMNS, DELIVERY_COLUMNS, ENDPOINT_COLUMNS, EndpointRow, Listed, ListedRow,
};
use crate::postgres::sql::sql;
use crate::postgres::store::PgStore;

#[async_trait]
impl WebhookDirectory for PgStore {
    async fn all_endpoints(
        &self,
        community: Option<CommunityId>,
        limit: u32,
    ) -> Result<Vec<Endpoint>, StoreError> {
        let connection = self.connection().await?;
        let rows: Vec<EndpointRow> = sql(format!(
            "SELECT {ENDPOINT_COLUMNS} FROM webhook_endpoints WHERE $1 IS NULL OR community_id = $1
             ORDER BY created_at DESC, id DESC LIMIT $2"
        ))
        .bind(community.map(TypedId::uuid))
        .bind(i64::from(limit))
        .rows(&connection)
        .await?;
        rows.into_iter().map(Endpoint::try_from).collect()
    }

    async fn find_endpoint(&self, webhook: WebhookId) -> Result<Option<Endpoint>, StoreError> {
        let connection = self.connection().await?;
        let row: Option<EndpointRow> =
            sql(format!("SELECT {ENDPOINT_COLUMNS} FROM webhook_endpoints WHERE id = $1"))
                .bind(webhook.uuid())
                .row(&connection)
                .await?;
        row.map(Endpoint::try_from).transpose()
    }

    async fn endpoint_of(&self, delivery: DeliveryId) -> Result<Option<Endpoint>, StoreError> {
        let connection = self.connection().await?;
        let row: Option<EndpointRow> = sql(format!(
            "SELECT {ENDPOINT_COLUMNS} FROM webhook_endpoints
             WHERE id = (SELECT endpoint_id FROM webhook_deliveries WHERE id = $1)"
        ))
        .bind(delivery.uuid())
        .row(&connection)
        .await?;
        row.map(Endpoint::try_from).transpose()
    }

    async fn all_deliveries(
        &self,
        webhook: WebhookId,
        status: Option<DeliveryStatus>,
        limit: u32,
    ) -> Result<Vec<DeliveryView>, StoreError> {
        let connection = self.connection().await?;
        let rows: Vec<ListedRow> = sql(format!(
            "SELECT {DELIVERY_COLUMNS}, {ATTEMPT_COLUMNS}
             FROM (SELECT * FROM webhook_deliveries WHERE endpoint_id = $1 AND ($2 IS NULL OR status = $2)
                   ORDER BY created_at DESC, id DESC LIMIT $3) AS d
                  LEFT JOIN webhook_attempts a ON a.delivery_id = d.id
             ORDER BY d.created_at DESC, d.id DESC, a.number"
        ))
        .bind(webhook.uuid())
        .bind(status.map(DeliveryStatus::as_str))
        .bind(i64::from(limit))
        .rows(&connection)
        .await?;
        Listed::fold(rows).into_iter().map(Listed::into_view).collect()
    }
}
