//! The feed of what was revoked lately, kept in memory so that a request asks no database.
//!
//! A session that ends is a row that every process reads within a quarter of a second. Rows are read again for ten
//! seconds after they were written, because transactions do not commit in the order of their timestamps. A process whose
//! feed is older than a second, because the database was away, asks the database for each request instead.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use convene_domain::ids::SessionId;
use jiff::{SignedDuration, Timestamp};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::ports::Revocations;
use crate::kernel::error::Failure;
use crate::kernel::store::StoreError;
use crate::kernel::wake::Wake;

/// How often the feed is read.
const POLL: Duration = Duration::from_millis(250);
/// How far behind the last reading the next one begins: longer than a transaction lasts.
const OVERLAP: SignedDuration = SignedDuration::from_secs(10);
/// How old the last reading may be for the feed to be believed.
const FRESH: Duration = Duration::from_secs(1);
/// How long a revocation is remembered: longer than an access token lives.
const KEEP: Duration = Duration::from_secs(20 * 60);
/// How long a reading may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The sessions that were revoked lately.
pub struct RevocationFeed {
    source: Arc<dyn Revocations>,
    wake: Arc<Wake>,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    /// When this process learnt of each.
    sessions: HashMap<SessionId, Instant>,
    /// When the last reading that succeeded began, by the clock of this process and of the store.
    read_at: Option<(Instant, Timestamp)>,
}

impl RevocationFeed {
    /// A feed that knows nothing until [`RevocationFeed::run`] reads it; until then every question goes to the store.
    #[must_use]
    pub fn new(source: Arc<dyn Revocations>, wake: Arc<Wake>) -> Self {
        Self { source, wake, state: RwLock::default() }
    }

    /// Keeps the feed fresh until the shutdown.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut tick = tokio::time::interval(POLL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rings = self.wake.revocations.listen();
        let mut healthy = true;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = tick.tick() => {}
                () = rings.rung() => {}
            }
            match (self.read().await, healthy) {
                (Ok(()), false) => tracing::info!("the revocation feed is fresh again"),
                (Err(error), true) => {
                    tracing::warn!(%error, "the revocation feed cannot be read; each request asks the database");
                }
                _ => {}
            }
            healthy = self.is_fresh();
        }
    }

    /// Reads the feed once.
    ///
    /// # Errors
    /// The store's; what was read before stays.
    pub async fn read(&self) -> Result<(), StoreError> {
        let began = Instant::now();
        let since = self.state().read_at.map(|(_, as_of)| as_of - OVERLAP);
        let revoked = within(self.source.since(since)).await?;
        let mut state = self.state_mut();
        for session in revoked.sessions {
            state.sessions.entry(session).or_insert(began);
        }
        state.sessions.retain(|_, learnt| began.duration_since(*learnt) < KEEP);
        state.read_at = Some((began, revoked.as_of));
        Ok(())
    }

    /// Learns of sessions that this process itself has just revoked, without waiting for the next reading, and rings for
    /// the others.
    pub fn revoked_here(&self, sessions: &[SessionId]) {
        if !sessions.is_empty() {
            let now = Instant::now();
            self.state_mut().sessions.extend(sessions.iter().map(|session| (*session, now)));
            self.wake.revocations.ring();
        }
    }

    /// Whether a session was revoked.
    ///
    /// # Errors
    /// `unavailable` if the feed is stale and the store does not answer either.
    pub async fn is_revoked(&self, session: SessionId) -> Result<bool, Failure> {
        if self.state().sessions.contains_key(&session) {
            return Ok(true);
        }
        if self.is_fresh() {
            return Ok(false);
        }
        metrics::counter!("convene_auth_revocation_lookups_total").increment(1);
        Ok(within(self.source.is_revoked(session)).await?)
    }

    fn is_fresh(&self) -> bool {
        self.state().read_at.is_some_and(|(read_at, _)| read_at.elapsed() < FRESH)
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn within<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    tokio::time::timeout(TIMEOUT, answer)
        .await
        .unwrap_or_else(|elapsed| Err(StoreError::Unavailable(Box::new(elapsed))))
}
