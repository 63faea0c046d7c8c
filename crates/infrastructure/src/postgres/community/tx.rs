//! The transaction of communities. Locks in the order of the house: the community, then members by id.

use async_trait::async_trait;
use convene_application::community::ports::{
    CommunityTx, LockedCommunity, LockedMembers, Person, SeenCommunity,
};
use convene_application::community::standings::RoleKey;
use convene_application::kernel::cache::Key as _;
use convene_application::kernel::store::StoreError;
use convene_domain::community::{Community, CommunityRef, Membership};
use convene_domain::ids::{CommunityId, TypedId, UserId};
use convene_domain::text::Slug;
use diesel::QueryableByName;
use diesel::sql_types::{Text, Uuid as SqlUuid};
use uuid::Uuid;

use super::MEANT;
use super::rows::{
    COMMUNITY_COLUMNS, CommunityRow, MEMBERSHIP_COLUMNS, MembershipRow, RoleRow, display_name, role,
};
use crate::postgres::sql::{Sql, flight, sql};
use crate::postgres::tx::PgTx;

#[derive(QueryableByName)]
struct HolderRow {
    #[diesel(sql_type = SqlUuid)]
    community_id: Uuid,
}

#[derive(QueryableByName)]
struct NameRow {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = Text)]
    display_name: String,
}

#[async_trait]
impl CommunityTx for PgTx {
    async fn slug_holder(
        &mut self,
        slug: Option<&Slug>,
    ) -> Result<Option<CommunityId>, StoreError> {
        let holder = slug_holder(slug);
        let row = self.flight(|connection| holder.row::<HolderRow>(connection)).await?;
        Ok(row.map(|row| CommunityId::from_uuid(row.community_id)))
    }

    async fn lock_community(
        &mut self,
        community: &CommunityRef,
        viewer: UserId,
        new_slug: Option<&Slug>,
    ) -> Result<Option<LockedCommunity>, StoreError> {
        let lock = meant(
            community,
            format!(
                "SELECT {COMMUNITY_COLUMNS} FROM communities c WHERE c.id = {MEANT} FOR NO KEY UPDATE"
            ),
        );
        let viewers_role = meant(
            community,
            format!(
                "SELECT m.role FROM members m WHERE m.community_id = {MEANT} AND m.user_id = $3 FOR SHARE"
            ),
        )
        .bind(viewer.uuid());
        let holder = slug_holder(new_slug);
        self.flight(|connection| async move {
            let (community, viewers_role, holder) = flight!(
                lock.row::<CommunityRow>(connection),
                viewers_role.row::<RoleRow>(connection),
                holder.row::<HolderRow>(connection),
            )?;
            let Some(community) = community else { return Ok(None) };
            let seen = SeenCommunity {
                community: community.try_into()?,
                role: viewers_role.map(|row| role(&row.role)).transpose()?,
            };
            let slug_holder = holder.map(|row| CommunityId::from_uuid(row.community_id));
            Ok(Some(LockedCommunity { seen, slug_holder }))
        })
        .await
    }

    async fn lock_members(
        &mut self,
        community: &CommunityRef,
        users: &[UserId],
    ) -> Result<Option<LockedMembers>, StoreError> {
        let users: Vec<Uuid> = users.iter().map(|user| user.uuid()).collect();
        let hold = meant(
            community,
            format!("SELECT {COMMUNITY_COLUMNS} FROM communities c WHERE c.id = {MEANT} FOR SHARE"),
        );
        // One look-up each, in the order in which RSVPs lock them too. `user_id = ANY` would be a filter over all members:
        // an index scan in the order of the persons cannot take it for a condition.
        let lock = meant(
            community,
            format!(
                "SELECT {MEMBERSHIP_COLUMNS}
                 FROM (SELECT user_id FROM unnest($3) AS asked(user_id) ORDER BY user_id) AS asked,
                      LATERAL (SELECT * FROM members
                               WHERE community_id = {MEANT} AND user_id = asked.user_id FOR NO KEY UPDATE) AS m"
            ),
        )
        .bind(users.clone());
        let names = sql("SELECT id, display_name FROM users WHERE id = ANY($1)").bind(users);
        self.flight(|connection| async move {
            let (community, memberships, names) = flight!(
                hold.row::<CommunityRow>(connection),
                lock.rows::<MembershipRow>(connection),
                names.rows::<NameRow>(connection),
            )?;
            let Some(community) = community else { return Ok(None) };
            let memberships =
                memberships.into_iter().map(Membership::try_from).collect::<Result<Vec<_>, _>>()?;
            let person = |row: NameRow| {
                let user = UserId::from_uuid(row.id);
                Ok(Person {
                    user,
                    display_name: display_name(row.display_name)?,
                    membership: memberships.iter().find(|member| member.user == user).copied(),
                })
            };
            let people = names.into_iter().map(person).collect::<Result<_, StoreError>>()?;
            Ok(Some(LockedMembers { community: community.try_into()?, people }))
        })
        .await
    }

    fn insert_community(&mut self, community: &Community) {
        self.outdate(community.id.stale());
        self.write(
            sql("INSERT INTO communities
                     (id, slug, name, description, visibility, archived_at, version, created_at, updated_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)")
            .bind(community.id.uuid())
            .bind(community.slug.to_string())
            .bind(community.name.to_string())
            .bind(community.description.clone().map(String::from))
            .bind(community.visibility.as_str())
            .bind(community.archived_at)
            .bind(community.version)
            .bind(community.created_at)
            .bind(community.updated_at),
        );
        self.write(reserve_slug(community));
    }

    fn update_community(&mut self, community: &Community) {
        self.outdate(community.id.stale());
        self.write(reserve_slug(community));
        self.write(
            sql("UPDATE communities SET slug = $2, name = $3, description = $4, visibility = $5, archived_at = $6,
                     version = $7, updated_at = $8
                 WHERE id = $1")
            .bind(community.id.uuid())
            .bind(community.slug.to_string())
            .bind(community.name.to_string())
            .bind(community.description.clone().map(String::from))
            .bind(community.visibility.as_str())
            .bind(community.archived_at)
            .bind(community.version)
            .bind(community.updated_at),
        );
    }

    fn insert_member(&mut self, membership: &Membership) {
        self.outdate(role_of(membership).stale());
        self.write(
            sql("INSERT INTO members (id, community_id, user_id, role, version, joined_at, updated_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)")
            .bind(membership.id.uuid())
            .bind(membership.community.uuid())
            .bind(membership.user.uuid())
            .bind(membership.role.as_str())
            .bind(membership.version)
            .bind(membership.joined_at)
            .bind(membership.updated_at),
        );
    }

    fn update_member(&mut self, membership: &Membership) {
        self.outdate(role_of(membership).stale());
        self.write(
            sql("UPDATE members SET role = $2, version = $3, updated_at = $4 WHERE id = $1")
                .bind(membership.id.uuid())
                .bind(membership.role.as_str())
                .bind(membership.version)
                .bind(membership.updated_at),
        );
    }

    fn delete_member(&mut self, membership: &Membership) {
        self.outdate(role_of(membership).stale());
        self.write(sql("DELETE FROM members WHERE id = $1").bind(membership.id.uuid()));
    }
}

/// What is cached of a membership.
fn role_of(membership: &Membership) -> RoleKey {
    RoleKey { community: membership.community, user: membership.user }
}

/// A statement about the community that is meant, whose own parameters begin at `$3`.
pub(super) fn meant(community: &CommunityRef, text: String) -> Sql {
    sql(text)
        .bind(community.id().map(TypedId::uuid))
        .bind(community.slug().map(ToString::to_string))
}

fn slug_holder(slug: Option<&Slug>) -> Sql {
    sql("SELECT community_id FROM community_slugs WHERE slug = $1")
        .bind(slug.map(ToString::to_string))
}

/// Nothing to do for a slug that the community has or had; one that another holds violates the primary key.
fn reserve_slug(community: &Community) -> Sql {
    sql("INSERT INTO community_slugs (slug, community_id) SELECT $1, $2
         WHERE NOT EXISTS (SELECT FROM community_slugs WHERE slug = $1 AND community_id = $2)")
    .bind(community.slug.to_string())
    .bind(community.id.uuid())
}
