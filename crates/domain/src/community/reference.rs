//! How a request names a community.

use std::fmt;

use crate::ids::CommunityId;
use crate::text::Slug;

/// A community by its id, or by a slug that it has or had. No slug has the shape of an id, so there is no doubt which it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CommunityRef {
    /// By its id.
    Id(CommunityId),
    /// By a slug.
    Slug(Slug),
}

impl CommunityRef {
    /// Reads an id or a slug. `None` for text that can name no community.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.parse() {
            Ok(id) => Some(Self::Id(id)),
            Err(_) => Slug::new(text).ok().map(Self::Slug),
        }
    }

    /// The id, if it is one.
    #[must_use]
    pub fn id(&self) -> Option<CommunityId> {
        match self {
            Self::Id(id) => Some(*id),
            Self::Slug(_) => None,
        }
    }

    /// The slug, if it is one.
    #[must_use]
    pub fn slug(&self) -> Option<&Slug> {
        match self {
            Self::Id(_) => None,
            Self::Slug(slug) => Some(slug),
        }
    }
}

impl From<CommunityId> for CommunityRef {
    fn from(id: CommunityId) -> Self {
        Self::Id(id)
    }
}

impl fmt::Display for CommunityRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Slug(slug) => slug.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_slugs_are_told_apart() {
        let id = "comm_01h455vb4pex5vsknk084sn02q";
        assert!(
            matches!(CommunityRef::parse(id), Some(CommunityRef::Id(found)) if found.to_string() == id)
        );
        assert!(matches!(CommunityRef::parse("rust-berlin"), Some(CommunityRef::Slug(_))));
        for neither in ["", "ab", "Rust", "user_01h455vb4pex5vsknk084sn02q", "comm_x", "a/b"] {
            assert_eq!(CommunityRef::parse(neither), None, "{neither}");
        }
    }
}
