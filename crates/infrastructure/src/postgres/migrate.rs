//! Preparing a database: its two roles, its migrations, its grants.
//!
//! One role owns everything and migrates; the other serves, owns nothing, and can neither change nor delete what is in
//! the logs. Where the user may not create roles, one role does both, and the report says so.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use convene_application::kernel::store::{Source, StoreError};
use diesel::QueryableByName;
use diesel::pg::Pg;
use diesel::result::{DatabaseErrorKind, QueryResult};
use diesel::sql_types::{Bool, Nullable, Text};
use diesel_async::{
    AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _,
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::sleep;

use super::line::Purpose;
use super::pool::{Pool, open};
use super::sql::{Sql, sql, store_error};

/// Owns everything and migrates.
pub const OWNER_ROLE: &str = "convene_owner";
/// Serves, and owns nothing.
pub const APP_ROLE: &str = "convene_app";

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations");
/// Held while migrating, so that two processes that start together do not both do it. The number means nothing else.
const LOCK: i64 = 0x636f_6e76_656e_6500;
/// How long a migration waits for a lock. It stands in everybody's way meanwhile.
const LOCK_TIMEOUT: &str = "SET lock_timeout = '10s'";
/// How often a statement is tried that met another database's migration in the catalogue of roles.
const ROLE_ATTEMPTS: u32 = 20;
const ROLE_PAUSE: Duration = Duration::from_millis(50);

/// Tables that the serving role may only read: the sequencer's function alone writes them.
pub(super) const READ_ONLY: [&str; 5] =
    ["domain_events", "log_head", "audit_log", "audit_chains", "__diesel_schema_migrations"];
/// Tables that it may add to: the sequencer's function alone takes from them.
pub(super) const APPEND_ONLY: [&str; 2] = ["outbox", "audit_pending"];
/// Tables that it may only read and erase.
pub(super) const ERASABLE: [&str; 1] = ["audit_personal"];

/// What migrating came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Who owns and who serves.
    pub roles: Roles,
    /// The migrations that were applied now, oldest first.
    pub applied: Vec<String>,
}

/// Who owns the tables and who serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roles {
    /// [`OWNER_ROLE`] and [`APP_ROLE`].
    Two,
    /// One role does both.
    One {
        /// Its name.
        role: String,
        /// Why there are not two.
        reason: String,
    },
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.applied.as_slice() {
            [] => writeln!(f, "The database is up to date.")?,
            applied => {
                for name in applied {
                    writeln!(f, "Applied {name}.")?;
                }
            }
        }
        match &self.roles {
            Roles::Two => write!(f, "{OWNER_ROLE} owns the tables; {APP_ROLE} serves."),
            Roles::One { role, reason } => {
                write!(f, "The role {role} owns the tables and serves, because {reason}.")
            }
        }
    }
}

/// Why a database could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The URL is none.
    #[error("the database URL cannot be read")]
    Url(#[source] tokio_postgres::Error),
    /// The database cannot be reached.
    #[error("the database cannot be reached")]
    Connect(#[source] diesel::ConnectionError),
    /// A statement failed.
    #[error("preparing the roles failed")]
    Roles(#[source] StoreError),
    /// A migration failed; those before it stay applied.
    #[error("a migration failed")]
    Migration(#[source] Source),
}

/// Prepares the database at this URL, whose user should be allowed to create roles: creates the roles if they are
/// missing, applies the migrations that are missing, renews the grants. Several may call it at once; one does it, the
/// others wait and find it done.
///
/// # Errors
/// [`MigrateError`]; what was done until then stays, and the next call goes on from there.
pub async fn migrate(url: &SecretString) -> Result<Report, MigrateError> {
    let mut connection = connect(url).await?;
    run(&mut connection, &format!("SELECT pg_advisory_lock({LOCK})")).await?;
    run(&mut connection, LOCK_TIMEOUT).await?;
    let roles = prepare_roles(&mut connection).await?;
    if roles == Roles::Two {
        run(&mut connection, &format!("SET ROLE {OWNER_ROLE}")).await?;
    }
    let (mut connection, applied) = apply(connection).await?;
    if roles == Roles::Two {
        run(&mut connection, &grants()).await?;
    }
    Ok(Report { roles, applied })
}

/// Makes an empty database of this name on the server of this URL, unless there is one.
///
/// # Errors
/// [`MigrateError`].
pub async fn create_database(server: &SecretString, name: &str) -> Result<(), MigrateError> {
    let mut connection = connect(server).await?;
    match run(
        &mut connection,
        &format!("CREATE DATABASE \"{name}\" ENCODING 'UTF8' TEMPLATE template0"),
    )
    .await
    {
        Err(MigrateError::Roles(StoreError::Other(error)))
            if error.to_string().contains("already exists") =>
        {
            Ok(())
        }
        made => made,
    }
}

/// The migrations that this program has and the database has not, oldest first.
///
/// # Errors
/// The store's.
pub async fn pending(pool: &Pool) -> Result<Vec<String>, StoreError> {
    let connection = pool.get(Purpose::Upkeep).await?;
    let table: Option<Named> =
        sql("SELECT to_regclass('public.__diesel_schema_migrations')::text AS name")
            .row(&connection)
            .await?;
    let applied: HashSet<String> = if table.is_some_and(|table| table.name.is_some()) {
        let versions: Vec<Named> =
            sql("SELECT version::text AS name FROM __diesel_schema_migrations")
                .rows(&connection)
                .await?;
        versions.into_iter().filter_map(|version| version.name).collect()
    } else {
        HashSet::new()
    };
    Ok(known()
        .map_err(StoreError::Other)?
        .into_iter()
        .filter(|(version, _)| !applied.contains(version))
        .map(|(_, name)| name)
        .collect())
}

/// The role to serve as, if the user of this URL may take the one that owns nothing and it may use this database:
/// [`PoolOptions::role`](super::pool::PoolOptions::role).
///
/// # Errors
/// A database that cannot be reached.
pub async fn serving_role(url: &SecretString) -> Result<Option<String>, MigrateError> {
    let mut connection = connect(url).await?;
    let granted = sql("SELECT EXISTS (
                SELECT FROM pg_roles, to_regclass('public.outbox') AS outbox
                WHERE rolname = $1 AND outbox IS NOT NULL AND has_table_privilege(rolname, outbox, 'INSERT')
             ) AS known")
    .bind(APP_ROLE);
    let granted: Option<Known> = row(granted, &connection).await?;
    let granted = granted.is_some_and(|granted| granted.known);
    let may = granted && connection.batch_execute(&format!("SET ROLE {APP_ROLE}")).await.is_ok();
    Ok(may.then(|| APP_ROLE.to_owned()))
}

/// A digest of the migrations that this program has, in lower-case hexadecimal: a migrated database can be known by it.
#[must_use]
pub fn migrations_hash() -> &'static str {
    env!("CONVENE_MIGRATIONS_HASH")
}

#[derive(QueryableByName)]
struct Named {
    #[diesel(sql_type = Nullable<Text>)]
    name: Option<String>,
}

#[derive(QueryableByName)]
struct Known {
    #[diesel(sql_type = Bool)]
    known: bool,
}

#[derive(QueryableByName)]
struct User {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Bool)]
    creates_roles: bool,
    #[diesel(sql_type = Bool)]
    roles_exist: bool,
    #[diesel(sql_type = Nullable<Text>)]
    owner: Option<String>,
}

/// Creates the two roles where they are missing, and lets the user take the owner's. Where anything of that is not
/// allowed, one role does both.
async fn prepare_roles(connection: &mut AsyncPgConnection) -> Result<Roles, MigrateError> {
    let user = sql("SELECT current_user::text AS name, rolsuper OR rolcreaterole AS creates_roles,
                (SELECT count(*) = 2 FROM pg_roles WHERE rolname IN ($1, $2)) AS roles_exist,
                (SELECT pg_get_userbyid(relowner)::text FROM pg_class
                 WHERE oid = to_regclass('public.__diesel_schema_migrations')) AS owner
             FROM pg_roles WHERE rolname = current_user")
    .bind(OWNER_ROLE)
    .bind(APP_ROLE);
    let user: Option<User> = row(user, connection).await?;
    let Some(user) = user else {
        return Err(MigrateError::Roles(StoreError::other(
            "the database does not know its own user",
        )));
    };
    let one = |reason: String| Roles::One { role: user.name.clone(), reason };
    // A database stays with whom it was prepared for: migrations change tables, and only their owner may.
    if let Some(owner) = &user.owner
        && owner != OWNER_ROLE
    {
        return Ok(one(format!("the tables that exist belong to {owner}")));
    }
    if !user.roles_exist {
        if !user.creates_roles {
            return Ok(one(format!("{} may not create roles", user.name)));
        }
        for role in [OWNER_ROLE, APP_ROLE] {
            change_role(connection, &format!("CREATE ROLE {role} NOLOGIN"))
                .await
                .map_err(MigrateError::Roles)?;
        }
    }
    let taken = format!("SET ROLE {OWNER_ROLE}; RESET ROLE");
    if connection.batch_execute(&taken).await.is_err()
        && let Err(error) =
            change_role(connection, &format!("GRANT {OWNER_ROLE}, {APP_ROLE} TO CURRENT_USER"))
                .await
    {
        tracing::debug!(%error, "the owner's role was not granted");
        return Ok(one(format!("{} may not act as {OWNER_ROLE}", user.name)));
    }
    let schema = format!("GRANT USAGE, CREATE ON SCHEMA public TO {OWNER_ROLE} WITH GRANT OPTION");
    let may_create =
        sql("SELECT has_schema_privilege($1, 'public', 'CREATE WITH GRANT OPTION') AS known");
    let may_create: Option<Known> = row(may_create.bind(OWNER_ROLE), connection).await?;
    if !may_create.is_some_and(|granted| granted.known)
        && let Err(error) = connection.batch_execute(&schema).await
    {
        tracing::debug!(%error, "the schema was not opened to the owner's role");
        return Ok(one(format!("{} may not open the schema to {OWNER_ROLE}", user.name)));
    }
    Ok(Roles::Two)
}

/// Runs a statement on roles, which are the whole cluster's: somebody may be preparing another database of it just now,
/// and no lock reaches there.
async fn change_role(
    connection: &mut AsyncPgConnection,
    statement: &str,
) -> Result<(), StoreError> {
    let mut attempt = 1;
    loop {
        let Err(error) = connection.batch_execute(statement).await else { return Ok(()) };
        let diesel::result::Error::DatabaseError(kind, information) = &error else {
            return Err(StoreError::Other(Box::new(error)));
        };
        let exists = information.message().ends_with("already exists")
            || matches!(kind, DatabaseErrorKind::UniqueViolation);
        if exists {
            return Ok(());
        }
        if information.message() != "tuple concurrently updated" || attempt == ROLE_ATTEMPTS {
            return Err(StoreError::Other(Box::new(error)));
        }
        attempt += 1;
        sleep(ROLE_PAUSE).await;
    }
}

/// What the serving role may do, anew for all tables. Partitions are left out: they are reached through their tables
/// alone, or the rules of a log could be passed by.
fn grants() -> String {
    let list = |tables: &[&str]| {
        tables.iter().map(|table| format!("'{table}'")).collect::<Vec<_>>().join(", ")
    };
    format!(
        "GRANT USAGE ON SCHEMA public TO {APP_ROLE};
         GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {APP_ROLE};
         REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC;
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {APP_ROLE};
         DO $grants$
         DECLARE
             relation record;
         BEGIN
             FOR relation IN
                 SELECT oid::regclass AS name,
                        CASE WHEN relname IN ({read_only}) THEN 'SELECT'
                             WHEN relname IN ({append_only}) THEN 'SELECT, INSERT'
                             WHEN relname IN ({erasable}) THEN 'SELECT, DELETE'
                             ELSE 'SELECT, INSERT, UPDATE, DELETE' END AS privileges
                 FROM pg_class
                 WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
                   AND relowner = to_regrole('{OWNER_ROLE}')
             LOOP
                 EXECUTE format('REVOKE ALL ON %s FROM {APP_ROLE}', relation.name);
                 EXECUTE format('GRANT %s ON %s TO {APP_ROLE}', relation.privileges, relation.name);
             END LOOP;
         END $grants$",
        read_only = list(&READ_ONLY),
        append_only = list(&APPEND_ONLY),
        erasable = list(&ERASABLE),
    )
}

/// diesel's harness waits for the database as blocking code does, so it gets a thread that may block; a worker of the
/// runtime would panic in a runtime of one thread.
async fn apply(
    connection: AsyncPgConnection,
) -> Result<(AsyncPgConnection, Vec<String>), MigrateError> {
    let task = tokio::task::spawn_blocking(move || {
        let mut harness = AsyncMigrationHarness::new(connection);
        let mut applied = Vec::new();
        for migration in harness.pending_migrations(MIGRATIONS)? {
            harness.run_migration(&*migration)?;
            applied.push(migration.name().to_string());
        }
        Ok::<_, Source>((harness.into_inner(), applied))
    });
    task.await
        .map_err(|error| MigrateError::Migration(Box::new(error)))?
        .map_err(MigrateError::Migration)
}

/// The version and the name of each migration, oldest first.
fn known() -> Result<Vec<(String, String)>, Source> {
    let migrations = diesel::migration::MigrationSource::<Pg>::migrations(&MIGRATIONS)?;
    let mut known: Vec<_> = migrations
        .iter()
        .map(|migration| (migration.name().version().to_string(), migration.name().to_string()))
        .collect();
    known.sort();
    Ok(known)
}

async fn connect(url: &SecretString) -> Result<AsyncPgConnection, MigrateError> {
    let mut config: tokio_postgres::Config =
        url.expose_secret().parse().map_err(MigrateError::Url)?;
    config.application_name("convene migrate").connect_timeout(Duration::from_secs(5));
    open(config).await.map_err(MigrateError::Connect)
}

/// The row of a statement on a connection that is not the pool's.
async fn row<U>(
    statement: Sql,
    mut connection: &AsyncPgConnection,
) -> Result<Option<U>, MigrateError>
where
    U: QueryableByName<Pg> + Send + 'static,
{
    let rows: QueryResult<Vec<U>> = statement.load(&mut connection).await;
    Ok(rows.map_err(|error| MigrateError::Roles(store_error(error)))?.into_iter().next())
}

async fn run(connection: &mut AsyncPgConnection, statements: &str) -> Result<(), MigrateError> {
    connection
        .batch_execute(statements)
        .await
        .map_err(|error| MigrateError::Roles(StoreError::Other(Box::new(error))))
}
