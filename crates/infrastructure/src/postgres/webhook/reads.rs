//! Reads of webhooks that need no transaction.

use async_trait::async_trait;
use convene_application::kernel::page::{Page, PageQuery};
use convene_application::kernel::store::StoreError;
use convene_application::webhook::ports::{DeliveryView, WebhookReads};
use convene_domain::ids::{CommunityId, TypedId as _, WebhookId};
use convene_domain::webhook::Endpoint;
use diesel::QueryableByName;
use diesel::sql_types::{Bool, Uuid as SqlUuid};
use jiff::Timestamp;
use uuid::Uuid;

use super::rows::{
    ATTEMPT_COLUMNS, DELIVERY_COLUMNS, ENDPOINT_COLUMNS, EndpointRow, Listed, ListedRow,
};
use crate::postgres::keyset::{self, Order};
use crate::postgres::sql::sql;
use crate::postgres::store::PgStore;

#[derive(QueryableByName)]
struct IdRow {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

#[derive(QueryableByName)]
struct ExistsRow {
    #[diesel(sql_type = Bool)]
    found: bool,
}

#[async_trait]
impl WebhookReads for PgStore {
    async fn endpoint(
        &self,
        community: CommunityId,
        webhook: WebhookId,
    ) -> Result<Option<Endpoint>, StoreError> {
        let connection = self.connection().await?;
        let row: Option<EndpointRow> = sql(format!(
            "SELECT {ENDPOINT_COLUMNS} FROM webhook_endpoints WHERE id = $1 AND community_id = $2"
        ))
        .bind(webhook.uuid())
        .bind(community.uuid())
        .row(&connection)
        .await?;
        row.map(Endpoint::try_from).transpose()
    }

    async fn endpoints(
        &self,
        community: CommunityId,
        query: PageQuery,
    ) -> Result<Page<Endpoint>, StoreError> {
        let connection = self.connection().await?;
        let slice = keyset::slice(["created_at", "id"], Order::NewestFirst, query, 2);
        let rows: Vec<EndpointRow> = sql(format!(
            "SELECT {ENDPOINT_COLUMNS} FROM webhook_endpoints WHERE community_id = $1 AND {} {}",
            slice.condition, slice.order
        ))
        .bind(community.uuid())
        .bind_page(query)
        .rows(&connection)
        .await?;
        query.page(rows, EndpointRow::page_key).try_map(Endpoint::try_from)
    }

    async fn deliveries(
        &self,
        community: CommunityId,
        webhook: WebhookId,
        query: PageQuery,
    ) -> Result<Option<Page<DeliveryView>>, StoreError> {
        let connection = self.connection().await?;
        let slice = keyset::slice(["created_at", "id"], Order::NewestFirst, query, 2);
        let direction = if query.backwards() { "ASC" } else { "DESC" };
        // One statement, so that no attempt is missed, or seen twice, that ends in between.
        let list = sql(format!(
            "SELECT {DELIVERY_COLUMNS}, {ATTEMPT_COLUMNS}
             FROM (SELECT * FROM webhook_deliveries WHERE endpoint_id = $1 AND {} {}) AS d
                  LEFT JOIN webhook_attempts a ON a.delivery_id = d.id
             ORDER BY d.created_at {direction}, d.id {direction}, a.number",
            slice.condition, slice.order
        ))
        .bind(webhook.uuid())
        .bind_page(query);
        let (found, rows) = futures::try_join!(
            sql("SELECT EXISTS (SELECT FROM webhook_endpoints WHERE id = $1 AND community_id = $2) AS found")
                .bind(webhook.uuid())
                .bind(community.uuid())
                .row::<ExistsRow>(&connection),
            list.rows::<ListedRow>(&connection),
        )?;
        if !found.is_some_and(|row| row.found) {
            return Ok(None);
        }
        let page = query.page(Listed::fold(rows), Listed::page_key);
        page.try_map(Listed::into_view).map(Some)
    }

    async fn wanting(
        &self,
        community: CommunityId,
        patterns: [String; 3],
        recorded_at: Timestamp,
    ) -> Result<Vec<WebhookId>, StoreError> {
        let connection = self.connection().await?;
        let rows: Vec<IdRow> = sql("SELECT id FROM webhook_endpoints
                 WHERE community_id = $1 AND event_types && $2 AND created_at < $3 ORDER BY id")
        .bind(community.uuid())
        .bind(patterns.to_vec())
        .bind(recorded_at)
        .rows(&connection)
        .await?;
        Ok(rows.into_iter().map(|row| WebhookId::from_uuid(row.id)).collect())
    }
}
