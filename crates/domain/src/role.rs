//! The roles of a community's members, which every module's permissions speak of.

/// What a member may do; later variants outrank earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Takes part.
    Member,
    /// Also creates events.
    Organizer,
    /// Also runs the community.
    Admin,
    /// Owns it: exactly one.
    Owner,
}

impl Role {
    /// All roles from the lowest to the highest.
    pub const ALL: [Self; 4] = [Self::Member, Self::Organizer, Self::Admin, Self::Owner];

    /// The stable name of the role.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Organizer => "organizer",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// The role with that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

/// A role that can be given to somebody. Ownership is not given but transferred, so it is none of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AssignableRole {
    /// Takes part.
    Member,
    /// Also creates events.
    Organizer,
    /// Also runs the community.
    Admin,
}

impl AssignableRole {
    /// The role with that name, if it is one that can be given.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Member, Self::Organizer, Self::Admin]
            .into_iter()
            .find(|role| Role::from(*role).as_str() == name)
    }
}

impl From<AssignableRole> for Role {
    fn from(role: AssignableRole) -> Self {
        match role {
            AssignableRole::Member => Self::Member,
            AssignableRole::Organizer => Self::Organizer,
            AssignableRole::Admin => Self::Admin,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written_and_rank_upwards() {
        for pair in Role::ALL.windows(2) {
            assert!(pair[0] < pair[1]);
        }
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
        assert_eq!(Role::parse("Owner"), None);
    }

    #[test]
    fn ownership_cannot_be_given() {
        assert_eq!(AssignableRole::parse("owner"), None);
        assert_eq!(AssignableRole::parse("admin"), Some(AssignableRole::Admin));
    }
}
