//! The jobs of this module: what follows from a change of many RSVPs, and mail to the people it concerns.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use convene_domain::ids::{EventId, RsvpId, UserId};
use convene_domain::rsvp::{Cause, EventLine};
use serde::{Deserialize, Serialize};

use super::offers::{PromoteWaitlist, ReleaseEvent, ReleaseMember};
use super::service::{Desk, RsvpService};
use crate::kernel::context::RequestContext;
use crate::kernel::error::Failure;
use crate::kernel::jobs::{Handler, Job, LeasedJob, Outcome, RunJob, handler};
use crate::kernel::mail::{MailError, Mailer, Message};
use crate::kernel::store::StoreError;
use crate::user::offers::Directory;

/// The most RSVPs that one transaction of a job touches.
const BATCH: u32 = 500;

/// Tells a person that the party has seats now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailPromoted {
    /// The RSVP that was promoted.
    #[serde(with = "crate::kernel::typed")]
    pub rsvp: RsvpId,
    /// The event.
    #[serde(with = "crate::kernel::typed")]
    pub event: EventId,
    /// Whom to tell.
    #[serde(with = "crate::kernel::typed")]
    pub user: UserId,
    /// For how many people.
    pub party_size: u32,
}

/// Tells a person that the event was cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailCancelled {
    /// The RSVP that ended.
    #[serde(with = "crate::kernel::typed")]
    pub rsvp: RsvpId,
    /// The event.
    #[serde(with = "crate::kernel::typed")]
    pub event: EventId,
    /// Whom to tell.
    #[serde(with = "crate::kernel::typed")]
    pub user: UserId,
}

impl Job for MailPromoted {
    const KIND: &'static str = "rsvp.mail_promoted";
    const QUEUE: &'static str = "mail";
}

impl Job for MailCancelled {
    const KIND: &'static str = "rsvp.mail_cancelled";
    const QUEUE: &'static str = "mail";
}

/// The handlers of this module's jobs.
pub fn handlers(
    service: &RsvpService,
    directory: Arc<dyn Directory>,
    mailer: Arc<dyn Mailer>,
) -> Vec<Arc<dyn Handler>> {
    let desk = Arc::new(service.desk());
    let post = Arc::new(Post { desk: Arc::clone(&desk), directory, mailer });
    vec![
        handler::<PromoteWaitlist, _>(Arc::clone(&desk)),
        handler::<ReleaseEvent, _>(Arc::clone(&desk)),
        handler::<ReleaseMember, _>(desk),
        handler::<MailPromoted, _>(Arc::clone(&post)),
        handler::<MailCancelled, _>(post),
    ]
}

#[async_trait]
impl RunJob<PromoteWaitlist> for Desk {
    async fn run(&self, job: PromoteWaitlist, lease: &LeasedJob) -> Outcome {
        let promoted = self
            .rework(
                &caused_by(lease),
                "rsvp.promote",
                job.event,
                &[],
                BATCH,
                Some(lease.fence()),
                EventLine::promote,
            )
            .await;
        again_while_full(promoted)
    }
}

#[async_trait]
impl RunJob<ReleaseEvent> for Desk {
    async fn run(&self, job: ReleaseEvent, lease: &LeasedJob) -> Outcome {
        let users = match self.reads.active_users(job.event, i64::from(BATCH)).await {
            Ok(users) => users,
            Err(error) => return Outcome::Retry(error.into()),
        };
        let released = self
            .rework(
                &caused_by(lease),
                "rsvp.release",
                job.event,
                &users,
                0,
                Some(lease.fence()),
                |line, now| line.release(&users, Cause::EventCancelled, now),
            )
            .await;
        again_while_full(released)
    }
}

#[async_trait]
impl RunJob<ReleaseMember> for Desk {
    async fn run(&self, job: ReleaseMember, lease: &LeasedJob) -> Outcome {
        let now = self.env.now();
        let events =
            match self.reads.events_held_by(job.community, job.user, job.left_at, now).await {
                Ok(events) => events,
                Err(error) => return Outcome::Retry(error.into()),
            };
        for event in events {
            let released = self
                .rework(
                    &caused_by(lease),
                    "rsvp.release",
                    event,
                    &[job.user],
                    0,
                    Some(lease.fence()),
                    |line, now| {
                        line.release(&[job.user], Cause::MemberLeft, now);
                    },
                )
                .await;
            if let Err(error) = released {
                return Outcome::Retry(error.into());
            }
        }
        Outcome::Done
    }
}

/// A full batch may not have been all; each batch is committed by itself, so the next run goes on from there.
fn again_while_full(batch: Result<usize, StoreError>) -> Outcome {
    match batch {
        Ok(count) if count >= BATCH as usize => Outcome::Snooze(Duration::ZERO),
        Ok(_) => Outcome::Done,
        Err(error) => Outcome::Retry(error.into()),
    }
}

fn caused_by(lease: &LeasedJob) -> RequestContext {
    RequestContext {
        traceparent: lease.traceparent.clone(),
        ..RequestContext::system(
            lease.correlation_id.clone().unwrap_or_else(|| format!("job-{}", lease.id)),
        )
    }
}

struct Post {
    desk: Arc<Desk>,
    directory: Arc<dyn Directory>,
    mailer: Arc<dyn Mailer>,
}

#[async_trait]
impl RunJob<MailPromoted> for Post {
    async fn run(&self, job: MailPromoted, _: &LeasedJob) -> Outcome {
        self.tell(job.user, job.event, format!("{}-promoted", job.rsvp), |card| Message::Promoted {
            event: card.title,
            starts_at_local: card.starts_at_local,
            time_zone: card.time_zone,
            party_size: job.party_size,
        })
        .await
    }
}

#[async_trait]
impl RunJob<MailCancelled> for Post {
    async fn run(&self, job: MailCancelled, _: &LeasedJob) -> Outcome {
        self.tell(job.user, job.event, format!("{}-cancelled", job.rsvp), |card| {
            Message::EventCancelled {
                event: card.title,
                starts_at_local: card.starts_at_local,
                time_zone: card.time_zone,
            }
        })
        .await
    }
}

impl Post {
    async fn tell(
        &self,
        user: UserId,
        event: EventId,
        id: String,
        message: impl FnOnce(super::ports::EventCard) -> Message + Send,
    ) -> Outcome {
        let found = futures::try_join!(self.directory.contact(user), self.desk.reads.card(event));
        let (contact, card) = match found {
            Ok((Some(contact), Some(card))) => (contact, card),
            // The account is gone, and with it the person to tell.
            Ok(_) => return Outcome::Done,
            Err(error) => return Outcome::Retry(error.into()),
        };
        match self.mailer.send(&id, &contact.email, &message(card)).await {
            Ok(()) => Outcome::Done,
            Err(error @ MailError::Transient(_)) => Outcome::Retry(Failure::unavailable(error)),
            Err(error @ MailError::Permanent(_)) => Outcome::Discard(Failure::internal(error)),
        }
    }
}
