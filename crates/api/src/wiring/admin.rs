//! What the administrators' API stands on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use convene_application::auth::AdminAccess;
use convene_application::kernel::clock::Clock;
use convene_application::kernel::error::Failure;
use convene_application::kernel::feed::Follow;
use convene_application::kernel::operate::status::InstallationStatus;
use convene_http::Http;
use convene_http::admin::{
    AdminServices, Dependency, FeedState, LogFilterControl, PoolState, ProcessStatus, Reports,
};
use convene_http::ports::{CheckState, Ports};
use convene_http::settings::Settings;
use convene_infrastructure::postgres::PgStore;
use jiff::Timestamp;
use tokio::runtime::Handle;

use super::operations::Probes;
use super::{Platform, operators};
use crate::telemetry::{Controlled, log_filter};

/// How often to look, so that it is known since when something is as it is.
const LOOK: Duration = Duration::from_secs(5);
/// Requests of administrators at once.
const AT_ONCE: usize = 64;

/// What administrators are served.
pub(crate) struct Admin {
    pub(crate) http: Arc<Http>,
    pub(crate) services: AdminServices,
    pub(crate) watch: Arc<Watch>,
}

/// Of the API's settings and ports administrators get those that let them in when something is wrong: no quotas, no shedding
/// by waits, any name of the host, and no page of another origin.
pub(super) fn wire(
    platform: &Platform,
    settings: Settings,
    ports: Ports,
    feeds: Vec<Arc<dyn Follow>>,
) -> Admin {
    let settings = Settings {
        cors_origins: Vec::new(),
        allowed_hosts: Vec::new(),
        serve_metrics: false,
        max_in_flight: AT_ONCE,
        queue_target: None,
        ..settings
    };
    let ports = Ports { limiter: None, dev_mail: None, ..ports };
    let watch = Arc::new(Watch::new(platform, feeds));
    let store = Arc::new(platform.store.clone());
    let services = AdminServices {
        access: AdminAccess::new(store.clone(), store),
        jobs: operators::jobs(platform),
        reports: Arc::clone(&watch) as Arc<dyn Reports>,
        log_filter: log_filter()
            .map(|filter| Arc::new(Controlled(filter)) as Arc<dyn LogFilterControl>),
    };
    Admin { http: Http::new(settings, ports, Handle::current()), services, watch }
}

/// Looks at what the process depends on, and remembers since when it is as it is.
pub(crate) struct Watch {
    probes: Probes,
    clock: Arc<dyn Clock>,
    started_at: Timestamp,
    pools: [PgStore; 3],
    feeds: Vec<Arc<dyn Follow>>,
    seen: Mutex<HashMap<&'static str, (CheckState, Timestamp)>>,
}

impl Watch {
    fn new(platform: &Platform, feeds: Vec<Arc<dyn Follow>>) -> Self {
        let clock = Arc::clone(&platform.env.clock);
        Self {
            probes: Probes::of(platform),
            started_at: clock.now(),
            clock,
            pools: [&platform.store, &platform.jobs, &platform.sinks].map(Clone::clone),
            feeds,
            seen: Mutex::default(),
        }
    }

    /// Looks again and again.
    pub(crate) async fn run(&self) {
        let mut tick = tokio::time::interval(LOOK);
        loop {
            tick.tick().await;
            self.look().await;
        }
    }

    async fn look(&self) -> Vec<Dependency> {
        let checks = self.probes.timed().await;
        let now = self.clock.now();
        // What a panic left is complete.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        checks
            .into_iter()
            .map(|(check, latency)| {
                let (state, since) = seen.entry(check.name).or_insert((check.state, now));
                if *state != check.state {
                    (*state, *since) = (check.state, now);
                }
                Dependency { name: check.name, state: check.state, since: *since, latency }
            })
            .collect()
    }
}

#[async_trait]
impl Reports for Watch {
    async fn process(&self) -> ProcessStatus {
        let pool = |store: &PgStore| {
            let load = store.pool().load();
            PoolState {
                name: load.name,
                in_use: load.in_use,
                idle: load.idle,
                max: load.max,
                waiting: load.waiting,
            }
        };
        let feed = |feed: &Arc<dyn Follow>| FeedState { name: feed.name(), fresh: feed.is_fresh() };
        ProcessStatus {
            version: crate::version(),
            started_at: self.started_at,
            dependencies: self.look().await,
            pools: self.pools.iter().map(pool).collect(),
            feeds: self.feeds.iter().map(feed).collect(),
        }
    }

    async fn installation(&self) -> Result<InstallationStatus, Failure> {
        let [store, ..] = &self.pools;
        Ok(InstallationStatus::read(store).await?)
    }
}
