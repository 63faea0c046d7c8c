//! Communities, the slugs that lead to them, and their members.

pub(in crate::postgres) mod load;
mod reads;
mod rows;
mod tx;

/// The id of the community that a request means, by its id in `$1` or a slug in `$2`.
const MEANT: &str =
    "coalesce($1, (SELECT s.community_id FROM community_slugs s WHERE s.slug = $2))";
