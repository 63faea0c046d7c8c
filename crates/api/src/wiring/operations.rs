//! What operators ask: whether the process can serve, and its metrics.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use convene_http::ports::{Check, CheckState, Readiness};
use convene_infrastructure::postgres::{PgStore, migrate};
use convene_infrastructure::redis;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::Platform;

/// Renders the metrics.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

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
    redis: SecretString,
    /// Where the broker is, if there is one.
    broker: Option<String>,
}

impl Probes {
    pub(super) fn of(platform: &Platform) -> Self {
        let config = &platform.config;
        Self {
            store: platform.store.clone(),
            runtime: Handle::current(),
            bus: platform.bus.clone(),
            redis: config.redis.url.clone(),
            broker: address(config.broker.url.expose_secret(), 5672),
        }
    }
}

#[async_trait]
impl Readiness for Probes {
    async fn checks(&self) -> Vec<Check> {
        self.timed().await.into_iter().map(|(check, _)| check).collect()
    }
}

impl Probes {
    /// The checks, and how long each took.
    pub(super) async fn timed(&self) -> Vec<(Check, Duration)> {
        let store = self.store.clone();
        // Connections live in the main runtime.
        let database = self
            .runtime
            .spawn(async move { timeout(PATIENCE, migrate::pending(store.pool())).await });
        let ((database, took), (redis, redis_took), (broker, broker_took)) =
            futures::join!(timed(database), timed(self.redis()), timed(self.broker()));
        let (answers, migrated) = match database {
            Ok(Ok(Ok(missing))) => (true, missing.is_empty()),
            _ => (false, false),
        };
        let needed = [("database", answers), ("migrations", migrated)];
        let state = |up| if up { CheckState::Up } else { CheckState::Down };
        let needed = needed.map(|(name, up)| (Check { name, state: state(up) }, took));
        let redis = redis.map(|check| (check, redis_took));
        let broker = broker.map(|check| (check, broker_took));
        needed.into_iter().chain(redis).chain(broker).collect()
    }

    /// A question of its own, since a connection that stands says nothing about who is at its other end. None without
    /// Redis.
    async fn redis(&self) -> Option<Check> {
        if self.redis.expose_secret().is_empty() {
            return None;
        }
        let answered = timeout(PATIENCE, redis::ping(&self.redis)).await;
        Some(optional("redis", matches!(answered, Ok(Ok(())))))
    }

    /// What the engines see, where they run; they notice a connection that only seems to stand by its heartbeats.
    async fn broker(&self) -> Option<Check> {
        let address = self.broker.as_ref()?;
        let connected = timeout(PATIENCE, TcpStream::connect(address)).await;
        Some(optional("broker", matches!(connected, Ok(Ok(_))) && self.bus.works()))
    }
}

/// What comes, and how long it took.
async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let begun = Instant::now();
    (work.await, begun.elapsed())
}

/// What can be done without for a while.
fn optional(name: &'static str, up: bool) -> Check {
    Check { name, state: if up { CheckState::Up } else { CheckState::Degraded } }
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
