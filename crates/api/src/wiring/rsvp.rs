//! RSVPs to events.

use std::sync::Arc;

use convene_application::kernel::jobs::Handler;
use convene_application::rsvp::{LaneOptions, RsvpService};

use super::Platform;

/// The use cases for requests, and the same over the connections of jobs.
pub(super) struct Rsvp {
    pub(super) service: RsvpService,
    jobs: RsvpService,
}

pub(super) fn wire(platform: &Platform) -> Rsvp {
    let over = |store: &convene_infrastructure::postgres::PgStore| {
        let store = Arc::new(store.clone());
        RsvpService::new(platform.env.clone(), store.clone(), store, LaneOptions::default())
    };
    Rsvp { service: over(&platform.store), jobs: over(&platform.jobs) }
}

impl Rsvp {
    pub(super) fn handlers(&self, platform: &Platform) -> Vec<Arc<dyn Handler>> {
        let directory = Arc::new(platform.jobs.clone());
        convene_application::rsvp::jobs::handlers(
            &self.jobs,
            directory,
            Arc::clone(&platform.mailer),
        )
    }
}
