//! The store of accounts.

use convene_testkit::contract::auth::Ports;
use convene_testkit::database::TestDatabase;

async fn ports() -> (Ports, TestDatabase) {
    let (store, database) = crate::database().await;
    let ports = Ports {
        uow: store.clone(),
        reads: store.clone(),
        admins: store.clone(),
        attempts: store.clone(),
        revocations: store.clone(),
        sweep: store.clone(),
        directory: store,
    };
    (ports, database)
}

convene_testkit::auth_contract!(ports());
