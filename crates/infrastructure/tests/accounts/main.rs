//! Accounts in Postgres and limits in Redis, held to their contracts and to what only the real thing can show.

#![expect(clippy::unwrap_used, reason = "a failed assumption in a test is a failed test")]

mod auth;
mod keys;
mod limiter;
mod requests;
mod service;
mod user;

use std::net::SocketAddr;
use std::sync::Arc;

use convene_application::kernel::wake::Wake;
use convene_infrastructure::postgres::PgStore;
use convene_infrastructure::postgres::migrate;
use convene_infrastructure::postgres::pool::{Pool, PoolOptions};
use convene_testkit::database::TestDatabase;

async fn database() -> (Arc<PgStore>, TestDatabase) {
    let database = TestDatabase::create(
        async |url| migrate::migrate(&url.into()).await.map(|_| ()),
        migrate::migrations_hash(),
    )
    .await;
    (store_at(&database, 4, None), database)
}

/// A store over so many connections, without TLS, through another address if one is given.
fn store_at(
    database: &TestDatabase,
    connections: usize,
    through: Option<SocketAddr>,
) -> Arc<PgStore> {
    let mut url = url::Url::parse(&database.app_url()).unwrap();
    url.query_pairs_mut().append_pair("sslmode", "disable");
    if let Some(address) = through {
        url.set_host(Some(&address.ip().to_string())).unwrap();
        url.set_port(Some(address.port())).unwrap();
    }
    let options = PoolOptions::new(String::from(url).into(), connections);
    let pool = Pool::new(&options, tokio::runtime::Handle::current()).unwrap();
    Arc::new(PgStore::new(pool, Arc::new(Wake::default())))
}
