//! What this module records.

use convene_contracts::community::{
    CommunityArchived, CommunityCreated, CommunityMemberJoined, CommunityMemberLeft,
    CommunityMemberRoleChanged, CommunityUpdated, JoinedVia, Role as PublicRole, RoleChange,
    Visibility as PublicVisibility,
};
use convene_contracts::{Change, Changes};
use convene_domain::community::{Community, Membership, Role, Visibility};
use convene_domain::text::Description;

use crate::kernel::changes::Diff;
use crate::kernel::events::{NewEvent, Recorder, public};

pub(super) fn created(recorder: &Recorder<'_>, community: &Community) -> NewEvent {
    recorder.event(
        community.id,
        community.version,
        CommunityCreated {
            community_id: public(community.id),
            slug: community.slug.to_string(),
            name: community.name.to_string(),
            visibility: match community.visibility {
                Visibility::Public => PublicVisibility::Public,
                Visibility::Private => PublicVisibility::Private,
            },
        },
    )
}

pub(super) fn updated(
    recorder: &Recorder<'_>,
    community: &Community,
    changed: Changes,
) -> NewEvent {
    let data = CommunityUpdated { community_id: public(community.id), changed };
    recorder.event(community.id, community.version, data)
}

pub(super) fn archived(recorder: &Recorder<'_>, community: &Community) -> NewEvent {
    let data = CommunityArchived { community_id: public(community.id) };
    recorder.event(community.id, community.version, data)
}

pub(super) fn joined(recorder: &Recorder<'_>, member: &Membership, via: JoinedVia) -> NewEvent {
    recorder.event(
        member.id,
        member.version,
        CommunityMemberJoined {
            community_id: public(member.community),
            user_id: public(member.user),
            role: public_role(member.role),
            via,
        },
    )
}

pub(super) fn left(recorder: &Recorder<'_>, member: &Membership, version: i32) -> NewEvent {
    let data = CommunityMemberLeft {
        community_id: public(member.community),
        user_id: public(member.user),
    };
    recorder.event(member.id, version, data)
}

pub(super) fn role_changed(recorder: &Recorder<'_>, old: Role, member: &Membership) -> NewEvent {
    let role = Change { old: public_role(old), new: public_role(member.role) };
    recorder.event(
        member.id,
        member.version,
        CommunityMemberRoleChanged {
            community_id: public(member.community),
            user_id: public(member.user),
            changed: RoleChange { role },
        },
    )
}

/// The fields of the resource that differ.
pub(super) fn differences(old: &Community, new: &Community) -> Changes {
    Diff::between(old, new)
        .field("slug", |community| community.slug.as_str())
        .field("name", |community| community.name.as_str())
        .field("description", |community| community.description.as_ref().map(Description::as_str))
        .field("visibility", |community| community.visibility.as_str())
        .changes()
}

fn public_role(role: Role) -> PublicRole {
    match role {
        Role::Member => PublicRole::Member,
        Role::Organizer => PublicRole::Organizer,
        Role::Admin => PublicRole::Admin,
        Role::Owner => PublicRole::Owner,
    }
}
