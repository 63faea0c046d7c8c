//! Communities and members as clients read and write them.

use convene_application::community::MemberView;
use convene_application::kernel::error::Failure;
use convene_domain::community as domain;
use convene_domain::text::{CommunityName, Description, Slug};
use garde::Validate;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::expand::{self, Related};
use crate::json::{Patch, present};
use crate::{id, rules};

/// A community.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Community {
    /// Its id.
    id: id::Community,
    /// Its name in URLs. One that it had before leads to it, too.
    #[schema(min_length = 3, max_length = 40, example = "rust-berlin")]
    slug: String,
    /// Its name for people.
    #[schema(min_length = 1, max_length = 100, example = "Rust Berlin")]
    name: String,
    /// What it is about.
    #[schema(
        required,
        max_length = 10_000,
        example = "We meet on the first Tuesday of the month."
    )]
    description: Option<String>,
    /// Who may see it.
    #[schema(example = "public")]
    visibility: Visibility,
    /// When it was archived, which made it read-only; null before.
    #[schema(required, example = json!(null))]
    archived_at: Option<Timestamp>,
    /// When it was made.
    #[schema(example = "2027-03-01T09:00:00.123456Z")]
    created_at: Timestamp,
    /// When it last changed.
    #[schema(example = "2027-03-01T09:00:00.123456Z")]
    updated_at: Timestamp,
    #[serde(skip_serializing_if = "Related::is_absent")]
    #[schema(required = false, schema_with = expand::membership)]
    membership: Related,
}

impl Community {
    /// The same with one's own membership.
    pub(crate) fn with(self, membership: Related) -> Self {
        Self { membership, ..self }
    }
}

impl From<&domain::Community> for Community {
    fn from(community: &domain::Community) -> Self {
        Self {
            id: community.id.into(),
            slug: community.slug.to_string(),
            name: community.name.to_string(),
            description: community.description.as_ref().map(ToString::to_string),
            visibility: community.visibility.into(),
            archived_at: community.archived_at,
            created_at: community.created_at,
            updated_at: community.updated_at,
            membership: Related::default(),
        }
    }
}

/// Who may see a community.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CommunityVisibility)]
pub(super) enum Visibility {
    /// Everybody.
    Public,
    /// Its members; to others it does not exist.
    Private,
}

impl From<domain::Visibility> for Visibility {
    fn from(visibility: domain::Visibility) -> Self {
        match visibility {
            domain::Visibility::Public => Self::Public,
            domain::Visibility::Private => Self::Private,
        }
    }
}

impl From<Visibility> for domain::Visibility {
    fn from(visibility: Visibility) -> Self {
        match visibility {
            Visibility::Public => Self::Public,
            Visibility::Private => Self::Private,
        }
    }
}

/// What a new community is made of.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct CreateCommunity {
    /// Its name in URLs: a–z, 0–9 and inner hyphens, not shaped like an id. Once taken it is no one else's.
    #[garde(custom(rules::text(Slug::check)))]
    #[schema(
        min_length = 3,
        max_length = 40,
        pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
        example = "rust-berlin"
    )]
    slug: String,
    /// Its name for people: one line.
    #[garde(custom(rules::text(CommunityName::check)))]
    #[schema(min_length = 1, max_length = 100, example = "Rust Berlin")]
    name: String,
    /// What it is about.
    #[serde(default)]
    #[garde(inner(custom(rules::text(Description::check))))]
    #[schema(max_length = 10_000, example = "We meet on the first Tuesday of the month.")]
    description: Option<String>,
    /// Who may see it.
    #[garde(skip)]
    #[schema(example = "public")]
    visibility: Visibility,
}

impl TryFrom<CreateCommunity> for domain::NewCommunity {
    type Error = Failure;

    fn try_from(body: CreateCommunity) -> Result<Self, Failure> {
        Ok(Self {
            slug: rules::checked("slug", Slug::new(body.slug))?,
            name: rules::checked("name", CommunityName::new(body.name))?,
            description: body.description.map(description).transpose()?,
            visibility: body.visibility.into(),
        })
    }
}

/// What can be changed about a community. What is left out stays.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct PatchCommunity {
    /// Its name in URLs; cannot be null. The one that it had goes on leading to it.
    #[serde(default, deserialize_with = "present")]
    #[garde(inner(custom(rules::text(Slug::check))))]
    #[schema(
        nullable = false,
        min_length = 3,
        max_length = 40,
        pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
        example = "rust-berlin"
    )]
    slug: Option<String>,
    /// Its name for people; cannot be null.
    #[serde(default, deserialize_with = "present")]
    #[garde(inner(custom(rules::text(CommunityName::check))))]
    #[schema(nullable = false, min_length = 1, max_length = 100, example = "Rust Berlin")]
    name: Option<String>,
    /// What it is about; null clears it.
    #[serde(default)]
    #[garde(inner(custom(rules::text(Description::check))))]
    #[schema(
        value_type = Option<String>,
        max_length = 10_000,
        example = "We meet on the first Tuesday of the month."
    )]
    description: Patch<String>,
    /// Who may see it; cannot be null.
    #[serde(default, deserialize_with = "present")]
    #[garde(skip)]
    #[schema(nullable = false, example = "private")]
    visibility: Option<Visibility>,
}

impl TryFrom<PatchCommunity> for domain::CommunityPatch {
    type Error = Failure;

    fn try_from(body: PatchCommunity) -> Result<Self, Failure> {
        let slug = body.slug.map(|slug| rules::checked("slug", Slug::new(slug)));
        let name = body.name.map(|name| rules::checked("name", CommunityName::new(name)));
        Ok(Self {
            slug: slug.transpose()?,
            name: name.transpose()?,
            description: body.description.try_map(description)?.into_option(),
            visibility: body.visibility.map(domain::Visibility::from),
        })
    }
}

fn description(text: String) -> Result<Description, Failure> {
    rules::checked("description", Description::new(text))
}

/// A member of a community.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Member {
    /// Who it is.
    user_id: id::User,
    /// How the person is called.
    #[schema(min_length = 1, max_length = 80, example = "Ada Lovelace")]
    display_name: String,
    /// What the person may do.
    #[schema(example = "member")]
    role: Role,
    /// When the person became a member, for the last time if there were several.
    #[schema(example = "2027-03-05T17:20:00.123456Z")]
    joined_at: Timestamp,
}

impl From<&MemberView> for Member {
    fn from(MemberView { membership, display_name }: &MemberView) -> Self {
        Self {
            user_id: membership.user.into(),
            display_name: display_name.to_string(),
            role: membership.role.into(),
            joined_at: membership.joined_at,
        }
    }
}

/// What a member may do; each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = MemberRole)]
pub(super) enum Role {
    /// Takes part.
    Member,
    /// Also creates events.
    Organizer,
    /// Also runs the community.
    Admin,
    /// Owns it: exactly one.
    Owner,
}

impl From<domain::Role> for Role {
    fn from(role: domain::Role) -> Self {
        match role {
            domain::Role::Member => Self::Member,
            domain::Role::Organizer => Self::Organizer,
            domain::Role::Admin => Self::Admin,
            domain::Role::Owner => Self::Owner,
        }
    }
}

/// Another role for a member.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct PutRole {
    /// The role. Only the owner appoints admins, and ownership is not given this way.
    #[garde(skip)]
    #[schema(example = "organizer")]
    role: AssignableRole,
}

impl From<PutRole> for domain::AssignableRole {
    fn from(body: PutRole) -> Self {
        match body.role {
            AssignableRole::Member => Self::Member,
            AssignableRole::Organizer => Self::Organizer,
            AssignableRole::Admin => Self::Admin,
        }
    }
}

/// A role that can be given to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum AssignableRole {
    /// Takes part.
    Member,
    /// Also creates events.
    Organizer,
    /// Also runs the community.
    Admin,
}
