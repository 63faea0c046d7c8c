//! Templates: migrated databases to clone, one per state of the migrations.

use std::{fmt, time::Duration};

use tokio::sync::Mutex;
use tokio_postgres::{Client, error::SqlState};

use super::{
    APP_ROLE, OWNER_ROLE, PREFIX, as_role, connect_to, connection::execute, drop_database, parse,
    report_leftover,
};
use crate::{
    poll::poll_until,
    unique::{UniqueName, seconds_since_1970},
};

/// Held while templates are looked for, built and swept; the number means nothing else.
const ADVISORY_LOCK: i64 = 0x636f_6e76_656e_6501;
/// Others wait for the lock as long as the longest migration.
const LOCK_WITHIN: &str = "5min";
const DISCONNECTED_WITHIN: Duration = Duration::from_secs(30);
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 3600);
const UNUSED_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);
const LAST_USED: &str = "convene test template, last used ";
/// A name in PostgreSQL is at most 63 bytes long.
const HASH_LENGTH: usize = 32;

/// Returns the name of the template for these migrations, which is built if it does not exist.
pub(super) async fn ensure<E: fmt::Debug>(
    server_url: &str,
    migrate: impl AsyncFnOnce(String) -> Result<(), E>,
    migrations_hash: &str,
) -> String {
    /// (server, template) of those that this process has seen already.
    static READY: Mutex<Vec<(String, String)>> = Mutex::const_new(Vec::new());

    let hash: String = migrations_hash.chars().take(HASH_LENGTH).collect();
    assert!(
        !hash.is_empty() && hash.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()),
        "the migrations' hash is to be lower-case letters and digits: {migrations_hash:?}"
    );
    let template = format!("{PREFIX}template_{hash}");
    let entry = (server_url.to_owned(), template.clone());
    let mut ready = READY.lock().await;
    if !ready.contains(&entry) {
        // The lock is the connection's, and ends with it.
        let server = connect_to(server_url).await;
        must(&server, &format!("set lock_timeout = '{LOCK_WITHIN}'")).await;
        must(&server, &format!("select pg_advisory_lock({ADVISORY_LOCK})")).await;
        if exists(&server, &template).await {
            must(&server, &used_now(&template)).await;
        } else {
            build(&server, server_url, migrate, &hash, &template).await;
        }
        sweep(&server, &template).await;
        ready.push(entry);
    }
    template
}

/// Migrates under another name, so that whatever bears the template's name is complete.
async fn build<E: fmt::Debug>(
    server: &Client,
    server_url: &str,
    migrate: impl AsyncFnOnce(String) -> Result<(), E>,
    hash: &str,
    template: &str,
) {
    let unfinished = format!("{PREFIX}building_{hash}");
    must(server, &format!("drop database if exists {unfinished} with (force)")).await;
    must(server, &format!("create database {unfinished} template template0 encoding 'UTF8'")).await;
    let mut url = parse(server_url);
    url.set_path(&unfinished);
    if let Err(error) = migrate(url.clone().into()).await {
        panic!("migrating the template for test databases: {error:?}");
    }
    for role in [OWNER_ROLE, APP_ROLE] {
        connect_to(&as_role(url.as_str(), role)).await;
    }

    must(server, &used_now(&unfinished)).await;
    // Nobody connects to it any more, so that cloning it does not have to wait for anybody.
    must(server, &format!("alter database {unfinished} allow_connections false")).await;
    let rename = format!("alter database {unfinished} rename to {template}");
    let what = "the migrations' connections to the template end";
    poll_until(DISCONNECTED_WITHIN, what, async || match execute(server, &rename).await {
        Ok(()) => Some(()),
        Err(error) if error.code() == Some(&SqlState::OBJECT_IN_USE) => None,
        Err(error) => panic!("{rename}: {error:?}"),
    })
    .await;
}

/// Drops what killed tests and former migrations left behind.
async fn sweep(server: &Client, current: &str) {
    let ours = "select datname::text, shobj_description(oid, 'pg_database')
         from pg_database where starts_with(datname, $1) and datname <> $2";
    let rows = server
        .query(ours, &[&PREFIX, &current])
        .await
        .unwrap_or_else(|error| panic!("listing the test databases: {error:?}"));
    for row in rows {
        let (name, comment): (String, Option<String>) = (row.get(0), row.get(1));
        if is_leftover(&name, comment.as_deref())
            && let Err(reason) = drop_database(server, &name).await
        {
            report_leftover(&name, &reason);
        }
    }
}

fn is_leftover(name: &str, comment: Option<&str>) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    if rest.starts_with("building_") {
        // Who builds one holds the lock, which is ours now.
        return true;
    }
    if rest.starts_with("template_") {
        let last_used: Option<u64> =
            comment.and_then(|text| text.strip_prefix(LAST_USED)?.parse().ok());
        return last_used.is_some_and(|then| {
            seconds_since_1970().saturating_sub(then) > UNUSED_AFTER.as_secs()
        });
    }
    UniqueName::parse(rest).is_some_and(|unique| unique.is_abandoned_after(ABANDONED_AFTER))
}

fn used_now(database: &str) -> String {
    format!("comment on database {database} is '{LAST_USED}{}'", seconds_since_1970())
}

async fn exists(server: &Client, database: &str) -> bool {
    let rows = server
        .query("select 1 from pg_database where datname = $1", &[&database])
        .await
        .unwrap_or_else(|error| panic!("looking for {database}: {error:?}"));
    !rows.is_empty()
}

async fn must(server: &Client, sql: &str) {
    execute(server, sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_can_be_using_is_a_leftover() {
        let used = |days: u64| format!("{LAST_USED}{}", seconds_since_1970() - days * 86_400);
        let own = format!("{PREFIX}{}", UniqueName::new());
        let dead = format!("{PREFIX}1700000000_00000000_1_0");
        assert!(!is_leftover("postgres", None));
        assert!(!is_leftover("convene_testing", None));
        assert!(!is_leftover("convene_test_by_hand", None));
        assert!(!is_leftover(&own, None));
        assert!(is_leftover(&dead, None));
        assert!(is_leftover("convene_test_building_abc", None));
        assert!(!is_leftover("convene_test_template_abc", Some(&used(6))));
        assert!(is_leftover("convene_test_template_abc", Some(&used(8))));
        assert!(!is_leftover("convene_test_template_abc", Some("mine")));
    }
}
