//! The door to the database: units of work, and reads that need none.

use std::sync::Arc;

use async_trait::async_trait;
use convene_application::kernel::cache::{Generations, Stale};
use convene_application::kernel::idempotency::KeyClaim;
use convene_application::kernel::store::StoreError;
use convene_application::kernel::uow::Begin;
use convene_application::kernel::wake::Wake;

use super::endings::Endings;
use super::line::Purpose;
use super::pool::{Connection, Pool};
use super::tx::PgTx;

/// Postgres as the adapter of the application's ports. Cheap to clone.
#[derive(Clone)]
pub struct PgStore {
    pool: Pool,
    wake: Arc<Wake>,
    generations: Arc<Generations>,
    endings: Endings,
    of_requests: bool,
}

impl PgStore {
    /// A store over a pool; commits ring the bells.
    #[must_use]
    pub fn new(pool: Pool, wake: Arc<Wake>) -> Self {
        Self {
            pool,
            wake,
            generations: Arc::default(),
            endings: Endings::default(),
            of_requests: true,
        }
    }

    /// The same for what no request asks for, or what all of them need: it is not refused when too many wait.
    #[must_use]
    pub fn for_upkeep(&self) -> Self {
        Self { of_requests: false, ..self.clone() }
    }

    /// Commits tell these generations what they change, so that this process knows at once.
    #[must_use]
    pub fn telling(self, generations: Arc<Generations>) -> Self {
        Self { generations, ..self }
    }

    /// The transactions with idempotency keys that are being rolled back.
    pub(super) fn endings(&self) -> &Endings {
        &self.endings
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The bells that commits ring.
    #[must_use]
    pub fn wake(&self) -> &Arc<Wake> {
        &self.wake
    }

    /// A connection for statements that need no transaction of their own.
    pub(crate) async fn connection(&self) -> Result<Connection, StoreError> {
        self.pool.get(self.purpose(Purpose::Read)).await
    }

    fn purpose(&self, of_request: Purpose) -> Purpose {
        if self.of_requests { of_request } else { Purpose::Upkeep }
    }

    pub(crate) fn committed(&self, outbox: bool, jobs: bool) {
        if outbox {
            self.wake.outbox.ring();
        }
        if jobs {
            self.wake.jobs.ring();
        }
    }

    /// This process has committed a change of these keys, or may have.
    pub(crate) fn changed(&self, keys: &[Stale]) {
        if !keys.is_empty() {
            self.generations.changed_here(keys);
            self.wake.caches.ring();
        }
    }

    pub(crate) async fn tx(&self, claims: Vec<KeyClaim>) -> Result<Box<PgTx>, StoreError> {
        self.endings.are_over(&claims).await;
        let connection = self.pool.get(self.purpose(Purpose::Change)).await?;
        Ok(Box::new(PgTx::new(self.clone(), connection, claims)))
    }
}

macro_rules! begins {
    ($($tx:ty),+ $(,)?) => {$(
        #[async_trait]
        impl Begin<$tx> for PgStore {
            async fn begin(&self, claims: Vec<KeyClaim>) -> Result<Box<$tx>, StoreError> {
                Ok(self.tx(claims).await?)
            }
        }
    )+};
}

begins!(
    dyn convene_application::auth::ports::AuthTx,
    dyn convene_application::community::ports::CommunityTx,
    dyn convene_application::event::ports::EventTx,
    dyn convene_application::kernel::operate::audit::AuditTx,
    dyn convene_application::kernel::operate::cron::CronTx,
    dyn convene_application::kernel::operate::jobs::JobTx,
    dyn convene_application::kernel::operate::queues::QueueTx,
    dyn convene_application::kernel::operate::replay::ReplayTx,
    dyn convene_application::kernel::uow::Tx,
    dyn convene_application::rsvp::ports::RsvpTx,
    dyn convene_application::user::ports::UserTx,
    dyn convene_application::webhook::ports::WebhookTx,
);
