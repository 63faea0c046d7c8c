//! Events about communities and their members.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    Change, Changes, EventPayload, EventType,
    ids::{CommunityId, MemberId, TypeId, UserId},
    payload::vocabulary,
};

/// Every event type of this module.
pub(crate) const EVENT_TYPES: &[EventType] = &[
    EventType::of::<CommunityCreated>(),
    EventType::of::<CommunityUpdated>(),
    EventType::of::<CommunityArchived>(),
    EventType::of::<CommunityMemberJoined>(),
    EventType::of::<CommunityMemberLeft>(),
    EventType::of::<CommunityMemberRoleChanged>(),
];

vocabulary! {
    /// Who may see a community.
    Visibility {
        /// Everybody.
        Public = "public",
        /// Its members alone; to others it does not exist.
        Private = "private",
    }
}

vocabulary! {
    /// A member's standing in a community, highest first.
    Role {
        /// The one person to whom the community belongs.
        Owner = "owner",
        /// Runs the community on the owner's behalf.
        Admin = "admin",
        /// May create events.
        Organizer = "organizer",
        /// May attend events.
        Member = "member",
    }
}

vocabulary! {
    /// How a person became a member.
    JoinedVia {
        /// By creating the community.
        Created = "created",
        /// By joining a community that is open to everybody.
        Open = "open",
    }
}

/// A community was created. Its owner's `community.member_joined` is recorded with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommunityCreated {
    /// The new community.
    pub community_id: CommunityId,
    /// Its name in URLs, unique among all communities.
    pub slug: String,
    /// Its name as people read it.
    pub name: String,
    /// Who may see it: `public` or `private`.
    pub visibility: Visibility,
}

impl EventPayload for CommunityCreated {
    type Subject = CommunityId;
    const TYPE: &'static str = "community.created";
    const VERSION: u16 = 1;

    fn community_id(&self) -> Option<&CommunityId> {
        Some(&self.community_id)
    }

    fn example() -> Self {
        Self {
            community_id: CommunityId::example(),
            slug: "rust-berlin".to_owned(),
            name: "Rust Berlin".to_owned(),
            visibility: Visibility::Public,
        }
    }
}

/// A community's profile or settings were changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommunityUpdated {
    /// The community.
    pub community_id: CommunityId,
    /// The members of the community resource that changed, by name.
    pub changed: Changes,
}

impl EventPayload for CommunityUpdated {
    type Subject = CommunityId;
    const TYPE: &'static str = "community.updated";
    const VERSION: u16 = 1;

    fn community_id(&self) -> Option<&CommunityId> {
        Some(&self.community_id)
    }

    fn example() -> Self {
        Self {
            community_id: CommunityId::example(),
            changed: Changes::from([(
                "description".to_owned(),
                Change { old: json!(null), new: json!("We meet on the first Saturday.") },
            )]),
        }
    }
}

/// A community was archived: it can be read by its owner and admins, and changed by nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommunityArchived {
    /// The community.
    pub community_id: CommunityId,
}

impl EventPayload for CommunityArchived {
    type Subject = CommunityId;
    const TYPE: &'static str = "community.archived";
    const VERSION: u16 = 1;

    fn community_id(&self) -> Option<&CommunityId> {
        Some(&self.community_id)
    }

    fn example() -> Self {
        Self { community_id: CommunityId::example() }
    }
}

/// A person became a member of a community.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommunityMemberJoined {
    /// The community.
    pub community_id: CommunityId,
    /// The new member.
    pub user_id: UserId,
    /// The role they start with: `owner`, `admin`, `organizer` or `member`.
    pub role: Role,
    /// How they joined: `created` or `open`.
    pub via: JoinedVia,
}

impl EventPayload for CommunityMemberJoined {
    type Subject = MemberId;
    const TYPE: &'static str = "community.member_joined";
    const VERSION: u16 = 1;

    fn community_id(&self) -> Option<&CommunityId> {
        Some(&self.community_id)
    }

    fn example() -> Self {
        Self {
            community_id: CommunityId::example(),
            user_id: UserId::example(),
            role: Role::Member,
            via: JoinedVia::Open,
        }
    }
}

/// A person is no longer a member of a community. Their future RSVPs are cancelled a little later,
/// each with an event of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommunityMemberLeft {
    /// The community.
    pub community_id: CommunityId,
    /// The former member.
    pub user_id: UserId,
}

impl EventPayload for CommunityMemberLeft {
    type Subject = MemberId;
    const TYPE: &'static str = "community.member_left";
    const VERSION: u16 = 1;

    fn community_id(&self) -> Option<&CommunityId> {
        Some(&self.community_id)
    }

    fn example() -> Self {
        Self { community_id: CommunityId::example(), user_id: UserId::example() }
    }
}

/// A member was given another role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommunityMemberRoleChanged {
    /// The community.
    pub community_id: CommunityId,
    /// The member.
    pub user_id: UserId,
    /// What changed.
    pub changed: RoleChange,
}

/// A role before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoleChange {
    /// The member's role: `owner`, `admin`, `organizer` or `member`.
    pub role: Change<Role>,
}

impl EventPayload for CommunityMemberRoleChanged {
    type Subject = MemberId;
    const TYPE: &'static str = "community.member_role_changed";
    const VERSION: u16 = 1;

    fn community_id(&self) -> Option<&CommunityId> {
        Some(&self.community_id)
    }

    fn example() -> Self {
        Self {
            community_id: CommunityId::example(),
            user_id: UserId::example(),
            changed: RoleChange { role: Change { old: Role::Member, new: Role::Organizer } },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_joined_a_vocabulary_later_passes_through_unchanged() {
        let via: JoinedVia = serde_json::from_value(json!("invite")).unwrap();
        assert_eq!(via, JoinedVia::Other("invite".to_owned()));
        assert_eq!(serde_json::to_value(&via).unwrap(), json!("invite"));
        assert_eq!(serde_json::from_value::<JoinedVia>(json!("open")).unwrap(), JoinedVia::Open);
    }
}
