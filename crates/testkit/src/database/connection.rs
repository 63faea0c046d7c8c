//! Connections for the making and dropping of databases.

use std::{thread, time::Duration};

use tokio::{runtime, time::timeout};
use tokio_postgres::{Client, Config, Error, NoTls};

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Opens a connection that lives in the current runtime until the client is dropped.
pub(super) async fn connect(url: &str) -> Result<Client, Error> {
    let mut config: Config = url.parse()?;
    config.connect_timeout(CONNECT_WITHIN).application_name("convene-testkit");
    let (client, connection) = config.connect(NoTls).await?;
    // What ends the connection ends the client's calls too, with the reason.
    tokio::spawn(connection);
    Ok(client)
}

/// Runs statements that return nothing, each in a transaction of its own if there is but one.
pub(super) async fn execute(client: &Client, sql: &str) -> Result<(), Error> {
    client.batch_execute(sql).await
}

/// Whether the server is there, lets us in, and lets us do what tests need.
pub(crate) fn may_create_databases(url: &str) -> bool {
    let url = url.to_owned();
    let asked = block_on_own_thread(ANSWER_WITHIN, async move {
        let server = connect(&url).await?;
        let rights = "select rolsuper or (rolcreatedb and rolcreaterole)
             from pg_roles where rolname = current_user";
        server.query_one(rights, &[]).await.map(|row| row.get::<_, bool>(0))
    });
    matches!(asked, Ok(Ok(true)))
}

/// Runs `future` to its end from synchronous code, which may itself run inside of a runtime (that
/// of a test, say, which drops a value). Errors say what kept it from ending.
pub(super) fn block_on_own_thread<T: Send + 'static>(
    within: Duration,
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T, String> {
    let work = move || {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        runtime
            .block_on(async { timeout(within, future).await })
            .map_err(|_| format!("not within {within:?}"))
    };
    thread::spawn(work).join().unwrap_or_else(|_| Err("its thread panicked".to_owned()))
}
