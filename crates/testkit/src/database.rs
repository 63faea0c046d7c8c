//! A database of its own for each test, cloned from a migrated template.
//!
//! Migrating takes seconds, cloning tens of milliseconds. So the first test of all builds a
//! template, named after the migrations' hash, and every test clones it: also those of other
//! processes and later runs, until the migrations change.

pub(crate) mod connection;
mod template;

use std::{fmt, time::Duration};

use tokio_postgres::{Client, error::SqlState};
use url::Url;

use crate::{poll::poll_until, services, unique::UniqueName};
use connection::{block_on_own_thread, connect, execute};

/// What the names of all databases made here begin with. No other database is ever dropped.
const PREFIX: &str = "convene_test_";
const OWNER_ROLE: &str = "convene_owner";
const APP_ROLE: &str = "convene_app";
/// For a template that somebody is connected to, such as autovacuum.
const CLONE_WITHIN: Duration = Duration::from_secs(30);
const DROP_WITHIN: Duration = Duration::from_secs(30);

/// A database that exists as long as this value. Dropping it ends all connections to it.
///
/// What a migration attaches to the database itself rather than to what is in it (`ALTER DATABASE
/// … SET`, `GRANT … ON DATABASE`) is not cloned; the owner is.
#[derive(Debug)]
pub struct TestDatabase {
    server_url: String,
    name: String,
}

impl TestDatabase {
    /// Clones the migrated template on the test server (see [`services`]), which is built if it
    /// does not exist: `migrate` gets the URL of an empty database, as a user who may create roles.
    /// `migrations_hash` must change with the migrations: letters and digits, of which the first
    /// 32 count.
    ///
    /// # Panics
    /// When there is no server, the migrations fail, or the database can not be created.
    pub async fn create<E: fmt::Debug>(
        migrate: impl AsyncFnOnce(String) -> Result<(), E>,
        migrations_hash: &str,
    ) -> Self {
        Self::create_on(services::database_url(), migrate, migrations_hash).await
    }

    /// Like [`create`](Self::create), on the server of `server_url`: a private one, say.
    ///
    /// # Panics
    /// As [`create`](Self::create).
    pub async fn create_on<E: fmt::Debug>(
        server_url: &str,
        migrate: impl AsyncFnOnce(String) -> Result<(), E>,
        migrations_hash: &str,
    ) -> Self {
        let template = template::ensure(server_url, migrate, migrations_hash).await;
        let server = connect_to(server_url).await;
        let owner = server
            .query_one(
                "select pg_get_userbyid(datdba) from pg_database where datname = $1",
                &[&template],
            )
            .await
            .unwrap_or_else(|error| panic!("reading who owns {template}: {error:?}"));
        let owner: String = owner.get(0);
        Self::make(&server, server_url, &format!("template {template} owner \"{owner}\"")).await
    }

    /// An empty database on the test server, for tests of the migrations themselves.
    ///
    /// # Panics
    /// When there is no server, or the database can not be created.
    pub async fn empty() -> Self {
        let server_url = services::database_url();
        let server = connect_to(server_url).await;
        Self::make(&server, server_url, "template template0 encoding 'UTF8'").await
    }

    async fn make(server: &Client, server_url: &str, how: &str) -> Self {
        let name = format!("{PREFIX}{}", UniqueName::new());
        let sql = format!("create database {name} {how}");
        poll_until(CLONE_WITHIN, &sql, async || match execute(server, &sql).await {
            Ok(()) => Some(()),
            Err(error) if error.code() == Some(&SqlState::OBJECT_IN_USE) => None,
            Err(error) => panic!("{sql}: {error:?}"),
        })
        .await;
        Self { server_url: server_url.to_owned(), name }
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL for the user that the server was given with, usually a superuser: for looking
    /// behind the scenes, and for tests of `convene db migrate`.
    pub fn admin_url(&self) -> String {
        let mut url = parse(&self.server_url);
        url.set_path(&self.name);
        url.into()
    }

    /// The URL for the role that owns the tables.
    pub fn owner_url(&self) -> String {
        as_role(&self.admin_url(), OWNER_ROLE)
    }

    /// The URL for the role that serves.
    pub fn app_url(&self) -> String {
        as_role(&self.admin_url(), APP_ROLE)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (server_url, name) = (self.server_url.clone(), self.name.clone());
        let dropped = block_on_own_thread(DROP_WITHIN, async move {
            let server = connect(&server_url).await.map_err(|error| format!("{error:?}"))?;
            drop_database(&server, &name).await
        });
        if let Err(reason) = dropped.and_then(|outcome| outcome) {
            report_leftover(&self.name, &reason);
        }
    }
}

/// A panic here would abort a test that fails already, or fail one whose server is meant to be
/// dead by now. The next run removes what is left.
#[expect(clippy::print_stderr, reason = "a test's output is read there")]
fn report_leftover(name: &str, reason: &str) {
    eprintln!("the test database {name} could not be dropped now: {reason}");
}

/// Drops one of our databases with all connections to it.
async fn drop_database(server: &Client, name: &str) -> Result<(), String> {
    if !name.starts_with(PREFIX) || name.contains('"') {
        return Err(format!("refused: `{name}` was not made by a test"));
    }
    execute(server, &format!("drop database if exists \"{name}\" with (force)"))
        .await
        .map_err(|error| format!("{error:?}"))
}

/// The same connection with another role's rights: the user logs in and takes the role on, since
/// the roles themselves may not log in.
fn as_role(url: &str, role: &str) -> String {
    let mut url = parse(url);
    let option = format!("options=-c%20role%3D{role}");
    let query = match url.query() {
        Some(query) => format!("{query}&{option}"),
        None => option,
    };
    url.set_query(Some(&query));
    url.into()
}

fn parse(url: &str) -> Url {
    Url::parse(url).unwrap_or_else(|error| panic!("the database URL is malformed: {error}"))
}

async fn connect_to(server_url: &str) -> Client {
    connect(server_url)
        .await
        .unwrap_or_else(|error| panic!("connecting to the test database server: {error:?}"))
}

#[cfg(test)]
mod tests;
