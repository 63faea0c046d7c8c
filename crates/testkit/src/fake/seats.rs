//! The seats of events, as far as other modules change them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use convene_application::kernel::store::StoreError;
use convene_application::rsvp::offers::SeatingTx;
use convene_domain::ids::EventId;
use convene_domain::rsvp::Seats;

use super::store::FakeTx;

/// The counters of each event's seats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seating(pub BTreeMap<EventId, Seats>);

/// Tables that hold seats among others.
pub trait HasSeats: Clone + Default + Send + Sync + 'static {
    /// The seats.
    fn seating(&self) -> &Seating;
    /// The seats, to be changed.
    fn seating_mut(&mut self) -> &mut Seating;
}

#[async_trait]
impl<T: HasSeats> SeatingTx for FakeTx<T> {
    async fn lock_seats(&mut self, event: EventId) -> Result<Option<Seats>, StoreError> {
        Ok(self.read().await?.seating().0.get(&event).copied())
    }

    fn open_seats(&mut self, event: EventId, capacity: Option<u32>) {
        self.write(move |tables| {
            let seats = Seats { capacity, taken: 0, waiting: 0, next_number: 1 };
            tables.seating_mut().0.insert(event, seats);
            Ok(())
        });
    }

    fn change_capacity(&mut self, event: EventId, capacity: Option<u32>) {
        self.write(move |tables| match tables.seating_mut().0.get_mut(&event) {
            Some(seats) if capacity.is_some_and(|capacity| capacity < seats.taken) => {
                Err(StoreError::other("event_seats_never_oversold"))
            }
            Some(seats) => {
                seats.capacity = capacity;
                Ok(())
            }
            None => Ok(()),
        });
    }
}
