//! What operators ask: whether the process can serve, and its metrics.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use convene_http::ports::{Check, CheckState, Readiness};
use convene_infrastructure::postgres::{PgStore, migrate};
use secrecy::ExposeSecret as _;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::Platform;

/// Renders the metrics.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

/// How long one dependency may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks what the process depends on.
pub(super) struct Probes {
    store: PgStore,
    runtime: Handle,
    /// Name and address of what can be done without for a while.
    optional: Vec<(&'static str, String)>,
}

impl Probes {
    pub(super) fn of(platform: &Platform) -> Self {
        let config = &platform.config;
        let optional = [("redis", &config.redis.url, 6379), ("broker", &config.broker.url, 5672)]
            .into_iter()
            .filter_map(|(name, url, port)| Some((name, address(url.expose_secret(), port)?)))
            .collect();
        Self { store: platform.store.clone(), runtime: Handle::current(), optional }
    }
}

#[async_trait]
impl Readiness for Probes {
    async fn checks(&self) -> Vec<Check> {
        let store = self.store.clone();
        // Connections live in the main runtime.
        let database = self
            .runtime
            .spawn(async move { timeout(PATIENCE, migrate::pending(store.pool())).await });
        let (database, optional) = futures::join!(
            database,
            futures::future::join_all(
                self.optional.iter().map(|(name, address)| reachable(name, address))
            )
        );
        let migrated = matches!(database, Ok(Ok(Ok(missing))) if missing.is_empty());
        let state = if migrated { CheckState::Up } else { CheckState::Down };
        std::iter::once(Check { name: "database", state }).chain(optional).collect()
    }
}

async fn reachable(name: &'static str, address: &str) -> Check {
    let connected = timeout(PATIENCE, TcpStream::connect(address)).await;
    let state = if matches!(connected, Ok(Ok(_))) { CheckState::Up } else { CheckState::Degraded };
    Check { name, state }
}

/// Host and port of a URL; none for an empty one.
fn address(url: &str, default_port: u16) -> Option<String> {
    let authority = url.split_once("://")?.1.split(['/', '?']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Some(if has_port { host.to_owned() } else { format!("{host}:{default_port}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_address_in_a_url() {
        let found = |url| address(url, 5672);
        assert_eq!(found(""), None);
        assert_eq!(found("amqp://guest:guest@127.0.0.1/%2f").as_deref(), Some("127.0.0.1:5672"));
        assert_eq!(found("amqp://broker:5673/a?b=c").as_deref(), Some("broker:5673"));
        assert_eq!(found("amqp://u:p@[::1]:5673").as_deref(), Some("[::1]:5673"));
    }
}
