//! The inbox: which consumer has taken which event. The claim and the effect commit together, so an event has its effect
//! once, however often it is delivered.

use convene_application::kernel::store::StoreError;
use convene_application::kernel::uow::CONSUMED_BEFORE;
use uuid::Uuid;

use super::pool::Connection;
use super::sql::{Sql, sql};

/// Events that a transaction takes on behalf of a consumer.
#[derive(Clone)]
pub(super) struct Consumption {
    pub(super) consumer: &'static str,
    /// Each with its replay.
    pub(super) events: Vec<(Uuid, i32)>,
}

impl Consumption {
    /// Claims the events and tells whether the one there is was consumed before. Waits for other transactions that claim
    /// them just now, in one order, so that two of them cannot wait for each other.
    ///
    /// # Errors
    /// A violation of [`CONSUMED_BEFORE`] if one of several was, or the store's.
    pub(super) async fn claim(self, connection: &Connection) -> Result<bool, StoreError> {
        let all = self.events.len();
        let claim = sql("INSERT INTO inbox (event_id, consumer, replay)
             SELECT event_id, $3, replay FROM unnest($1::uuid[], $2::int[]) AS event(event_id, replay)
             ORDER BY event_id, replay
             ON CONFLICT DO NOTHING");
        match self.bind_to(claim).run(connection).await? {
            claimed if claimed == all => Ok(false),
            _ if all == 1 => Ok(true),
            _ => Err(StoreError::Unique { constraint: CONSUMED_BEFORE.to_owned() }),
        }
    }

    /// Claims the events or, if one was consumed before, ends the transaction: for those that read nothing first.
    pub(super) fn insert(self) -> Sql {
        self.bind_to(sql("INSERT INTO inbox (event_id, consumer, replay)
             SELECT event_id, $3, replay FROM unnest($1::uuid[], $2::int[]) AS event(event_id, replay)
             ORDER BY event_id, replay"))
    }

    fn bind_to(self, statement: Sql) -> Sql {
        let (events, replays): (Vec<Uuid>, Vec<i32>) = self.events.into_iter().unzip();
        statement.bind(events).bind(replays).bind(self.consumer)
    }

    /// What an error says that [`Consumption::insert`] met: the event was consumed before, which is as good as done, or
    /// of several events some were. The constraint bears the name of a partition.
    pub(super) fn met(&self, error: StoreError) -> Result<(), StoreError> {
        match error {
            StoreError::Unique { constraint }
                if constraint.starts_with("inbox_") && constraint.ends_with("_pkey") =>
            {
                match self.events.len() {
                    1 => Ok(()),
                    _ => Err(StoreError::Unique { constraint: CONSUMED_BEFORE.to_owned() }),
                }
            }
            error => Err(error),
        }
    }
}
