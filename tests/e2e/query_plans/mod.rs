//! What Postgres does for each statement, on tables of the size of a real installation: no big table is read from one end to
//! the other, nothing is sorted beyond a page, nothing is read only to be thrown away.
//!
//! The statements are those that the code sends: everything is called over HTTP, the engines run, and the server itself
//! (`auto_explain`) tells the plan of each statement that it ran: the one that its prepared statement keeps, which knows no
//! parameters.

mod plans;
mod scenery;
mod walk;

use std::sync::Arc;

use convene_api::app::Role;
use convene_embedded::{Postgres, ServerOptions};
use convene_testkit::database::TestDatabase;
use convene_tests::app::App;

use plans::Log;

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_reads_or_sorts_more_than_its_page() {
    let (server, database) = scenery::build().await;
    let admin = scenery::connect(&database).await;
    let app = App::start_as(Role::Both, Arc::clone(&database), &[]).await;
    let cast = scenery::cast(&app, &admin).await;
    let big = scenery::big_tables(&admin).await;
    let log = Log::of(&server);
    walk::everything(&app, &cast).await;
    app.stop().await;
    let plans = log.plans();
    let missing = plans::never_scanned(&plans, &big);
    assert!(missing.is_empty(), "nothing that was called reads {missing:?}");
    let faults = plans::faults(&plans, &big);
    let report: Vec<String> =
        faults.iter().map(|(statement, fault)| format!("{fault}\n    {statement}")).collect();
    assert!(faults.is_empty(), "{} statements:\n{}", faults.len(), report.join("\n"));

    admin.batch_execute("SET auto_explain.log_min_duration = 0").await.expect("it can be set");
    let log = Log::of(&server);
    for planted in [
        "SELECT * FROM rsvps WHERE party_size = 2 LIMIT 5",
        "SELECT * FROM (SELECT * FROM members ORDER BY community_id, joined_at, id LIMIT 2000) AS m
         ORDER BY m.updated_at LIMIT 5",
        "SELECT * FROM events WHERE community_id <> community_id ORDER BY community_id, starts_at, id LIMIT 5",
    ] {
        admin.query(planted, &[]).await.expect("the planted statement runs");
    }
    let found: Vec<String> = plans::faults(&log.plans(), &big).into_values().collect();
    assert_eq!(found.len(), 3, "each planted statement is found: {found:#?}");
}

/// A private server that tells the plan of every statement, and a database on it.
async fn server() -> (Postgres, Arc<TestDatabase>) {
    let options = ServerOptions::temporary()
        .setting("session_preload_libraries", "auto_explain")
        .setting("auto_explain.log_min_duration", "0")
        .setting("auto_explain.log_nested_statements", "on")
        .setting("auto_explain.log_analyze", "on")
        .setting("auto_explain.log_timing", "off")
        .setting("auto_explain.log_format", "json")
        .setting("autovacuum", "off");
    let server = tokio::task::spawn_blocking(move || Postgres::start(options))
        .await
        .expect("starting does not panic")
        .expect("a private PostgreSQL starts");
    let database = TestDatabase::create_on(
        &server.url("postgres", "postgres"),
        async |url| {
            convene_infrastructure::postgres::migrate::migrate(&url.into()).await.map(|_| ())
        },
        convene_infrastructure::postgres::migrate::migrations_hash(),
    )
    .await;
    (server, Arc::new(database))
}
