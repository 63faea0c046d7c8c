//! Profiles as clients read and write them.

use convene_application::kernel::error::{Failure, FieldError};
use convene_domain::text::{DisplayName, Handle};
use convene_domain::user::{self, HandleError, ProfileChange, check_handle, choose_handle};
use convene_domain::zone::TimeZoneName;
use garde::Validate;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::json::{Patch, present};
use crate::{id, rules};

/// A person as they see themselves.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct User {
    /// The person's id.
    id: id::User,
    /// Where mail reaches the person.
    #[schema(format = Email, example = "ada@example.org")]
    email: String,
    /// Whether the person has proved that the address is theirs.
    #[schema(example = true)]
    email_verified: bool,
    /// How others see the person.
    #[schema(min_length = 1, max_length = 80, example = "Ada Lovelace")]
    display_name: String,
    /// A unique short name; null if the person chose none.
    #[schema(
        required,
        min_length = 3,
        max_length = 30,
        pattern = "^[a-z0-9_]+$",
        example = "ada_lovelace"
    )]
    handle: Option<String>,
    /// The IANA time zone in which times are shown to the person.
    #[schema(example = "Europe/London")]
    time_zone: String,
    /// When the account came to be.
    #[schema(example = "2027-04-01T08:30:00.123456Z")]
    created_at: Timestamp,
    /// When it last changed.
    #[schema(example = "2027-04-01T08:30:00.123456Z")]
    updated_at: Timestamp,
}

impl From<&user::User> for User {
    fn from(user: &user::User) -> Self {
        let profile = &user.profile;
        Self {
            id: user.id.into(),
            email: user.email.to_string(),
            email_verified: user.email_verified,
            display_name: profile.display_name.to_string(),
            handle: profile.handle.as_ref().map(Handle::to_string),
            time_zone: profile.time_zone.to_string(),
            created_at: user.created_at,
            updated_at: user.updated_at,
        }
    }
}

/// What a person may change about themselves, as a JSON merge patch.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct PatchUser {
    /// How others see the person; cannot be null.
    #[serde(default, deserialize_with = "present")]
    #[garde(inner(custom(rules::text(DisplayName::check))))]
    #[schema(nullable = false, min_length = 1, max_length = 80, example = "Ada Lovelace")]
    display_name: Option<String>,
    /// A unique short name that is not reserved; null gives it up.
    #[serde(default)]
    #[garde(inner(custom(free_to_choose)))]
    #[schema(
        value_type = Option<String>, min_length = 3, max_length = 30, pattern = "^[a-z0-9_]+$",
        example = "ada_lovelace",
    )]
    handle: Patch<String>,
    /// The IANA time zone in which times are shown to the person; cannot be null.
    #[serde(default, deserialize_with = "present")]
    #[garde(inner(custom(rules::text(TimeZoneName::check))))]
    #[schema(nullable = false, example = "Europe/London")]
    time_zone: Option<String>,
}

impl TryFrom<PatchUser> for ProfileChange {
    type Error = Failure;

    fn try_from(body: PatchUser) -> Result<Self, Failure> {
        let display_name = body.display_name.map(DisplayName::new).transpose();
        let handle = body
            .handle
            .try_map(|handle| choose_handle(&handle))
            .map_err(|error| refused(&error))?;
        let time_zone = body.time_zone.map(TimeZoneName::new).transpose();
        Ok(Self {
            display_name: rules::checked("display_name", display_name)?,
            handle: handle.into_option(),
            time_zone: rules::checked("time_zone", time_zone)?,
        })
    }
}

/// The rule of a handle that somebody chooses.
fn free_to_choose(handle: &str, (): &()) -> garde::Result {
    check_handle(handle).map_err(|error| rules::mistake(error.code(), error))
}

fn refused(error: &HandleError) -> Failure {
    Failure::invalid(vec![FieldError::field("handle", error.code(), error.to_string())])
}

#[cfg(test)]
mod tests {
    use convene_application::kernel::error::Place;
    use convene_domain::ids::{TypedId as _, UserId};
    use convene_domain::text::EmailAddress;
    use convene_domain::user::Profile;
    use serde_json::{Value, json};

    use super::*;
    use crate::json::from_slice;

    fn patch(body: &Value) -> Result<ProfileChange, Failure> {
        from_slice::<PatchUser>(body.to_string().as_bytes()).and_then(ProfileChange::try_from)
    }

    /// The place and code of the only mistake.
    fn mistake(body: &Value) -> (String, &'static str) {
        let [error] = <[FieldError; 1]>::try_from(patch(body).unwrap_err().errors).unwrap();
        match error.place {
            Place::Pointer(pointer) => (pointer, error.code),
            Place::Parameter(name) => panic!("{name} is no field"),
        }
    }

    #[test]
    fn absent_keeps_null_clears_and_a_value_sets() {
        assert_eq!(patch(&json!({})).unwrap(), ProfileChange::default());
        assert_eq!(patch(&json!({ "handle": null })).unwrap().handle, Some(None));
        let change = patch(&json!({ "handle": "ada", "time_zone": "Europe/London" })).unwrap();
        assert_eq!(change.handle, Some(Some(Handle::new("ada").unwrap())));
        assert_eq!(change.time_zone, Some(TimeZoneName::new("Europe/London").unwrap()));
        assert_eq!(change.display_name, None);
    }

    #[test]
    fn each_mistake_has_its_place_and_code() {
        for (body, pointer, code) in [
            (json!({ "display_name": null }), "/display_name", "invalid_type"),
            (json!({ "display_name": "" }), "/display_name", "too_short"),
            (json!({ "handle": "Ada" }), "/handle", "invalid_format"),
            (json!({ "handle": "admin" }), "/handle", "reserved"),
            (json!({ "time_zone": "+02:00" }), "/time_zone", "invalid_format"),
            (json!({ "email": "ada@example.org" }), "/email", "unknown_field"),
        ] {
            assert_eq!(mistake(&body), (pointer.to_owned(), code), "{body}");
        }
    }

    #[test]
    fn a_person_without_handle_has_the_field_all_the_same() {
        let ada = user::User {
            id: UserId::from_uuid(uuid::Uuid::nil()),
            email: EmailAddress::new("ada@example.org").unwrap(),
            email_verified: true,
            profile: Profile {
                display_name: DisplayName::new("Ada").unwrap(),
                handle: None,
                time_zone: TimeZoneName::new("UTC").unwrap(),
            },
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        };
        assert_eq!(
            serde_json::to_value(User::from(&ada)).unwrap(),
            json!({
                "id": "user_00000000000000000000000000",
                "email": "ada@example.org",
                "email_verified": true,
                "display_name": "Ada",
                "handle": null,
                "time_zone": "UTC",
                "created_at": "1970-01-01T00:00:00Z",
                "updated_at": "1970-01-01T00:00:00Z",
            })
        );
    }
}
