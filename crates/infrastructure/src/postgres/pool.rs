//! The connection pool: bounded, with a time-out on everything, its connections driven by the main runtime.

use std::time::Duration;

use convene_application::kernel::store::StoreError;
use diesel::{ConnectionError, ConnectionResult};
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::deadpool::{self, PoolError};
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod,
};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::runtime::Handle;

use super::tls::{Dialled, dial};

/// A connection on loan from the pool.
pub(crate) type Connection = deadpool::Object<AsyncPgConnection>;

/// How to reach the database, and how much of it to use.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    /// `postgres://user:password@host:port/database?sslmode=…`
    pub url: SecretString,
    /// The most connections.
    pub size: usize,
    /// How long to wait for a free connection.
    pub wait: Duration,
    /// How long a new connection may take.
    pub connect: Duration,
    /// Sent as `statement_timeout`.
    pub statement_timeout: Duration,
    /// Sent as `lock_timeout`.
    pub lock_timeout: Duration,
    /// Sent as `idle_in_transaction_session_timeout`: the last net under a transaction that was forgotten.
    pub idle_in_transaction_timeout: Duration,
    /// The role to serve as, which owns nothing, if the login may take it.
    pub role: Option<String>,
}

impl PoolOptions {
    /// Usual time-outs for a database at this URL.
    #[must_use]
    pub fn new(url: SecretString, size: usize) -> Self {
        Self {
            url,
            size,
            wait: Duration::from_secs(2),
            connect: Duration::from_secs(3),
            statement_timeout: Duration::from_secs(4),
            lock_timeout: Duration::from_secs(2),
            idle_in_transaction_timeout: Duration::from_secs(10),
            role: None,
        }
    }
}

/// A pool of connections to Postgres.
#[derive(Clone)]
pub struct Pool {
    inner: deadpool::Pool<AsyncPgConnection>,
    runtime: Handle,
}

impl Pool {
    /// Makes the pool; connects only when a connection is needed. Connections live on `runtime`, whoever asks for them.
    ///
    /// # Errors
    /// A URL that cannot be read.
    pub fn new(options: &PoolOptions, runtime: Handle) -> Result<Self, StoreError> {
        let config = session(options)?;
        let mut manager = ManagerConfig::default();
        // A round trip per loan would cost more than most statements; a closed connection is noticed without.
        manager.recycling_method = RecyclingMethod::Fast;
        let driver = runtime.clone();
        manager.custom_setup = Box::new(move |_| {
            let (config, driver) = (config.clone(), driver.clone());
            connect(config, driver).boxed()
        });
        let manager = AsyncDieselConnectionManager::new_with_config("", manager);
        let inner = deadpool::Pool::builder(manager)
            .max_size(options.size)
            .wait_timeout(Some(options.wait))
            .create_timeout(Some(options.connect))
            .recycle_timeout(Some(options.connect))
            .runtime(deadpool_runtime())
            .build()
            .map_err(|error| StoreError::Other(Box::new(error)))?;
        Ok(Self { inner, runtime })
    }

    /// Borrows a connection.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if none is free, or the database does not answer, in time.
    pub(crate) async fn get(&self) -> Result<Connection, StoreError> {
        let waiting = std::time::Instant::now();
        let connection = self.inner.get().await;
        metrics::histogram!("convene_db_pool_wait_seconds").record(waiting.elapsed().as_secs_f64());
        connection.map_err(|error: PoolError| StoreError::Unavailable(Box::new(error)))
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let connection = self.get().await?;
        super::sql::sql("SELECT 1").run(&connection).await.map(|_| ())
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Closes the pool: loans end with their holders, nobody gets a new one.
    pub fn close(&self) {
        self.inner.close();
    }
}

fn deadpool_runtime() -> ::deadpool::Runtime {
    ::deadpool::Runtime::Tokio1
}

/// Everything a session needs is said when it starts, so it costs no round trip.
///
/// Plans are made once for each prepared statement, without looking at its parameters. Left to itself, Postgres plans a list
/// anew each time where one tenant is much larger than the average: that takes longer than reading the page. Every
/// statement is written so that its one plan is right for all, which the tests of query plans hold.
pub(super) fn session(options: &PoolOptions) -> Result<tokio_postgres::Config, StoreError> {
    let mut config: tokio_postgres::Config =
        options.url.expose_secret().parse().map_err(|error| StoreError::Other(Box::new(error)))?;
    let mut settings = format!(
        "-c statement_timeout={} -c lock_timeout={} -c idle_in_transaction_session_timeout={} -c timezone=UTC \
         -c plan_cache_mode=force_generic_plan",
        options.statement_timeout.as_millis(),
        options.lock_timeout.as_millis(),
        options.idle_in_transaction_timeout.as_millis(),
    );
    if let Some(role) = &options.role {
        settings.push_str(" -c role=");
        settings.push_str(role);
    }
    if let Some(existing) = config.get_options() {
        settings.push(' ');
        settings.push_str(existing);
    }
    config.options(settings).application_name("convene").connect_timeout(options.connect);
    config.keepalives_idle(Duration::from_secs(15)).tcp_user_timeout(Duration::from_secs(10));
    Ok(config)
}

fn connect(
    config: tokio_postgres::Config,
    runtime: Handle,
) -> BoxFuture<'static, ConnectionResult<AsyncPgConnection>> {
    async move {
        // The task that drives the connection lives in the runtime that opens it.
        runtime.spawn(open(config)).await.map_err(|error| {
            ConnectionError::CouldntSetupConfiguration(diesel::result::Error::QueryBuilderError(
                Box::new(error),
            ))
        })?
    }
    .boxed()
}

pub(super) async fn open(config: tokio_postgres::Config) -> ConnectionResult<AsyncPgConnection> {
    match dial(&config).await? {
        Dialled::Clear(client, connection) => {
            AsyncPgConnection::try_from_client_and_connection(client, *connection).await
        }
        Dialled::Encrypted(client, connection) => {
            AsyncPgConnection::try_from_client_and_connection(client, *connection).await
        }
    }
}
