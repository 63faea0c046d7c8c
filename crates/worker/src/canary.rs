//! The canary: a job that does nothing but prove that jobs are scheduled, claimed, run and settled.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use convene_application::kernel::cron::Missed;
use convene_application::kernel::jobs::{
    self, Duty, Handler, Job, LeasedJob, NewJob, Outcome, RunJob,
};
use serde::{Deserialize, Serialize};

/// Sings four times a minute, in whichever process claims it: `convene_canary_total` stands still over all processes when
/// jobs do, whatever else looks healthy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {}

impl Job for Canary {
    const KIND: &'static str = "platform.canary";
}

impl Canary {
    /// The duty that stores it.
    #[must_use]
    pub fn duty() -> Duty {
        // Missed ones prove nothing.
        let job = NewJob::new(&Self {}).unique(Self::KIND);
        Duty { missed: Missed::Skip, ..Duty::every(Self::KIND, Duration::from_secs(15), job) }
    }

    /// The handler that hears it.
    #[must_use]
    pub fn handler() -> Arc<dyn Handler> {
        jobs::handler::<Self, _>(Arc::new(Self {}))
    }
}

#[async_trait]
impl RunJob<Self> for Canary {
    async fn run(&self, _: Self, _: &LeasedJob) -> Outcome {
        metrics::counter!("convene_canary_total").increment(1);
        Outcome::Done
    }
}
