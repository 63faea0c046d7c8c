//! Filling a database for load tests, and making it empty before.

use std::time::Duration;

use convene_application::kernel::store::StoreError;
use diesel_async::AsyncPgConnection;
use diesel_async::SimpleAsyncConnection as _;
use secrecy::SecretString;
use tokio::runtime::Handle;

use super::line::Purpose;
use super::load::Load;
use super::migrate::{MigrateError, OWNER_ROLE, serving_role};
use super::pool::{Connection, Pool, PoolOptions};
use super::sql::{Sql, sql, store_error};
use super::{community, event, rsvp, user};

/// How long one statement of a load may take.
const PATIENCE: Duration = Duration::from_mins(30);

/// Empties every table but those that outlive their rows. What the sinks had not published is gone, so they go on behind it.
const EMPTY: &str = "
    DO $empty$
    BEGIN
        EXECUTE (SELECT 'TRUNCATE ' || string_agg(oid::regclass::text, ', ') FROM pg_class
                 WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
                   AND relname <> ALL (ARRAY['__diesel_schema_migrations', 'log_head', 'signing_keys', 'sink_cursors']));
    END $empty$;
    UPDATE sink_cursors SET position = (SELECT position FROM log_head), epoch = epoch + 1";

/// Why a database could not be filled.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// There are people in it.
    #[error("the database is not empty: it has users")]
    NotEmpty,
    /// It cannot be reached.
    #[error("the database cannot be reached")]
    Connect(#[from] diesel::ConnectionError),
    /// Its roles cannot be read.
    #[error(transparent)]
    Roles(#[from] MigrateError),
    /// A statement failed.
    #[error("a statement failed; the database is as it was before")]
    Statement(#[from] StoreError),
}

/// Makes sure that there is nobody in the database at this URL.
///
/// With `destructive`, everything goes but signing keys and what the event log has counted: its positions go on, so that no
/// reader of it ever sees one twice. Nothing should be running on the database then.
///
/// # Errors
/// [`SeedError::NotEmpty`] if there is somebody and `destructive` is not set.
pub async fn prepare(url: &SecretString, destructive: bool) -> Result<(), SeedError> {
    let connection = connect(url).await?;
    if !user::load::anybody(&connection).await? {
        return Ok(());
    }
    if !destructive {
        return Err(SeedError::NotEmpty);
    }
    batch(&connection, EMPTY).await
}

/// Fills the database at this URL, which has no users, with the rows of a load: all of them, or none. It records no events.
///
/// # Errors
/// [`SeedError`].
pub async fn load(url: &SecretString, load: &Load) -> Result<(), SeedError> {
    let connection = connect(url).await?;
    let mut statements = user::load::statements(load);
    statements.extend(community::load::statements(load));
    statements.extend(event::load::statements(load));
    statements.extend(rsvp::load::statements(load));
    all(&connection, statements).await?;
    batch(&connection, "VACUUM (ANALYZE)").await
}

/// Runs all of the statements or, if one fails, none.
async fn all(connection: &Connection, statements: Vec<Sql>) -> Result<(), SeedError> {
    sql("BEGIN").run(connection).await?;
    for statement in statements {
        statement.run(connection).await?;
    }
    sql("COMMIT").run(connection).await?;
    Ok(())
}

/// Runs what cannot be prepared.
async fn batch(mut connection: &AsyncPgConnection, text: &str) -> Result<(), SeedError> {
    Ok(connection.batch_execute(text).await.map_err(store_error)?)
}

/// As the owner of the tables, who alone may empty them.
async fn connect(url: &SecretString) -> Result<Connection, SeedError> {
    let role = serving_role(url).await?.map(|_| OWNER_ROLE.to_owned());
    let options =
        PoolOptions { statement_timeout: PATIENCE, role, ..PoolOptions::new(url.clone(), 1) };
    Ok(Pool::new(&options, Handle::current())?.get(Purpose::Upkeep).await?)
}
