//! Run against the test server.

use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicU32, Ordering},
};

use futures::{FutureExt, future::join_all};

use super::*;

/// A small stand-in for the migrations.
const MIGRATIONS: &str = "
    do $$ begin
        create role convene_owner nologin;
    exception when duplicate_object or unique_violation then null;
    end $$;
    do $$ begin
        create role convene_app nologin;
    exception when duplicate_object or unique_violation then null;
    end $$;
    create table seats (id int primary key);
    alter table seats owner to convene_owner;
    grant select, insert on seats to convene_app;";

/// A hash that no other test and no other run has.
fn unheard_of() -> String {
    UniqueName::new().to_string().replace('_', "0")
}

async fn migrate(url: String) -> Result<(), tokio_postgres::Error> {
    connect(&url).await?.batch_execute(MIGRATIONS).await
}

async fn databases_like(pattern: &str) -> Vec<String> {
    let server = connect_to(services::database_url()).await;
    let rows = server
        .query("select datname::text from pg_database where datname like $1", &[&pattern])
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn drop_template(hash: &str) {
    let server = connect_to(services::database_url()).await;
    let hash: String = hash.chars().take(32).collect();
    drop_database(&server, &format!("{PREFIX}template_{hash}")).await.unwrap();
}

#[tokio::test]
async fn tests_at_the_same_time_share_one_template_and_no_data() {
    let hash = unheard_of();
    let migrated = AtomicU32::new(0);
    let one = || async {
        TestDatabase::create(
            async |url| {
                migrated.fetch_add(1, Ordering::Relaxed);
                migrate(url).await
            },
            &hash,
        )
        .await
    };
    let databases = join_all((0..8).map(|_| one())).await;
    assert_eq!(migrated.load(Ordering::Relaxed), 1);

    for database in &databases {
        let app = connect(&database.app_url()).await.unwrap();
        app.batch_execute("insert into seats values (1)").await.unwrap();
        let denied = app.batch_execute("drop table seats").await.unwrap_err();
        assert_eq!(denied.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
        let owner = connect(&database.owner_url()).await.unwrap();
        owner.batch_execute("alter table seats add column taken boolean").await.unwrap();
    }
    drop_template(&hash).await;
}

#[tokio::test]
async fn a_database_is_gone_with_its_value_even_while_in_use() {
    let database = TestDatabase::empty().await;
    let name = database.name().to_owned();
    let in_use = connect(&database.admin_url()).await.unwrap();
    assert_eq!(databases_like(&name).await, [name.as_str()]);
    drop(database);
    assert_eq!(databases_like(&name).await, Vec::<String>::new());
    in_use.batch_execute("select 1").await.unwrap_err();
}

#[tokio::test]
async fn failed_migrations_leave_no_template() {
    let hash = unheard_of();
    let attempt = TestDatabase::create(async |_| Err("no"), &hash);
    assert!(AssertUnwindSafe(attempt).catch_unwind().await.is_err());
    let hash_of_name: String = hash.chars().take(32).collect();
    assert_eq!(
        databases_like(&format!("{PREFIX}template_{hash_of_name}")).await,
        Vec::<String>::new()
    );
    // The next test tries again.
    drop(TestDatabase::create(migrate, &hash).await);
    drop_template(&hash).await;
}

#[tokio::test]
async fn leftovers_of_dead_tests_are_swept() {
    let server = connect_to(services::database_url()).await;
    let left = format!("{PREFIX}1700000000_00000000_1_{}", std::process::id());
    execute(&server, &format!("drop database if exists {left} with (force)")).await.unwrap();
    execute(&server, &format!("create database {left}")).await.unwrap();

    let hash = unheard_of();
    drop(TestDatabase::create(migrate, &hash).await);
    assert_eq!(databases_like(&left).await, Vec::<String>::new());
    drop_template(&hash).await;
}

#[tokio::test]
async fn no_other_database_is_ever_dropped() {
    let server = connect_to(services::database_url()).await;
    for name in ["postgres", "convene", "convene_test", "x\"; drop database y"] {
        let refused = drop_database(&server, name).await.unwrap_err();
        assert!(refused.starts_with("refused"), "{refused}");
    }
}

#[tokio::test]
async fn a_role_is_taken_on_after_the_login() {
    let plain = as_role("postgres://me@db:5432/shop", APP_ROLE);
    assert_eq!(plain, "postgres://me@db:5432/shop?options=-c%20role%3Dconvene_app");
    let with_query = as_role("postgres://me:secret@db/shop?sslmode=disable", APP_ROLE);
    assert_eq!(
        with_query,
        "postgres://me:secret@db/shop?sslmode=disable&options=-c%20role%3Dconvene_app"
    );

    let hash = unheard_of();
    let database = TestDatabase::create(migrate, &hash).await;
    let app = connect(&database.app_url()).await.unwrap();
    let row = app.query_one("select current_user::text", &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), APP_ROLE);
    drop_template(&hash).await;
}

#[test]
fn it_can_be_dropped_outside_of_a_runtime() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(TestDatabase::empty());
    drop(runtime);
    let name = database.name().to_owned();
    drop(database);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    assert!(runtime.block_on(databases_like(&name)).is_empty());
}

#[tokio::test]
#[should_panic(expected = "lower-case letters and digits")]
async fn a_hash_that_is_no_name_is_refused() {
    let never = async |_| -> Result<(), Infallible> { unreachable!("refused before") };
    TestDatabase::create(never, "x; drop").await;
}
