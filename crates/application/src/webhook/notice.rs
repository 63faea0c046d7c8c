//! Mail about endpoints that fail.

use std::sync::Arc;

use async_trait::async_trait;
use convene_domain::ids::{CommunityId, UserId};

use super::jobs::MailFailing;
use super::ports::WebhookReads;
use crate::community::offers::Communities;
use crate::kernel::authz::Action;
use crate::kernel::error::Failure;
use crate::kernel::jobs::{LeasedJob, Outcome, RunJob};
use crate::kernel::mail::{MailError, Mailer, Message};
use crate::kernel::store::StoreError;
use crate::user::offers::{Contact, Directory};

/// Writes to people about endpoints that they made.
pub struct Notices {
    reads: Arc<dyn WebhookReads>,
    communities: Arc<dyn Communities>,
    directory: Arc<dyn Directory>,
    mailer: Arc<dyn Mailer>,
}

impl Notices {
    /// The notices over their ports.
    #[must_use]
    pub fn new(
        reads: Arc<dyn WebhookReads>,
        communities: Arc<dyn Communities>,
        directory: Arc<dyn Directory>,
        mailer: Arc<dyn Mailer>,
    ) -> Self {
        Self { reads, communities, directory, mailer }
    }

    /// How to reach somebody, unless the person may not see the endpoint any more: its URL can be a secret.
    async fn entitled(
        &self,
        community: CommunityId,
        user: UserId,
    ) -> Result<Option<Contact>, StoreError> {
        let standing = self.communities.standing(community, Some(user)).await?;
        if standing.is_some_and(|standing| standing.standing().may(Action::ManageWebhooks)) {
            self.directory.contact(user).await
        } else {
            Ok(None)
        }
    }

    async fn tell(&self, job: MailFailing, id: &str) -> Result<(), NoticeError> {
        let Some(endpoint) = self.reads.endpoint(job.community, job.webhook).await? else {
            return Ok(());
        };
        let Some(contact) = self.entitled(job.community, endpoint.created_by).await? else {
            return Ok(());
        };
        let url = endpoint.url.as_str().to_owned();
        let message = Message::WebhookFailing { url, disabled: job.disabled };
        Ok(self.mailer.send(id, &contact.email, &message).await?)
    }
}

#[async_trait]
impl RunJob<MailFailing> for Notices {
    async fn run(&self, job: MailFailing, lease: &LeasedJob) -> Outcome {
        match self.tell(job, &format!("{}-{}", job.webhook, lease.id)).await {
            Ok(()) => Outcome::Done,
            Err(NoticeError::Store(error)) => Outcome::Retry(error.into()),
            Err(NoticeError::Mail(error @ MailError::Transient(_))) => {
                Outcome::Retry(Failure::unavailable(error))
            }
            Err(NoticeError::Mail(error @ MailError::Permanent(_))) => {
                Outcome::Discard(Failure::internal(error))
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum NoticeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Mail(#[from] MailError),
}
