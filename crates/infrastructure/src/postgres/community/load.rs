//! Communities and their members for load tests.

use crate::postgres::load::{Kind, Load, id_sql};
use crate::postgres::sql::{Sql, sql};

/// Every tenth community is private. Each has an owner, an admin, an organiser, and many more.
pub(in crate::postgres) fn statements(load: &Load) -> Vec<Sql> {
    let (community, last) = (id_sql(Kind::Community, "c"), load.communities() - 1);
    vec![
        sql(format!(
            "INSERT INTO communities (id, slug, name, description, visibility, version, created_at, updated_at)
             SELECT {community}, 'community-' || c, 'Community ' || c, 'We meet every other week.',
                    CASE WHEN c % 10 = 9 THEN 'private' ELSE 'public' END, 1, made, made
             FROM (SELECT c, $1 - interval '230 days' + make_interval(mins => c) AS made
                   FROM generate_series(0, {last}) AS c) AS community"
        ))
        .bind(load.now()),
        sql(format!(
            "INSERT INTO community_slugs (slug, community_id)
             SELECT 'community-' || c, {community} FROM generate_series(0, {last}) AS c"
        )),
        sql(format!(
            "INSERT INTO members (id, community_id, user_id, role, version, joined_at, updated_at)
             SELECT {member}, {community}, {user},
                    CASE k WHEN 0 THEN 'owner' WHEN 1 THEN 'admin' WHEN 2 THEN 'organizer' ELSE 'member' END,
                    1, made, made
             FROM (SELECT c, k, $1 - interval '230 days' + make_interval(mins => c + k) AS made
                   FROM generate_series(0, {last}) AS c, generate_series(0, {members} - 1) AS k) AS member",
            member = id_sql(Kind::Member, "(c::bigint << 24) + k"),
            user = id_sql(Kind::User, &load.person_sql("c", "k")),
            members = load.members_of_sql("c"),
        ))
        .bind(load.now()),
    ]
}
