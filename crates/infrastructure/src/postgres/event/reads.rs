//! Reads of events that need no transaction.

use async_trait::async_trait;
use convene_application::event::ports::{EventReads, SeenEvent, Unpublished};
use convene_application::kernel::page::{Page, PageQuery};
use convene_application::kernel::store::StoreError;
use convene_domain::event::Event;
use convene_domain::ids::{CommunityId, EventId, TypedId, UserId};
use diesel::QueryableByName;
use diesel::sql_types::{Bool, Nullable, Text};

use super::rows::{CommunityRow, EVENT_COLUMNS, SizedRow};
use crate::postgres::keyset::{Order, slice};
use crate::postgres::sql::sql;
use crate::postgres::store::PgStore;

/// An event with who the viewer is to it.
#[derive(QueryableByName)]
struct SeenRow {
    #[diesel(embed)]
    event: SizedRow,
    #[diesel(embed)]
    community: CommunityRow,
    #[diesel(sql_type = Nullable<Text>)]
    role: Option<String>,
    #[diesel(sql_type = Bool)]
    organizes: bool,
}

impl TryFrom<SeenRow> for SeenEvent {
    type Error = StoreError;

    fn try_from(row: SeenRow) -> Result<Self, StoreError> {
        Ok(Self {
            event: row.event.try_into()?,
            community: row.community.standing(row.role.as_deref())?,
            organizes: row.organizes,
        })
    }
}

/// An event with who the viewer, `$2`, is to it.
fn seen(event: &str) -> String {
    format!(
        "SELECT {EVENT_COLUMNS}, s.capacity, c.visibility, c.archived_at IS NOT NULL AS archived,
                (SELECT m.role FROM members m WHERE m.community_id = c.id AND m.user_id = $2) AS role,
                EXISTS (SELECT FROM event_organizers o WHERE o.event_id = e.id AND o.user_id = $2) AS organizes
         FROM events e
         JOIN event_seats s ON s.event_id = e.id
         JOIN communities c ON c.id = e.community_id
         WHERE e.id = {event}"
    )
}

#[async_trait]
impl EventReads for PgStore {
    async fn event(
        &self,
        event: EventId,
        viewer: Option<UserId>,
    ) -> Result<Option<SeenEvent>, StoreError> {
        let row: Option<SeenRow> = sql(seen("$1"))
            .bind(event.uuid())
            .bind(viewer.map(TypedId::uuid))
            .row(&self.connection().await?)
            .await?;
        row.map(SeenEvent::try_from).transpose()
    }

    async fn events(
        &self,
        events: &[EventId],
        viewer: Option<UserId>,
    ) -> Result<Vec<SeenEvent>, StoreError> {
        // One after the other by the plan of one: for a join of all, Postgres may read whole tables.
        let seen = seen("asked.id");
        let each =
            format!("SELECT seen.* FROM unnest($1) AS asked(id), LATERAL ({seen} LIMIT 1) AS seen");
        let rows: Vec<SeenRow> = sql(each)
            .bind(events.iter().map(|event| event.uuid()).collect::<Vec<_>>())
            .bind(viewer.map(TypedId::uuid))
            .rows(&self.connection().await?)
            .await?;
        rows.into_iter().map(SeenEvent::try_from).collect()
    }

    async fn of_community(
        &self,
        community: CommunityId,
        unpublished: Unpublished,
        query: PageQuery,
    ) -> Result<Page<Event>, StoreError> {
        let (listed, organizer) = match unpublished {
            Unpublished::Hidden => (false, None),
            Unpublished::OrganizedBy(user) => (false, Some(user.uuid())),
            Unpublished::Listed => (true, None),
        };
        let page = slice(["e.starts_at", "e.id"], Order::OldestFirst, query, 4);
        // A scalar subquery, since Postgres may answer an EXISTS by reading all organisers of all events first.
        let list = sql(format!(
            "SELECT {EVENT_COLUMNS}, s.capacity FROM events e JOIN event_seats s ON s.event_id = e.id
             WHERE e.community_id = $1
               AND (e.published_at IS NOT NULL OR $2
                    OR coalesce((SELECT true FROM event_organizers o WHERE o.event_id = e.id AND o.user_id = $3), false))
               AND {} {}",
            page.condition, page.order
        ))
        .bind(community.uuid())
        .bind(listed)
        .bind(organizer)
        .bind_page(query);
        let rows: Vec<SizedRow> = list.rows(&self.connection().await?).await?;
        query.page(rows, SizedRow::page_key).try_map(Event::try_from)
    }
}
