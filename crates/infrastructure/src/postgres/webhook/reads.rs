//! Reads of webhooks that need no transaction.

use std::collections::BTreeSet;

use async_trait::async_trait;
use convene_application::kernel::page::{Page, PageQuery};
use convene_application::kernel::store::StoreError;
use convene_application::webhook::ports::{
    DeliveryView, EndpointStats, Replay, Wanted, WebhookReads,
};
use convene_domain::ids::{CommunityId, ReplayId, TypedId as _, WebhookId};
use convene_domain::webhook::Endpoint;
use diesel::QueryableByName;
use diesel::sql_types::{Array, Bool, Text, Timestamptz, Uuid as SqlUuid};
use jiff::Timestamp;
use uuid::Uuid;

use super::replays::{self, REPLAY_COLUMNS, ReplayRow, StatsRow};
use super::rows::{
    ATTEMPT_COLUMNS, DELIVERY_COLUMNS, ENDPOINT_COLUMNS, EndpointRow, Listed, ListedRow,
};
use crate::postgres::keyset::{self, Order};
use crate::postgres::sql::{Sql, flight, sql};
use crate::postgres::store::PgStore;

#[derive(QueryableByName)]
struct WantingRow {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    community_id: Uuid,
    #[diesel(sql_type = Array<Text>)]
    event_types: Vec<String>,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    created_at: Timestamp,
}

impl WantingRow {
    fn wants(&self, event: &Wanted) -> bool {
        self.community_id == event.community.uuid()
            && self.created_at < event.recorded_at
            && self.event_types.iter().any(|wanted| event.patterns.contains(wanted))
    }
}

#[derive(QueryableByName)]
struct ExistsRow {
    #[diesel(sql_type = Bool)]
    found: bool,
}

fn exists(community: CommunityId, webhook: WebhookId) -> Sql {
    sql("SELECT EXISTS (SELECT FROM webhook_endpoints WHERE id = $1 AND community_id = $2) AS found")
        .bind(webhook.uuid())
        .bind(community.uuid())
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
        let (found, rows) = flight!(
            exists(community, webhook).row::<ExistsRow>(&connection),
            list.rows::<ListedRow>(&connection),
        )?;
        if !found.is_some_and(|row| row.found) {
            return Ok(None);
        }
        let page = query.page(Listed::fold(rows), Listed::page_key);
        page.try_map(Listed::into_view).map(Some)
    }

    async fn replay(&self, replay: ReplayId) -> Result<Option<Replay>, StoreError> {
        let connection = self.connection().await?;
        let row: Option<ReplayRow> =
            sql(format!("SELECT {REPLAY_COLUMNS} FROM webhook_replays WHERE id = $1"))
                .bind(replay.uuid())
                .row(&connection)
                .await?;
        row.map(Replay::try_from).transpose()
    }

    async fn stats(
        &self,
        community: CommunityId,
        webhook: WebhookId,
        since: Timestamp,
        limit: u32,
    ) -> Result<Option<EndpointStats>, StoreError> {
        let connection = self.connection().await?;
        let (found, row) = flight!(
            exists(community, webhook).row::<ExistsRow>(&connection),
            replays::stats(webhook, since, limit).row::<StatsRow>(&connection),
        )?;
        let found = found.is_some_and(|row| row.found);
        Ok(row.filter(|_| found).map(EndpointStats::from))
    }

    /// The endpoints of the communities are read once, however many of the events are theirs.
    async fn wanting(&self, events: &[Wanted]) -> Result<Vec<Vec<WebhookId>>, StoreError> {
        let communities: BTreeSet<Uuid> =
            events.iter().map(|event| event.community.uuid()).collect();
        let patterns: BTreeSet<&String> = events.iter().flat_map(|event| &event.patterns).collect();
        let connection = self.connection().await?;
        let mut rows: Vec<WantingRow> = sql("SELECT id, community_id, event_types, created_at
                 FROM webhook_endpoints WHERE community_id = ANY($1) AND event_types && $2")
        .bind(communities.into_iter().collect::<Vec<_>>())
        .bind(patterns.into_iter().cloned().collect::<Vec<_>>())
        .rows(&connection)
        .await?;
        // There is no page of them, so the database need not sort.
        rows.sort_unstable_by_key(|row| row.id);
        let wanting = |event| {
            let rows = rows.iter().filter(|row| row.wants(event));
            rows.map(|row| WebhookId::from_uuid(row.id)).collect()
        };
        Ok(events.iter().map(wanting).collect())
    }
}
