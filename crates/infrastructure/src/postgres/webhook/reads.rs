//! Reads of webhooks that need no transaction.

use async_trait::async_trait;
use convene_application::kernel::page::{Page, PageQuery};
use convene_application::kernel::store::StoreError;
use convene_application::webhook::ports::{DeliveryView, Wanted, WebhookReads};
use convene_domain::ids::{CommunityId, TypedId as _, WebhookId};
use convene_domain::webhook::Endpoint;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Bool, Uuid as SqlUuid};
use uuid::Uuid;

use super::rows::{
    ATTEMPT_COLUMNS, DELIVERY_COLUMNS, ENDPOINT_COLUMNS, EndpointRow, Listed, ListedRow,
};
use crate::postgres::keyset::{self, Order};
use crate::postgres::sql::sql;
use crate::postgres::store::PgStore;

#[derive(QueryableByName)]
struct WantingRow {
    #[diesel(sql_type = BigInt)]
    place: i64,
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

    async fn wanting(&self, events: &[Wanted]) -> Result<Vec<Vec<WebhookId>>, StoreError> {
        let column = |place: usize| -> Vec<String> {
            events.iter().map(|event| event.patterns[place].clone()).collect()
        };
        let connection = self.connection().await?;
        let rows: Vec<WantingRow> = sql("SELECT event.place, endpoint.id
                 FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[]) WITH ORDINALITY
                      AS event(community_id, any_event, module, exact, recorded_at, place)
                 JOIN webhook_endpoints AS endpoint
                      ON endpoint.community_id = event.community_id
                     AND endpoint.event_types && ARRAY[event.any_event, event.module, event.exact]
                     AND endpoint.created_at < event.recorded_at
                 ORDER BY event.place, endpoint.id")
        .bind(events.iter().map(|event| event.community.uuid()).collect::<Vec<_>>())
        .bind(column(0))
        .bind(column(1))
        .bind(column(2))
        .bind(events.iter().map(|event| event.recorded_at).collect::<Vec<_>>())
        .rows(&connection)
        .await?;
        let mut wanting = vec![Vec::new(); events.len()];
        for row in rows {
            // Places count from 1.
            let place = usize::try_from(row.place - 1).ok();
            if let Some(wanting) = place.and_then(|place| wanting.get_mut(place)) {
                wanting.push(WebhookId::from_uuid(row.id));
            }
        }
        Ok(wanting)
    }
}
