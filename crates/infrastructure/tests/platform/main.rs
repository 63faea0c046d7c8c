//! The platform over a real database: sequencer, logs, inbox, jobs, migrations, and the relay between processes.

#![expect(clippy::unwrap_used, reason = "a failed assumption in a test is a failed test")]

mod audit;
mod groups;
mod inbox;
mod jobs;
mod leads;
mod load;
mod migrations;
mod ports;
mod relay;
mod sequencer;
mod sweep;

use std::sync::Arc;

use convene_application::kernel::wake::Wake;
use convene_infrastructure::postgres::PgStore;
use convene_infrastructure::postgres::migrate;
use convene_infrastructure::postgres::pool::{Pool, PoolOptions};
use convene_testkit::database::TestDatabase;
use tokio_postgres::{Client, NoTls};

/// A migrated database of the test's own.
async fn database() -> TestDatabase {
    TestDatabase::create(
        async |url| migrate::migrate(&url.into()).await.map(|_| ()),
        migrate::migrations_hash(),
    )
    .await
}

/// A store that serves as the role that owns nothing.
fn store(database: &TestDatabase) -> PgStore {
    store_of(database, 4)
}

fn store_of(database: &TestDatabase, connections: usize) -> PgStore {
    let options = PoolOptions::new(database.app_url().into(), connections);
    let pool = Pool::new(&options, tokio::runtime::Handle::current()).unwrap();
    PgStore::new(pool, Arc::new(Wake::default()))
}

/// A session without the adapters, to look behind the scenes.
async fn session(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn count(client: &Client, what: &str) -> i64 {
    client.query_one(&format!("SELECT count(*) FROM {what}"), &[]).await.unwrap().get(0)
}
