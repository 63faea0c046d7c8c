//! What operators ask: whether the process can serve, and its metrics.

use std::sync::{Arc, OnceLock};
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

const BROKER: &str = "broker";

/// How long one dependency may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether a process that publishes and consumes gets through to the broker, as its engines see it. One that has no such
/// engines knows nothing to the contrary.
#[derive(Clone, Default)]
pub(super) struct BusWatch(Arc<OnceLock<Box<dyn Fn() -> bool + Send + Sync>>>);

impl BusWatch {
    pub(super) fn watch(&self, works: impl Fn() -> bool + Send + Sync + 'static) {
        // The engines of a process are started once; the first are those that run.
        self.0.get_or_init(|| Box::new(works));
    }

    fn works(&self) -> bool {
        self.0.get().is_none_or(|works| works())
    }
}

/// Asks what the process depends on.
pub(super) struct Probes {
    store: PgStore,
    runtime: Handle,
    bus: BusWatch,
    /// Name and address of what can be done without for a while.
    optional: Vec<(&'static str, String)>,
}

impl Probes {
    pub(super) fn of(platform: &Platform) -> Self {
        let config = &platform.config;
        let optional = [("redis", &config.redis.url, 6379), (BROKER, &config.broker.url, 5672)]
            .into_iter()
            .filter_map(|(name, url, port)| Some((name, address(url.expose_secret(), port)?)))
            .collect();
        Self {
            store: platform.store.clone(),
            runtime: Handle::current(),
            bus: platform.bus.clone(),
            optional,
        }
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
        let optional = self.optional.iter().map(|(name, address)| self.optional(name, address));
        let (database, optional) = futures::join!(database, futures::future::join_all(optional));
        let (answers, migrated) = match database {
            Ok(Ok(Ok(missing))) => (true, missing.is_empty()),
            _ => (false, false),
        };
        let needed = [("database", answers), ("migrations", migrated)];
        let state = |up| if up { CheckState::Up } else { CheckState::Down };
        let needed = needed.into_iter().map(|(name, up)| Check { name, state: state(up) });
        needed.chain(optional).collect()
    }
}

impl Probes {
    /// What can be done without for a while.
    async fn optional(&self, name: &'static str, address: &str) -> Check {
        let connected = timeout(PATIENCE, TcpStream::connect(address)).await;
        let up = matches!(connected, Ok(Ok(_))) && (name != BROKER || self.bus.works());
        Check { name, state: if up { CheckState::Up } else { CheckState::Degraded } }
    }
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
    fn a_broker_that_the_engines_do_not_get_through_to_does_not_work() {
        let bus = BusWatch::default();
        assert!(bus.works(), "nothing is known to the contrary");
        let up = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let told = Arc::clone(&up);
        bus.clone().watch(move || told.load(std::sync::atomic::Ordering::SeqCst));
        assert!(bus.works());
        up.store(false, std::sync::atomic::Ordering::SeqCst);
        assert!(!bus.works());
    }

    #[test]
    fn finds_the_address_in_a_url() {
        let found = |url| address(url, 5672);
        assert_eq!(found(""), None);
        assert_eq!(found("amqp://guest:guest@127.0.0.1/%2f").as_deref(), Some("127.0.0.1:5672"));
        assert_eq!(found("amqp://broker:5673/a?b=c").as_deref(), Some("broker:5673"));
        assert_eq!(found("amqp://u:p@[::1]:5673").as_deref(), Some("[::1]:5673"));
    }
}
