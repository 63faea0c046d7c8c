//! The inbox: which consumer has taken which event. The claim and the effect commit together, so an event has its effect
//! once, however often it is delivered.

use convene_application::kernel::store::StoreError;
use diesel_async::AsyncPgConnection;
use uuid::Uuid;

use super::sql::{Sql, sql};

/// An event that a transaction takes on behalf of a consumer.
#[derive(Clone, Copy)]
pub(super) struct Consumption {
    pub(super) consumer: &'static str,
    pub(super) event: Uuid,
    pub(super) replay: i32,
}

impl Consumption {
    /// Claims the event and tells whether it was consumed before. Waits for another transaction that claims it just now.
    pub(super) async fn claim(self, connection: &AsyncPgConnection) -> Result<bool, StoreError> {
        let claimed = sql("INSERT INTO inbox (event_id, consumer, replay) VALUES ($1, $2, $3)
             ON CONFLICT DO NOTHING")
        .bind(self.event)
        .bind(self.consumer)
        .bind(self.replay)
        .run(connection)
        .await?;
        Ok(claimed == 0)
    }

    /// Claims the event or, if it was consumed before, ends the transaction: for those that read nothing first.
    pub(super) fn insert(self) -> Sql {
        sql("INSERT INTO inbox (event_id, consumer, replay) VALUES ($1, $2, $3)")
            .bind(self.event)
            .bind(self.consumer)
            .bind(self.replay)
    }
}

/// Whether an error says that [`Consumption::insert`] met an event that was consumed before. The constraint bears the
/// name of a partition.
pub(super) fn is_duplicate(error: &StoreError) -> bool {
    matches!(error, StoreError::Unique { constraint }
        if constraint.starts_with("inbox_") && constraint.ends_with("_pkey"))
}
