//! The feed of what was revoked lately, kept in memory so that a request asks no database.
//!
//! A session that ends is a row that every process reads within a quarter of a second (see [`feed`]). A process whose feed
//! is older than a second, because the database was away, asks the database for each request instead.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use convene_domain::ids::SessionId;
use tokio_util::sync::CancellationToken;

use super::ports::Revocations;
use crate::kernel::error::Failure;
use crate::kernel::feed::{self, Follow, Progress, within};
use crate::kernel::store::StoreError;
use crate::kernel::wake::Wake;

/// How long a revocation is remembered: longer than an access token lives.
const KEEP: Duration = Duration::from_secs(20 * 60);

/// The sessions that were revoked lately.
pub struct RevocationFeed {
    source: Arc<dyn Revocations>,
    wake: Arc<Wake>,
    progress: Progress,
    /// When this process learnt of each.
    sessions: RwLock<HashMap<SessionId, Instant>>,
}

impl RevocationFeed {
    /// A feed that knows nothing until [`RevocationFeed::run`] reads it; until then every question goes to the store.
    #[must_use]
    pub fn new(source: Arc<dyn Revocations>, wake: Arc<Wake>) -> Self {
        Self { source, wake, progress: Progress::default(), sessions: RwLock::default() }
    }

    /// Keeps the feed fresh until the shutdown.
    pub async fn run(&self, shutdown: CancellationToken) {
        feed::follow(self, &self.wake.revocations, shutdown).await;
    }

    /// Learns of sessions that this process itself has just revoked, without waiting for the next reading, and rings for
    /// the others.
    pub fn revoked_here(&self, sessions: &[SessionId]) {
        if !sessions.is_empty() {
            let now = self.progress.now();
            self.sessions_mut().extend(sessions.iter().map(|session| (*session, now)));
            self.wake.revocations.ring();
        }
    }

    /// Whether a session was revoked.
    ///
    /// # Errors
    /// `unavailable` if the feed is stale and the store does not answer either.
    pub async fn is_revoked(&self, session: SessionId) -> Result<bool, Failure> {
        if self.sessions().contains_key(&session) {
            return Ok(true);
        }
        if self.is_fresh() {
            return Ok(false);
        }
        metrics::counter!("convene_auth_revocation_lookups_total").increment(1);
        Ok(within(self.source.is_revoked(session)).await?)
    }

    fn sessions(&self) -> RwLockReadGuard<'_, HashMap<SessionId, Instant>> {
        self.sessions.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn sessions_mut(&self) -> RwLockWriteGuard<'_, HashMap<SessionId, Instant>> {
        self.sessions.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Follow for RevocationFeed {
    fn name(&self) -> &'static str {
        "revocations"
    }

    async fn read(&self) -> Result<(), StoreError> {
        let began = self.progress.now();
        let mut revoked = within(self.source.since(self.progress.since())).await?;
        if self.progress.is_set_back(began, revoked.as_of) {
            revoked = within(self.source.since(None)).await?;
        }
        {
            let mut sessions = self.sessions_mut();
            for session in revoked.sessions {
                sessions.entry(session).or_insert(began);
            }
            sessions.retain(|_, learnt| began.duration_since(*learnt) < KEEP);
        }
        self.progress.advance(began, revoked.as_of);
        Ok(())
    }

    fn is_fresh(&self) -> bool {
        self.progress.is_fresh()
    }
}
