//! `{community}` in paths.

use convene_domain::community::CommunityRef;
use utoipa::openapi::{Object, ObjectBuilder, Type};

use crate::extract::PathSegment;

impl PathSegment for CommunityRef {
    const NAME: &'static str = "community";

    fn parse(segment: &str) -> Option<Self> {
        Self::parse(segment)
    }

    fn description() -> String {
        "The id or the slug of the community; a slug that it had before leads to it, too."
            .to_owned()
    }

    fn schema() -> Object {
        ObjectBuilder::new().schema_type(Type::String).examples(["rust-berlin"]).build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_community_is_named_by_its_id_or_by_a_slug() {
        let parse = <CommunityRef as PathSegment>::parse;
        let id = parse("comm_01h455vb4pex5vsknk084sn02q");
        assert!(matches!(id, Some(CommunityRef::Id(_))));
        assert!(matches!(parse("rust-berlin"), Some(CommunityRef::Slug(_))));
        for nothing in ["", "ab", "Rust", "user_01h455vb4pex5vsknk084sn02q", "rust%20berlin"] {
            assert_eq!(parse(nothing), None, "{nothing}");
        }
    }
}
