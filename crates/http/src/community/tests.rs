//! What bodies of communities and members look like, and which are refused.

use convene_application::community::MemberView;
use convene_application::kernel::error::{Failure, Place};
use convene_domain::community::{
    self as domain, AssignableRole, CommunityPatch, Membership, NewCommunity, Role, Visibility,
};
use convene_domain::ids::TypedId;
use convene_domain::text::{CommunityName, Description, DisplayName, Slug};
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::dto::{Community, CreateCommunity, Member, PatchCommunity, PutRole};
use crate::json::from_slice;

/// The mistakes of a refused body as pairs of field and code, sorted.
fn mistakes(failure: Failure) -> Vec<(String, &'static str)> {
    let mut mistakes: Vec<_> = failure
        .errors
        .into_iter()
        .map(|error| match error.place {
            Place::Pointer(pointer) => (pointer, error.code),
            Place::Parameter(name) => (name, error.code),
        })
        .collect();
    mistakes.sort();
    mistakes
}

fn create(body: &str) -> Result<NewCommunity, Failure> {
    from_slice::<CreateCommunity>(body.as_bytes())?.try_into()
}

fn patch(body: &str) -> Result<CommunityPatch, Failure> {
    from_slice::<PatchCommunity>(body.as_bytes())?.try_into()
}

#[test]
fn a_community_shows_every_member_also_what_is_empty() {
    let new = create(r#"{"slug": "rust-berlin", "name": "Rust Berlin", "visibility": "private"}"#);
    let community = domain::Community::new(
        TypedId::from_uuid(Uuid::nil()),
        new.unwrap(),
        Timestamp::UNIX_EPOCH,
    );
    assert_eq!(
        serde_json::to_value(Community::from(&community)).unwrap(),
        json!({
            "id": "comm_00000000000000000000000000",
            "slug": "rust-berlin",
            "name": "Rust Berlin",
            "description": null,
            "visibility": "private",
            "archived_at": null,
            "created_at": "1970-01-01T00:00:00Z",
            "updated_at": "1970-01-01T00:00:00Z",
        })
    );
}

#[test]
fn a_new_community_is_checked_as_a_whole() {
    let full = r#"{"slug": "abc", "name": "A", "description": "", "visibility": "public"}"#;
    let expected = NewCommunity {
        slug: Slug::new("abc").unwrap(),
        name: CommunityName::new("A").unwrap(),
        description: Some(Description::new("").unwrap()),
        visibility: Visibility::Public,
    };
    assert_eq!(create(full).unwrap(), expected);

    let absent = mistakes(create("{}").unwrap_err());
    let required = ["/name", "/slug", "/visibility"].map(|field| (field.to_owned(), "required"));
    assert_eq!(absent, required);

    let wrong = r#"{"slug": "A!", "name": "", "visibility": "hidden", "owner": "me"}"#;
    let told = mistakes(create(wrong).unwrap_err());
    assert!(told.contains(&("/visibility".to_owned(), "unknown_value")), "{told:?}");
    assert!(told.contains(&("/owner".to_owned(), "unknown_field")), "{told:?}");
}

#[test]
fn a_patch_tells_absent_from_null() {
    assert_eq!(patch("{}").unwrap(), CommunityPatch::default());
    assert_eq!(patch(r#"{"description": null}"#).unwrap().description, Some(None));
    let set = patch(r#"{"description": "New", "visibility": "private"}"#).unwrap();
    assert_eq!(set.description, Some(Some(Description::new("New").unwrap())));
    assert_eq!(set.visibility, Some(Visibility::Private));
    for field in ["slug", "name", "visibility"] {
        assert!(patch(&format!(r#"{{"{field}": null}}"#)).is_err(), "{field} cannot be cleared");
    }
}

#[test]
fn every_role_but_ownership_can_be_given() {
    let role = |name: &str| {
        let body = from_slice::<PutRole>(format!(r#"{{"role": "{name}"}}"#).as_bytes())?;
        Ok::<_, Failure>(AssignableRole::from(body))
    };
    assert_eq!(role("admin").unwrap(), AssignableRole::Admin);
    assert_eq!(role("organizer").unwrap(), AssignableRole::Organizer);
    assert_eq!(role("member").unwrap(), AssignableRole::Member);
    let refused = mistakes(role("owner").unwrap_err());
    assert_eq!(refused, [("/role".to_owned(), "unknown_value")]);
}

#[test]
fn a_member_is_shown_by_name_and_role() {
    let nil = Uuid::nil();
    let membership = Membership::new(
        TypedId::from_uuid(nil),
        TypedId::from_uuid(nil),
        TypedId::from_uuid(nil),
        Role::Owner,
        Timestamp::UNIX_EPOCH,
    );
    let member = MemberView { membership, display_name: DisplayName::new("Ada").unwrap() };
    assert_eq!(
        serde_json::to_value(Member::from(&member)).unwrap(),
        json!({
            "user_id": "user_00000000000000000000000000",
            "display_name": "Ada",
            "role": "owner",
            "joined_at": "1970-01-01T00:00:00Z",
        })
    );
}
