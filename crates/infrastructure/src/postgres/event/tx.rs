//! The transaction of events. Locks in the order of the house: the community, the viewer's membership, the seats, the
//! event. RSVPs wait for the seats alone, so a change of the event and an RSVP to it come one after the other.

use async_trait::async_trait;
use convene_application::community::offers::CommunityStanding;
use convene_application::event::cached::OrganizerKey;
use convene_application::event::ports::{EventTx, LockedEvent, SeenEvent};
use convene_application::kernel::cache::Key as _;
use convene_application::kernel::store::StoreError;
use convene_domain::community::CommunityRef;
use convene_domain::event::{Event, Fold};
use convene_domain::ids::{EventId, TypedId, UserId};
use diesel::QueryableByName;
use diesel::sql_types::{Bool, Text};

use super::rows::{CommunityRow, EVENT_COLUMNS, EventRow};
use crate::postgres::rsvp::offers::lock_seats;
use crate::postgres::sql::{Sql, flight, sql};
use crate::postgres::tx::PgTx;

#[derive(QueryableByName)]
struct RoleRow {
    #[diesel(sql_type = Text)]
    role: String,
}

#[derive(QueryableByName)]
struct OrganizesRow {
    #[diesel(sql_type = Bool)]
    organizes: bool,
}

/// The community of the event in `$1`.
const OF_EVENT: &str = "(SELECT e.community_id FROM events e WHERE e.id = $1)";
/// The community whose id is in `$1`, or one of whose slugs is in `$3`.
const MEANT: &str =
    "coalesce($1, (SELECT s.community_id FROM community_slugs s WHERE s.slug = $3))";

#[async_trait]
impl EventTx for PgTx {
    async fn hold_community(
        &mut self,
        community: &CommunityRef,
        viewer: UserId,
    ) -> Result<Option<CommunityStanding>, StoreError> {
        let meant = |statement: Sql| {
            statement
                .bind(community.id().map(TypedId::uuid))
                .bind(viewer.uuid())
                .bind(community.slug().map(ToString::to_string))
        };
        let hold = meant(hold_community(MEANT));
        let member = meant(hold_membership(MEANT));
        self.flight(|connection| async move {
            let (community, member) =
                flight!(hold.row::<CommunityRow>(connection), member.row::<RoleRow>(connection),)?;
            let role = member.map(|row| row.role);
            community.map(|community| community.standing(role.as_deref())).transpose()
        })
        .await
    }

    async fn lock_event(
        &mut self,
        event: EventId,
        viewer: UserId,
    ) -> Result<Option<LockedEvent>, StoreError> {
        let hold = hold_community(OF_EVENT).bind(event.uuid());
        let member = hold_membership(OF_EVENT).bind(event.uuid()).bind(viewer.uuid());
        let lock =
            sql(format!("SELECT {EVENT_COLUMNS} FROM events e WHERE e.id = $1 FOR NO KEY UPDATE"))
                .bind(event.uuid());
        let organizes =
            sql("SELECT EXISTS (SELECT FROM event_organizers WHERE event_id = $1 AND user_id = $2)
                                 AS organizes")
            .bind(event.uuid())
            .bind(viewer.uuid());
        self.flight(|connection| async move {
            let (community, member, seats, event, organizes) = flight!(
                hold.row::<CommunityRow>(connection),
                member.row::<RoleRow>(connection),
                lock_seats(event, connection),
                lock.row::<EventRow>(connection),
                organizes.row::<OrganizesRow>(connection),
            )?;
            let (Some(community), Some(seats), Some(event)) = (community, seats, event) else {
                return Ok(None);
            };
            let role = member.map(|row| row.role);
            let seen = SeenEvent {
                event: event.with_capacity(seats.capacity)?,
                community: community.standing(role.as_deref())?,
                organizes: organizes.is_some_and(|row| row.organizes),
            };
            Ok(Some(LockedEvent { seen, seats }))
        })
        .await
    }

    fn insert_event(&mut self, event: &Event, organizer: UserId) {
        let (schedule, plan) = (&event.schedule, event.schedule.plan());
        self.outdate(event.id.stale());
        self.outdate(OrganizerKey { event: event.id, user: organizer }.stale());
        self.write(
            sql("INSERT INTO events
                     (id, community_id, title, description, status, starts_at_local, ends_at_local, time_zone, fold,
                      starts_at, ends_at, rsvp_opens_at, rsvp_closes_at, published_at, version, created_at, updated_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)")
            .bind(event.id.uuid())
            .bind(event.community.uuid())
            .bind(event.title.to_string())
            .bind(event.description.clone().map(String::from))
            .bind(event.status.as_str())
            .bind(plan.starts_at_local.civil())
            .bind(plan.ends_at_local.civil())
            .bind(plan.time_zone.to_string())
            .bind(plan.fold.map(Fold::as_str))
            .bind(schedule.starts_at())
            .bind(schedule.ends_at())
            .bind(event.window.opens_at())
            .bind(event.window.closes_at())
            .bind(event.published_at)
            .bind(event.version)
            .bind(event.created_at)
            .bind(event.updated_at),
        );
        self.write(
            sql("INSERT INTO event_organizers (event_id, user_id) VALUES ($1, $2)")
                .bind(event.id.uuid())
                .bind(organizer.uuid()),
        );
    }

    fn update_event(&mut self, event: &Event) {
        let (schedule, plan) = (&event.schedule, event.schedule.plan());
        self.outdate(event.id.stale());
        self.write(
            sql("UPDATE events SET title = $2, description = $3, status = $4, starts_at_local = $5,
                     ends_at_local = $6, time_zone = $7, fold = $8, starts_at = $9, ends_at = $10,
                     rsvp_opens_at = $11, rsvp_closes_at = $12, published_at = $13, version = $14, updated_at = $15
                 WHERE id = $1")
            .bind(event.id.uuid())
            .bind(event.title.to_string())
            .bind(event.description.clone().map(String::from))
            .bind(event.status.as_str())
            .bind(plan.starts_at_local.civil())
            .bind(plan.ends_at_local.civil())
            .bind(plan.time_zone.to_string())
            .bind(plan.fold.map(Fold::as_str))
            .bind(schedule.starts_at())
            .bind(schedule.ends_at())
            .bind(event.window.opens_at())
            .bind(event.window.closes_at())
            .bind(event.published_at)
            .bind(event.version)
            .bind(event.updated_at),
        );
    }
}

/// Keeps a community from being archived or hidden until the change is done.
fn hold_community(which: &str) -> Sql {
    sql(format!(
        "SELECT c.id AS community_id, c.visibility, c.archived_at IS NOT NULL AS archived
         FROM communities c WHERE c.id = {which} FOR SHARE"
    ))
}

/// Keeps the viewer in `$2` from leaving, or losing a role, until the change is done.
fn hold_membership(which: &str) -> Sql {
    sql(format!(
        "SELECT m.role FROM members m WHERE m.community_id = {which} AND m.user_id = $2 FOR SHARE"
    ))
}
