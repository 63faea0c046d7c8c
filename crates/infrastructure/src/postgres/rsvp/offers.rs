//! What this module offers to the SQL of others: its lock, for their flight.

use convene_application::kernel::store::StoreError;
use convene_domain::ids::EventId;
use convene_domain::rsvp::Seats;
use diesel_async::AsyncPgConnection;

use super::rows::SeatsRow;
use super::tx;

/// Locks the counters of an event's seats until the transaction ends.
pub(in crate::postgres) async fn lock_seats(
    event: EventId,
    connection: &AsyncPgConnection,
) -> Result<Option<Seats>, StoreError> {
    Ok(tx::lock_seats(event).row::<SeatsRow>(connection).await?.map(Seats::from))
}
