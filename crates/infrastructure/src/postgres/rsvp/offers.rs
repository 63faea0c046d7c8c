//! What this module offers to the SQL of others: its lock, for their flight.

use convene_application::kernel::store::StoreError;
use convene_domain::ids::EventId;
use convene_domain::rsvp::Seats;

use super::rows::SeatsRow;
use super::tx;
use crate::postgres::pool::Connection;

/// Locks the counters of an event's seats until the transaction ends.
pub(in crate::postgres) async fn lock_seats(
    event: EventId,
    connection: &Connection,
) -> Result<Option<Seats>, StoreError> {
    Ok(tx::lock_seats(event).row::<SeatsRow>(connection).await?.map(Seats::from))
}
