//! The outbox: events of a transaction, written with it, on their way to the log.

use convene_application::kernel::events::NewEvent;
use convene_domain::ids::TypedId;

use super::sql::{Sql, sql};

/// Writes a transaction's events in their order.
pub(super) fn insert(events: Vec<NewEvent>) -> Option<Sql> {
    if events.is_empty() {
        return None;
    }
    let (mut ids, mut types, mut versions) = (vec![], vec![], vec![]);
    let (mut communities, mut envelopes) = (vec![], vec![]);
    for event in events {
        ids.push(event.id);
        types.push(event.event_type);
        versions.push(i16::try_from(event.version).unwrap_or(i16::MAX));
        communities.push(event.community.map(TypedId::uuid));
        envelopes.push(event.envelope);
    }
    Some(
        sql("INSERT INTO outbox (event_id, event_type, version, community_id, envelope)
             SELECT event_id, event_type, version, community_id, envelope
             FROM unnest($1::uuid[], $2::text[], $3::smallint[], $4::uuid[], $5::bytea[])
                  WITH ORDINALITY AS event(event_id, event_type, version, community_id, envelope, place)
             ORDER BY place")
            .bind(ids)
            .bind(types)
            .bind(versions)
            .bind(communities)
            .bind(envelopes),
    )
}
