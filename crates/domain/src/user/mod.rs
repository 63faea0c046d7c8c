//! People and how they show themselves.

mod handle;

pub use handle::{HandleError, check_handle, choose_handle};

use jiff::Timestamp;

use crate::ids::UserId;
use crate::text::{DisplayName, EmailAddress, Handle};
use crate::zone::TimeZoneName;

/// A person with an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Who it is.
    pub id: UserId,
    /// Where mail reaches the person.
    pub email: EmailAddress,
    /// Whether the person has proved that the address is theirs.
    pub email_verified: bool,
    /// How the person is shown.
    pub profile: Profile,
    /// When the account came to be.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What a person may change about themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// How others see the person.
    pub display_name: DisplayName,
    /// A unique short name, if the person chose one.
    pub handle: Option<Handle>,
    /// The zone in which times are shown to the person.
    pub time_zone: TimeZoneName,
}

/// A change of a profile: what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileChange {
    /// Another name.
    pub display_name: Option<DisplayName>,
    /// Another handle, or none any more.
    pub handle: Option<Option<Handle>>,
    /// Another zone.
    pub time_zone: Option<TimeZoneName>,
}

impl User {
    /// Applies a change and returns the names of the fields that differ afterwards. Nothing differs: nothing happened.
    pub fn change_profile(&mut self, change: ProfileChange, now: Timestamp) -> Vec<&'static str> {
        let profile = &mut self.profile;
        let changed: Vec<_> = [
            ("display_name", replace(&mut profile.display_name, change.display_name)),
            ("handle", replace(&mut profile.handle, change.handle)),
            ("time_zone", replace(&mut profile.time_zone, change.time_zone)),
        ]
        .into_iter()
        .filter_map(|(field, differs)| differs.then_some(field))
        .collect();
        if !changed.is_empty() {
            self.updated_at = now;
        }
        changed
    }
}

fn replace<T: PartialEq>(current: &mut T, new: Option<T>) -> bool {
    match new {
        Some(new) if new != *current => {
            *current = new;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TypedId as _;

    fn ada() -> User {
        User {
            id: UserId::from_uuid(uuid::Uuid::nil()),
            email: EmailAddress::new("ada@example.org").unwrap(),
            email_verified: true,
            profile: Profile {
                display_name: DisplayName::new("Ada").unwrap(),
                handle: Some(Handle::new("ada").unwrap()),
                time_zone: TimeZoneName::new("UTC").unwrap(),
            },
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_change_tells_what_differs() {
        let mut user = ada();
        let now = Timestamp::from_second(60).unwrap();
        let change = ProfileChange {
            display_name: Some(DisplayName::new("Ada").unwrap()),
            handle: Some(None),
            time_zone: Some(TimeZoneName::new("Europe/London").unwrap()),
        };
        assert_eq!(user.change_profile(change, now), ["handle", "time_zone"]);
        assert_eq!((user.profile.handle, user.updated_at), (None, now));
    }

    #[test]
    fn changing_nothing_is_no_change() {
        let mut user = ada();
        let now = Timestamp::from_second(60).unwrap();
        let same = ProfileChange {
            handle: Some(Some(Handle::new("ada").unwrap())),
            ..ProfileChange::default()
        };
        assert!(user.change_profile(same, now).is_empty());
        assert_eq!(user, ada());
    }
}
