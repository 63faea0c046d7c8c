//! One person's membership of one community.

use jiff::Timestamp;

use super::Role;
use crate::ids::{CommunityId, MembershipId, UserId};

/// A membership. It ends when the person leaves; joining again makes a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Its identity.
    pub id: MembershipId,
    /// The community.
    pub community: CommunityId,
    /// The member.
    pub user: UserId,
    /// What the member may do.
    pub role: Role,
    /// How many recorded events it has, which is the aggregate version of the last.
    pub version: i32,
    /// When the person joined.
    pub joined_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Why somebody may not give a member another role, whatever their own role grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RankRefusal {
    /// Nobody changes their own role.
    #[error("nobody can change their own role")]
    Oneself,
    /// The member's rank is as high as that of who acts, or higher.
    #[error("the member's rank is not below yours")]
    NotBelow,
}

/// The owner cannot leave: a community always has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the owner cannot leave the community")]
pub struct CannotLeave;

impl Membership {
    /// A new membership; joining is its first recorded event.
    #[must_use]
    pub fn new(
        id: MembershipId,
        community: CommunityId,
        user: UserId,
        role: Role,
        now: Timestamp,
    ) -> Self {
        Self { id, community, user, role, version: 1, joined_at: now, updated_at: now }
    }

    /// Whether this member may act on another: on nobody of equal or higher rank, and not on oneself.
    ///
    /// # Errors
    /// The reason against it.
    pub fn ensure_outranks(&self, other: &Self) -> Result<(), RankRefusal> {
        if self.user == other.user {
            Err(RankRefusal::Oneself)
        } else if self.role <= other.role {
            Err(RankRefusal::NotBelow)
        } else {
            Ok(())
        }
    }

    /// The membership with another role. `None` if it is the role that the member has.
    #[must_use]
    pub fn with_role(&self, role: Role, now: Timestamp) -> Option<Self> {
        (role != self.role).then(|| Self {
            role,
            version: self.version + 1,
            updated_at: now,
            ..*self
        })
    }

    /// The version of the event that ends the membership.
    ///
    /// # Errors
    /// [`CannotLeave`] for the owner.
    pub fn last_version(&self) -> Result<i32, CannotLeave> {
        if self.role == Role::Owner { Err(CannotLeave) } else { Ok(self.version + 1) }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ids::TypedId as _;

    fn member(number: u128, role: Role) -> Membership {
        Membership::new(
            MembershipId::from_uuid(Uuid::from_u128(number)),
            CommunityId::from_uuid(Uuid::nil()),
            UserId::from_uuid(Uuid::from_u128(number)),
            role,
            Timestamp::UNIX_EPOCH,
        )
    }

    #[test]
    fn nobody_acts_on_oneself_or_on_an_equal_or_higher_rank() {
        for actor in Role::ALL {
            for other in Role::ALL {
                let outranks = member(1, actor).ensure_outranks(&member(2, other));
                assert_eq!(outranks.is_ok(), actor > other, "{actor:?} {other:?}");
            }
            let oneself = member(1, actor);
            assert_eq!(oneself.ensure_outranks(&oneself), Err(RankRefusal::Oneself));
        }
    }

    #[test]
    fn another_role_is_another_version_and_the_same_role_is_none() {
        let before = member(1, Role::Member);
        let after = before.with_role(Role::Admin, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!((after.role, after.version), (Role::Admin, 2));
        assert_eq!(after.with_role(Role::Admin, Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn all_but_the_owner_may_leave() {
        assert_eq!(member(1, Role::Admin).last_version(), Ok(2));
        assert_eq!(member(1, Role::Owner).last_version(), Err(CannotLeave));
    }
}
