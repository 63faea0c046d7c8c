//! The store of people.

use convene_testkit::contract::user::Ports;
use convene_testkit::database::TestDatabase;

async fn ports() -> (Ports, TestDatabase) {
    let (store, database) = crate::database().await;
    let provisioning = store.clone();
    (Ports { uow: store.clone(), provisioning, reads: store.clone(), directory: store }, database)
}

convene_testkit::user_contract!(ports());
