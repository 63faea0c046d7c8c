//! Audit entries: written with the change, numbered and chained by the sequencer later.

use convene_application::kernel::uow::AuditEntry;
use convene_domain::ids::TypedId;

use super::sql::{Sql, sql};

/// Writes a transaction's audit entries in their order.
pub(super) fn insert(entries: Vec<AuditEntry>) -> Option<Sql> {
    if entries.is_empty() {
        return None;
    }
    let (mut communities, mut actors, mut sessions, mut actions) = (vec![], vec![], vec![], vec![]);
    let (mut objects, mut changes, mut requests) = (vec![], vec![], vec![]);
    let mut outcomes = vec![];
    let (mut addresses, mut agents) = (vec![], vec![]);
    for entry in entries {
        communities.push(entry.community.map(TypedId::uuid));
        actors.push(entry.actor().map(|actor| actor.to_string()));
        sessions.push(entry.context.session.map(TypedId::uuid));
        actions.push(entry.action);
        objects.push(entry.object);
        outcomes.push(<&str>::from(entry.outcome));
        changes.push(entry.changed);
        requests.push(entry.context.request_id);
        addresses.push(entry.context.client_ip.map(|address| address.to_string()));
        agents.push(entry.context.user_agent);
    }
    Some(
        sql("INSERT INTO audit_pending
                 (community_id, actor, session_id, action, object, changed, request_id, client_ip, user_agent,
                  outcome)
             SELECT community_id, actor, session_id, action, object, changed, request_id, client_ip, user_agent,
                    outcome
             FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::jsonb[], $7::text[],
                         $8::text[], $9::text[], $10::text[]) WITH ORDINALITY
                  AS entry(community_id, actor, session_id, action, object, changed, request_id, client_ip,
                           user_agent, outcome, place)
             ORDER BY place")
            .bind(communities)
            .bind(actors)
            .bind(sessions)
            .bind(actions)
            .bind(objects)
            .bind(changes)
            .bind(requests)
            .bind(addresses)
            .bind(agents)
            .bind(outcomes),
    )
}
