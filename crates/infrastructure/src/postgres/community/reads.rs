//! Reads of communities that need no transaction.

use async_trait::async_trait;
use convene_application::community::ports::{CommunityReads, MemberView, SeenCommunity};
use convene_application::kernel::page::{Page, PageQuery};
use convene_application::kernel::store::StoreError;
use convene_domain::community::{Community, CommunityRef};
use convene_domain::ids::{CommunityId, TypedId, UserId};

use uuid::Uuid;

use super::MEANT;
use super::rows::{
    COMMUNITY_COLUMNS, CommunityRow, JoinedRow, MEMBERSHIP_COLUMNS, MemberRow, SeenRow,
};
use super::tx::meant;
use crate::postgres::keyset::{Order, slice};
use crate::postgres::sql::sql;
use crate::postgres::store::PgStore;

fn uuids(communities: &[CommunityId]) -> Vec<Uuid> {
    communities.iter().map(|community| community.uuid()).collect()
}

#[async_trait]
impl CommunityReads for PgStore {
    async fn community(
        &self,
        community: &CommunityRef,
        viewer: Option<UserId>,
    ) -> Result<Option<SeenCommunity>, StoreError> {
        let connection = self.connection().await?;
        let row = meant(
            community,
            format!(
                "SELECT {COMMUNITY_COLUMNS},
                        (SELECT m.role FROM members m WHERE m.community_id = c.id AND m.user_id = $3) AS role
                 FROM communities c WHERE c.id = {MEANT}"
            ),
        )
        .bind(viewer.map(TypedId::uuid))
        .row::<SeenRow>(&connection)
        .await?;
        row.map(SeenCommunity::try_from).transpose()
    }

    async fn communities(
        &self,
        communities: &[CommunityId],
        viewer: Option<UserId>,
    ) -> Result<Vec<SeenCommunity>, StoreError> {
        let rows: Vec<SeenRow> = sql(format!(
            "SELECT {COMMUNITY_COLUMNS},
                    (SELECT m.role FROM members m WHERE m.community_id = c.id AND m.user_id = $2) AS role
             FROM communities c WHERE c.id = ANY($1)"
        ))
        .bind(uuids(communities))
        .bind(viewer.map(TypedId::uuid))
        .rows(&self.connection().await?)
        .await?;
        rows.into_iter().map(SeenCommunity::try_from).collect()
    }

    async fn memberships(
        &self,
        communities: &[CommunityId],
        user: UserId,
    ) -> Result<Vec<MemberView>, StoreError> {
        let rows: Vec<MemberRow> = sql(format!(
            "SELECT {MEMBERSHIP_COLUMNS}, u.display_name FROM members m JOIN users u ON u.id = m.user_id
             WHERE m.user_id = $1 AND m.community_id = ANY($2)"
        ))
        .bind(user.uuid())
        .bind(uuids(communities))
        .rows(&self.connection().await?)
        .await?;
        rows.into_iter().map(MemberView::try_from).collect()
    }

    async fn visible_to(
        &self,
        viewer: Option<UserId>,
        query: PageQuery,
    ) -> Result<Page<Community>, StoreError> {
        // Two lists, each cut by an index of its own: all public ones, and the viewer's. What is in both is told once.
        let public = slice(["c.created_at", "c.id"], Order::NewestFirst, query, 2);
        let own = slice(["m.community_created_at", "m.community_id"], Order::NewestFirst, query, 2);
        let both = slice(["created_at", "id"], Order::NewestFirst, query, 2);
        let list = sql(format!(
            "(SELECT {COMMUNITY_COLUMNS} FROM communities c
              WHERE c.visibility = 'public' AND c.archived_at IS NULL AND {} {})
             UNION
             (SELECT {COMMUNITY_COLUMNS} FROM members m JOIN communities c ON c.id = m.community_id
              WHERE m.user_id = $1 AND c.archived_at IS NULL AND {} {})
             {}",
            public.condition, public.order, own.condition, own.order, both.order
        ))
        .bind(viewer.map(TypedId::uuid))
        .bind_page(query);
        let rows: Vec<CommunityRow> = list.rows(&self.connection().await?).await?;
        query.page(rows, CommunityRow::page_key).try_map(Community::try_from)
    }

    async fn joined_by(
        &self,
        user: UserId,
        query: PageQuery,
    ) -> Result<Page<Community>, StoreError> {
        let page = slice(["m.joined_at", "m.id"], Order::NewestFirst, query, 2);
        let list = sql(format!(
            "SELECT {COMMUNITY_COLUMNS}, m.id AS membership_id, m.joined_at
             FROM members m JOIN communities c ON c.id = m.community_id
             WHERE m.user_id = $1 AND c.archived_at IS NULL AND {} {}",
            page.condition, page.order
        ))
        .bind(user.uuid())
        .bind_page(query);
        let rows: Vec<JoinedRow> = list.rows(&self.connection().await?).await?;
        query.page(rows, JoinedRow::page_key).try_map(|row| row.community.try_into())
    }

    async fn members_of(
        &self,
        community: CommunityId,
        query: PageQuery,
    ) -> Result<Page<MemberView>, StoreError> {
        let page = slice(["m.joined_at", "m.id"], Order::OldestFirst, query, 2);
        let list = sql(format!(
            "SELECT {MEMBERSHIP_COLUMNS}, u.display_name FROM members m JOIN users u ON u.id = m.user_id
             WHERE m.community_id = $1 AND {} {}",
            page.condition, page.order
        ))
        .bind(community.uuid())
        .bind_page(query);
        let rows: Vec<MemberRow> = list.rows(&self.connection().await?).await?;
        query.page(rows, MemberRow::page_key).try_map(MemberView::try_from)
    }

    async fn member(
        &self,
        community: CommunityId,
        user: UserId,
    ) -> Result<Option<MemberView>, StoreError> {
        let row: Option<MemberRow> = sql(format!(
            "SELECT {MEMBERSHIP_COLUMNS}, u.display_name FROM members m JOIN users u ON u.id = m.user_id
             WHERE m.community_id = $1 AND m.user_id = $2"
        ))
        .bind(community.uuid())
        .bind(user.uuid())
        .row(&self.connection().await?)
        .await?;
        row.map(MemberView::try_from).transpose()
    }
}
