//! A running process: the API, the engines, or both.

use std::net::SocketAddr;

use convene_infrastructure::postgres::listen::Relay;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::error::StartError;
use crate::server::{Ending, Size, listen, serve_admin, serve_api, serve_operations};
use crate::wiring::{Admin, Convene, Engines, declare};

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Serves the API.
    Serve,
    /// Runs the engines.
    Work,
    /// Does both.
    Both,
}

/// A running process.
pub struct Running {
    /// Where the API listens, if it is served.
    pub api: Option<SocketAddr>,
    /// Where probes and metrics are served beside the API, if they are.
    pub operations: Option<SocketAddr>,
    /// Where administrators of the platform are served, if they are.
    pub admin: Option<SocketAddr>,
    tasks: JoinSet<Result<(), StartError>>,
    engines: Option<Engines>,
    refusals: Option<JoinHandle<()>>,
    background: CancellationToken,
    shutdown: CancellationToken,
}

impl Running {
    /// Opens the ports and starts everything that the role needs. Ends when `shutdown` is cancelled.
    ///
    /// # Errors
    /// What could not be started; nothing runs then.
    pub async fn start(
        convene: Convene,
        role: Role,
        shutdown: CancellationToken,
    ) -> Result<Self, StartError> {
        let config = convene.platform.config.clone();
        let ending = Ending {
            shutdown: shutdown.clone(),
            delay: config.http.drain_delay.0,
            timeout: config.http.drain_timeout.0,
        };
        let serves = role != Role::Work;
        let api = serves.then(|| listen(config.http.bind)).transpose()?;
        let operations = match role {
            Role::Work => Some(listen(config.worker.bind)?),
            _ if config.http.metrics_bind.is_empty() => None,
            _ => config.http.metrics_bind.parse().ok().map(listen).transpose()?,
        };
        let admin = match config.admin.bind.as_str() {
            "" => None,
            bind => bind.parse().ok().map(listen).transpose()?,
        };
        // Requests go on after the shutdown was announced, and what they need goes on with them.
        let background = CancellationToken::new();
        let mut running = Self {
            api: address(api.as_ref())?,
            operations: address(operations.as_ref())?,
            admin: address(admin.as_ref())?,
            tasks: JoinSet::new(),
            engines: None,
            refusals: None,
            background: background.clone(),
            shutdown: shutdown.clone(),
        };
        relay(&convene, background.clone())?;
        declare(&convene.platform).await?;
        if role != Role::Serve {
            running.engines = Some(Engines::start(&convene, shutdown)?);
        }
        if let Some(listener) = operations {
            let serving = serve_operations(listener, convene.http.clone(), ending.clone());
            running.tasks.spawn(async move { serving.await.map_err(stopped) });
        }
        if api.is_some() || admin.is_some() {
            tokio::spawn(convene.keep_fresh(background.clone()));
            let writing = convene.refusal_writer.run(background.clone().cancelled_owned());
            running.refusals = Some(tokio::spawn(writing));
        }
        if let Some(listener) = admin {
            let Admin { http, services, watch } = convene.admin;
            tokio::spawn(async move { background.run_until_cancelled(watch.run()).await });
            let serving = serve_admin(listener, http, services, ending.clone());
            running.tasks.spawn(async move { serving.await.map_err(stopped) });
        }
        if let Some(listener) = api {
            let size = Size {
                threads: config.http.workers,
                connections: config.http.max_connections,
                unread: config.http.write_timeout.0,
            };
            let serving = serve_api(listener, convene.http, convene.services, size, ending);
            running.tasks.spawn(async move { serving.await.map_err(stopped) });
        }
        Ok(running)
    }

    /// Waits for the end: every request that was taken is answered, and the engines have put down what they held.
    ///
    /// # Errors
    /// Why a server stopped before it was told to.
    pub async fn ended(mut self) -> Result<(), StartError> {
        let mut outcome = Ok(());
        while let Some(task) = self.tasks.join_next().await {
            let ended = task.unwrap_or_else(|panic| Err(stopped(std::io::Error::other(panic))));
            if ended.is_err() {
                self.shutdown.cancel();
                outcome = outcome.and(ended);
            }
        }
        self.shutdown.cancelled().await;
        if let Some(engines) = self.engines {
            engines.ended().await;
        }
        self.background.cancel();
        if let Some(refusals) = self.refusals {
            // What was refused last is written too.
            outcome =
                outcome.and(refusals.await.map_err(|panic| stopped(std::io::Error::other(panic))));
        }
        outcome
    }
}

/// Passes wake-ups between the processes of one database.
fn relay(convene: &Convene, end: CancellationToken) -> Result<(), StartError> {
    let platform = &convene.platform;
    let relay = Relay::new(&platform.pool_options("relay", 1), platform.wake.clone())
        .map_err(StartError::Database)?;
    tokio::spawn(async move { end.run_until_cancelled(relay.run()).await });
    Ok(())
}

fn address(listener: Option<&std::net::TcpListener>) -> Result<Option<SocketAddr>, StartError> {
    listener.map(|listener| listener.local_addr().map_err(stopped)).transpose()
}

fn stopped(source: std::io::Error) -> StartError {
    StartError::Other { what: "a server stopped", source: Box::new(source) }
}
