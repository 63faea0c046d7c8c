//! Communities, the tenants, and who belongs to them.

mod membership;
mod reference;

pub use crate::role::{AssignableRole, Role};
pub use membership::{CannotLeave, Membership, RankRefusal};
pub use reference::CommunityRef;

use jiff::Timestamp;

use crate::ids::CommunityId;
use crate::text::{CommunityName, Description, Slug};

/// Who may see a community.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Visibility {
    /// Everybody.
    Public,
    /// Its members; to others it does not exist.
    Private,
}

impl Visibility {
    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
        }
    }

    /// The visibility with that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Public, Self::Private].into_iter().find(|visibility| visibility.as_str() == name)
    }
}

/// A community.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Community {
    /// Its identity.
    pub id: CommunityId,
    /// Its present name in URLs. Names that it had before lead to it, too.
    pub slug: Slug,
    /// Its name for people.
    pub name: CommunityName,
    /// What it is about.
    pub description: Option<Description>,
    /// Who may see it.
    pub visibility: Visibility,
    /// When it was archived; read-only from then on.
    pub archived_at: Option<Timestamp>,
    /// How many recorded events it has, which is the aggregate version of the last.
    pub version: i32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What a new community is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCommunity {
    /// Its name in URLs.
    pub slug: Slug,
    /// Its name for people.
    pub name: CommunityName,
    /// What it is about.
    pub description: Option<Description>,
    /// Who may see it.
    pub visibility: Visibility,
}

/// Changes to a community; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommunityPatch {
    /// Another name in URLs.
    pub slug: Option<Slug>,
    /// Another name for people.
    pub name: Option<CommunityName>,
    /// Another description, or none.
    pub description: Option<Option<Description>>,
    /// Another visibility.
    pub visibility: Option<Visibility>,
}

/// The community is archived, hence read-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the community is archived")]
pub struct Archived;

impl Community {
    /// A new community; its making is its first recorded event.
    #[must_use]
    pub fn new(id: CommunityId, new: NewCommunity, now: Timestamp) -> Self {
        Self {
            id,
            slug: new.slug,
            name: new.name,
            description: new.description,
            visibility: new.visibility,
            archived_at: None,
            version: 1,
            created_at: now,
            updated_at: now,
        }
    }

    /// Refuses a change of an archived community.
    ///
    /// # Errors
    /// [`Archived`].
    pub fn ensure_writable(&self) -> Result<(), Archived> {
        if self.archived_at.is_some() { Err(Archived) } else { Ok(()) }
    }

    /// The community with the changes applied. `None` if they change nothing.
    ///
    /// # Errors
    /// [`Archived`].
    pub fn patched(&self, patch: CommunityPatch, now: Timestamp) -> Result<Option<Self>, Archived> {
        self.ensure_writable()?;
        let mut patched = Self {
            slug: patch.slug.unwrap_or_else(|| self.slug.clone()),
            name: patch.name.unwrap_or_else(|| self.name.clone()),
            description: patch.description.unwrap_or_else(|| self.description.clone()),
            visibility: patch.visibility.unwrap_or(self.visibility),
            ..self.clone()
        };
        if patched == *self {
            return Ok(None);
        }
        patched.touch(now);
        Ok(Some(patched))
    }

    /// The community, archived.
    ///
    /// # Errors
    /// [`Archived`] if it was already.
    pub fn archived(&self, now: Timestamp) -> Result<Self, Archived> {
        self.ensure_writable()?;
        let mut archived = Self { archived_at: Some(now), ..self.clone() };
        archived.touch(now);
        Ok(archived)
    }

    fn touch(&mut self, now: Timestamp) {
        self.version += 1;
        self.updated_at = now;
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ids::TypedId as _;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn community() -> Community {
        let new = NewCommunity {
            slug: Slug::new("rust-berlin").unwrap(),
            name: CommunityName::new("Rust Berlin").unwrap(),
            description: None,
            visibility: Visibility::Public,
        };
        Community::new(CommunityId::from_uuid(Uuid::nil()), new, at(10))
    }

    #[test]
    fn a_patch_that_changes_something_makes_the_next_version() {
        let before = community();
        let description = Some(Some(Description::new("We meet on Saturdays.").unwrap()));
        let patch = CommunityPatch { description, ..CommunityPatch::default() };
        let after = before.patched(patch.clone(), at(20)).unwrap().unwrap();
        assert_eq!((after.version, after.created_at, after.updated_at), (2, at(10), at(20)));
        assert_eq!(after.patched(patch, at(30)), Ok(None));
        let clear = CommunityPatch { description: Some(None), ..CommunityPatch::default() };
        assert_eq!(after.patched(clear, at(30)).unwrap().unwrap().description, None);
    }

    #[test]
    fn an_archived_community_changes_no_more() {
        let archived = community().archived(at(20)).unwrap();
        assert_eq!((archived.version, archived.archived_at), (2, Some(at(20))));
        assert_eq!(archived.patched(CommunityPatch::default(), at(30)), Err(Archived));
        assert_eq!(archived.archived(at(30)), Err(Archived));
    }
}
