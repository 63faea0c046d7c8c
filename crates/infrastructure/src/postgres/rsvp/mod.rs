//! RSVPs: the counters of an event's seats, and who holds them.

pub(in crate::postgres) mod load;
pub(in crate::postgres) mod offers;
mod reads;
mod rows;
mod tx;
