//! The lead of a sink, when the database's clock was set back.

use std::time::Duration;

use convene_application::kernel::events::EventLog as _;
use uuid::Uuid;

use super::{database, session, store};

const LEASE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_from_a_time_to_come_is_none() {
    let database = database().await;
    let (store, admin) = (store(&database), session(&database.admin_url()).await);
    let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let lead = store.lead("sink", one, LEASE).await.unwrap().expect("nobody leads");
    assert_eq!(store.lead("sink", other, LEASE).await.unwrap(), None);

    // As it would look to whoever asks after the clock was set back by two minutes.
    admin
        .batch_execute("UPDATE sink_cursors SET leased_until = leased_until + interval '2 minutes'")
        .await
        .unwrap();
    let taken = store.lead("sink", other, LEASE).await.unwrap().expect("the lease is none");
    assert_eq!(taken.epoch, lead.epoch + 1);
    // Who had it finds out, if they are alive.
    assert!(!store.advance("sink", lead, 1, LEASE).await.unwrap());
    assert_eq!(store.lead("sink", one, LEASE).await.unwrap(), None);
}
