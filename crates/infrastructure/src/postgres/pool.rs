//! The connection pool: bounded, with a time-out on everything, its connections driven by the main runtime.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use convene_application::kernel::store::StoreError;
use diesel::{ConnectionError, ConnectionResult, QueryResult};
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::deadpool::{self, Object, PoolError};
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod,
};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::line::{Line, NoTurn, Purpose, Turn};
use super::sql::store_error;
use super::tls::{Dialled, dial};

/// How much longer than Postgres lets a statement take its answer may be on its way.
const TRAVEL: Duration = Duration::from_millis(200);

/// A connection on loan from the pool, to which it goes back; or is closed, if it failed to answer.
pub(crate) struct Connection {
    /// Present until it is dropped.
    loan: Option<Object<AsyncPgConnection>>,
    /// Behind the loan, so that it is back when the next in line asks for it.
    _turn: Turn,
    patience: Duration,
    closing: AtomicBool,
}

/// Why a connection is closed that still stands, as far as the kernel knows.
#[derive(Debug, thiserror::Error)]
#[error("the database did not answer within {0:?}")]
struct Silence(Duration);

/// How to reach the database, and how much of it to use.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    /// What the metrics call it.
    pub name: &'static str,
    /// `postgres://user:password@host:port/database?sslmode=…`
    pub url: SecretString,
    /// The most connections.
    pub size: usize,
    /// How long to wait for a free connection.
    pub wait: Duration,
    /// How long requests may wait for one where too many do, more or less. None: as long as all others.
    pub queue_target: Option<Duration>,
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
            name: "other",
            url,
            size,
            wait: Duration::from_secs(2),
            queue_target: None,
            connect: Duration::from_secs(3),
            statement_timeout: Duration::from_secs(4),
            lock_timeout: Duration::from_secs(2),
            idle_in_transaction_timeout: Duration::from_secs(10),
            role: None,
        }
    }
}

impl Connection {
    /// Waits for the answer to a statement. Postgres itself ends one that takes too long, so an answer that is still not
    /// there then is not to be expected: the network or the server swallows everything, and TCP may take minutes to tell.
    pub(crate) async fn answer<T>(
        &self,
        statement: impl Future<Output = QueryResult<T>>,
    ) -> Result<T, StoreError> {
        match timeout(self.patience, statement).await {
            Ok(answer) => answer.map_err(store_error),
            Err(_) => {
                self.close();
                Err(StoreError::Unavailable(Box::new(Silence(self.patience))))
            }
        }
    }

    /// Closes it at the end of the loan, instead of giving it back.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }
}

impl Deref for Connection {
    type Target = AsyncPgConnection;

    fn deref(&self) -> &AsyncPgConnection {
        self.loan.as_ref().expect("a loan lasts until it is dropped")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if *self.closing.get_mut()
            && let Some(loan) = self.loan.take()
        {
            metrics::counter!("convene_db_connections_detached_total").increment(1);
            drop(Object::take(loan));
        }
    }
}

/// How much of a pool is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLoad {
    /// The pool's name.
    pub name: &'static str,
    /// Connections on loan.
    pub in_use: usize,
    /// Connections that are open and free.
    pub idle: usize,
    /// The most that it may open.
    pub max: usize,
    /// Who waits for one.
    pub waiting: usize,
}

/// A pool of connections to Postgres.
#[derive(Clone)]
pub struct Pool {
    name: &'static str,
    inner: deadpool::Pool<AsyncPgConnection>,
    runtime: Handle,
    patience: Duration,
    line: Arc<Line>,
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
        let patience = options.statement_timeout + TRAVEL;
        let line = Line::new(options.size, options.wait, options.queue_target);
        Ok(Self { name: options.name, inner, runtime, patience, line })
    }

    /// Borrows a connection.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if none is free, or the database does not answer, in time; [`StoreError::Overloaded`]
    /// if too many wait for too long.
    pub(crate) async fn get(&self, purpose: Purpose) -> Result<Connection, StoreError> {
        let began = Instant::now();
        let turn = self.line.turn(purpose).await;
        metrics::histogram!("convene_db_pool_wait_seconds", "pool" => self.name)
            .record(began.elapsed().as_secs_f64());
        let turn = match turn {
            Ok(turn) => turn,
            Err(NoTurn::Refused) => {
                metrics::counter!("convene_db_pool_refusals_total", "pool" => self.name)
                    .increment(1);
                return Err(StoreError::Overloaded);
            }
            Err(late @ NoTurn::TimedOut) => return Err(self.failure(late)),
        };
        let loan = self.inner.get().await.map_err(|error: PoolError| self.failure(error))?;
        Ok(Connection {
            loan: Some(loan),
            _turn: turn,
            patience: self.patience,
            closing: AtomicBool::new(false),
        })
    }

    fn failure(&self, error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
        metrics::counter!("convene_db_pool_failures_total", "pool" => self.name).increment(1);
        StoreError::Unavailable(Box::new(error))
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let connection = self.get(Purpose::Upkeep).await?;
        super::sql::sql("SELECT 1").run(&connection).await.map(|_| ())
    }

    /// How much of it is in use. Cheap: nobody is asked.
    #[must_use]
    pub fn load(&self) -> PoolLoad {
        let status = self.inner.status();
        PoolLoad {
            name: self.name,
            in_use: status.size.saturating_sub(status.available),
            idle: status.available,
            max: status.max_size,
            waiting: self.line.waiting(),
        }
    }

    /// Tells the metrics how much of it is in use.
    #[expect(clippy::cast_precision_loss, reason = "gauges of a few connections")]
    pub fn measure(&self) {
        let PoolLoad { in_use, idle, max, waiting, .. } = self.load();
        let gauge = |state, connections: usize| {
            metrics::gauge!("convene_db_pool_connections", "pool" => self.name, "state" => state)
                .set(connections as f64);
        };
        gauge("in_use", in_use);
        gauge("idle", idle);
        metrics::gauge!("convene_db_pool_max_connections", "pool" => self.name).set(max as f64);
        metrics::gauge!("convene_db_pool_waiting", "pool" => self.name).set(waiting as f64);
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
