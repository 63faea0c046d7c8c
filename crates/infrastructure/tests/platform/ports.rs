//! The ports of the platform, held to their contract.

use std::sync::Arc;

use convene_application::kernel::uow::Begin;
use convene_application::user::ports::UserTx;
use convene_testkit::contract::platform::Ports;
use convene_testkit::database::TestDatabase;

use super::{database, store};

async fn ports() -> (Ports, TestDatabase) {
    let database = database().await;
    let store = store(&database);
    let port = Arc::new(store.clone());
    let record = move |events| {
        let store = store.clone();
        Box::pin(async move {
            let mut tx: Box<dyn UserTx> = store.begin(Vec::new()).await?;
            tx.staged().events = events;
            tx.commit().await
        }) as _
    };
    let ports = Ports {
        sequencer: port.clone(),
        log: port.clone(),
        queue: port.clone(),
        crons: port,
        record: Box::new(record),
    };
    (ports, database)
}

convene_testkit::platform_contract!(ports());
