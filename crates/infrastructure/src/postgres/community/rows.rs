//! Rows of this module, and the domain's values that they hold.

use convene_application::community::ports::{MemberView, SeenCommunity};
use convene_application::kernel::page::PageKey;
use convene_application::kernel::store::StoreError;
use convene_domain::community::{Community, Membership, Role, Visibility};
use convene_domain::ids::TypedId;
use convene_domain::text::{CommunityName, Description, DisplayName, Slug};
use diesel::QueryableByName;
use diesel::sql_types::{Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use jiff::Timestamp;
use uuid::Uuid;

use crate::postgres::sql::stored;

/// The columns of [`CommunityRow`] of a row `c` of `communities`.
pub(super) const COMMUNITY_COLUMNS: &str = "c.id, c.slug, c.name, c.description, c.visibility, c.archived_at, \
     c.version, c.created_at, c.updated_at";

/// The columns of [`MembershipRow`] of a row `m` of `members`.
pub(super) const MEMBERSHIP_COLUMNS: &str =
    "m.id, m.community_id, m.user_id, m.role, m.version, m.joined_at, m.updated_at";

#[derive(QueryableByName)]
pub(super) struct CommunityRow {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = Text)]
    slug: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Nullable<Text>)]
    description: Option<String>,
    #[diesel(sql_type = Text)]
    visibility: String,
    #[diesel(sql_type = Nullable<Timestamptz>, deserialize_as = jiff_diesel::NullableTimestamp)]
    archived_at: Option<Timestamp>,
    #[diesel(sql_type = Integer)]
    version: i32,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    created_at: Timestamp,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    updated_at: Timestamp,
}

impl CommunityRow {
    pub(super) fn page_key(&self) -> PageKey {
        PageKey { sort: self.created_at.as_microsecond(), id: self.id }
    }
}

impl TryFrom<CommunityRow> for Community {
    type Error = StoreError;

    fn try_from(row: CommunityRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: TypedId::from_uuid(row.id),
            slug: stored("communities.slug", Slug::new(row.slug))?,
            name: stored("communities.name", CommunityName::new(row.name))?,
            description: stored(
                "communities.description",
                row.description.map(Description::new).transpose(),
            )?,
            visibility: stored(
                "communities.visibility",
                Visibility::parse(&row.visibility).ok_or(()),
            )?,
            archived_at: row.archived_at,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// A community in the list of those that a person joined.
#[derive(QueryableByName)]
pub(super) struct JoinedRow {
    #[diesel(embed)]
    pub(super) community: CommunityRow,
    #[diesel(sql_type = SqlUuid)]
    membership_id: Uuid,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    joined_at: Timestamp,
}

impl JoinedRow {
    pub(super) fn page_key(&self) -> PageKey {
        PageKey { sort: self.joined_at.as_microsecond(), id: self.membership_id }
    }
}

/// A community with the viewer's role.
#[derive(QueryableByName)]
pub(super) struct SeenRow {
    #[diesel(embed)]
    pub(super) community: CommunityRow,
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) role: Option<String>,
}

impl TryFrom<SeenRow> for SeenCommunity {
    type Error = StoreError;

    fn try_from(row: SeenRow) -> Result<Self, StoreError> {
        let role = row.role.as_deref().map(role).transpose()?;
        Ok(Self { community: row.community.try_into()?, role })
    }
}

#[derive(QueryableByName)]
pub(super) struct RoleRow {
    #[diesel(sql_type = Text)]
    pub(super) role: String,
}

#[derive(QueryableByName)]
pub(super) struct MembershipRow {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    community_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    user_id: Uuid,
    #[diesel(sql_type = Text)]
    role: String,
    #[diesel(sql_type = Integer)]
    version: i32,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    joined_at: Timestamp,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    updated_at: Timestamp,
}

impl TryFrom<MembershipRow> for Membership {
    type Error = StoreError;

    fn try_from(row: MembershipRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: TypedId::from_uuid(row.id),
            community: TypedId::from_uuid(row.community_id),
            user: TypedId::from_uuid(row.user_id),
            role: role(&row.role)?,
            version: row.version,
            joined_at: row.joined_at,
            updated_at: row.updated_at,
        })
    }
}

/// A membership with the member's name.
#[derive(QueryableByName)]
pub(super) struct MemberRow {
    #[diesel(embed)]
    membership: MembershipRow,
    #[diesel(sql_type = Text)]
    display_name: String,
}

impl MemberRow {
    pub(super) fn page_key(&self) -> PageKey {
        PageKey { sort: self.membership.joined_at.as_microsecond(), id: self.membership.id }
    }
}

impl TryFrom<MemberRow> for MemberView {
    type Error = StoreError;

    fn try_from(row: MemberRow) -> Result<Self, StoreError> {
        Ok(Self {
            membership: row.membership.try_into()?,
            display_name: display_name(row.display_name)?,
        })
    }
}

pub(super) fn role(name: &str) -> Result<Role, StoreError> {
    stored("members.role", Role::parse(name).ok_or(()))
}

pub(super) fn display_name(text: String) -> Result<DisplayName, StoreError> {
    stored("users.display_name", DisplayName::new(text))
}
