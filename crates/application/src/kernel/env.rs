//! What every use case needs of the outside beside its store: time, chance, and the place of the event schemas.

use std::sync::Arc;

use convene_contracts::SchemaBase;
use convene_domain::ids::{CommunityId, TypedId};
use jiff::Timestamp;

use super::clock::Clock;
use super::context::RequestContext;
use super::events::Recorder;
use super::random::Random;

/// Given to every service. Cheap to clone.
#[derive(Clone)]
pub struct Env {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes ids and secrets.
    pub random: Arc<dyn Random>,
    /// Where the schemas of events are published.
    pub schemas: SchemaBase,
}

impl Env {
    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A new identifier of this instant.
    #[must_use]
    pub fn id<T: TypedId>(&self, now: Timestamp) -> T {
        self.random.id(now)
    }

    /// Records the events of one use case.
    #[must_use]
    pub fn recorder<'a>(
        &'a self,
        context: &'a RequestContext,
        now: Timestamp,
        community: Option<CommunityId>,
    ) -> Recorder<'a> {
        Recorder { env: self, context, now, community }
    }
}
