//! Webhooks in an operator's hands: those of all communities, without a membership.

use std::sync::Arc;

use convene_domain::ids::{CommunityId, DeliveryId, WebhookId};
use convene_domain::webhook::{DeliveryStatus, Endpoint, EndpointPatch, EndpointStatus};

use super::ports::{DeliveryView, Replay, WebhookDirectory, WebhookTx};
use super::replay::{self, ReplayInput};
use super::service::{change_endpoint, send_again};
use super::trial::send_test;
use crate::kernel::context::RequestContext;
use crate::kernel::env::Env;
use crate::kernel::error::{Code, Failure};
use crate::kernel::uow::Uow;

/// What operators ask about webhooks and do to them. What they do is in the log of the endpoint's community.
#[derive(Clone)]
pub struct WebhookOperator {
    env: Env,
    uow: Uow<dyn WebhookTx>,
    directory: Arc<dyn WebhookDirectory>,
}

impl WebhookOperator {
    /// The use cases over their ports.
    #[must_use]
    pub fn new(env: Env, uow: Uow<dyn WebhookTx>, directory: Arc<dyn WebhookDirectory>) -> Self {
        Self { env, uow, directory }
    }

    /// Endpoints of a community, or of all, newest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(
        &self,
        community: Option<CommunityId>,
        limit: u32,
    ) -> Result<Vec<Endpoint>, Failure> {
        Ok(self.directory.all_endpoints(community, limit).await?)
    }

    /// Deliveries to an endpoint, in one status or any, newest first.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn deliveries(
        &self,
        webhook: WebhookId,
        status: Option<DeliveryStatus>,
        limit: u32,
    ) -> Result<Vec<DeliveryView>, Failure> {
        self.existing(webhook).await?;
        Ok(self.directory.all_deliveries(webhook, status, limit).await?)
    }

    /// Sends a delivery again, under the same id. One that is on its way stays as it is.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn resend(
        &self,
        context: &RequestContext,
        delivery: DeliveryId,
    ) -> Result<(Endpoint, DeliveryView), Failure> {
        let absent = || Failure::new(Code::NotFound, format!("There is no delivery {delivery}."));
        let endpoint = self.directory.endpoint_of(delivery).await?.ok_or_else(absent)?;
        let place = (endpoint.community, endpoint.id);
        let mut tx = self.uow.begin(Vec::new()).await?;
        let locked = tx.lock_delivery(place.0, place.1, delivery).await?.ok_or_else(absent)?;
        let view = send_again(&mut *tx, context, place, locked, self.env.now());
        tx.commit().await?;
        Ok((endpoint, view))
    }

    /// Enables or disables an endpoint. One that is enabled again is sent what was kept for it.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn set_status(
        &self,
        context: &RequestContext,
        webhook: WebhookId,
        status: EndpointStatus,
    ) -> Result<Endpoint, Failure> {
        let community = self.existing(webhook).await?.community;
        let mut tx = self.uow.begin(Vec::new()).await?;
        let locked = tx.lock_endpoint(community, webhook).await?;
        let current = locked.ok_or_else(|| no_such_endpoint(webhook))?;
        let patch = EndpointPatch { status: Some(status), ..EndpointPatch::default() };
        let endpoint = change_endpoint(&mut *tx, context, current, patch, self.env.now());
        tx.commit().await?;
        Ok(endpoint)
    }

    /// Begins to send many deliveries again; a worker carries it out.
    ///
    /// # Errors
    /// `not_found`, `validation_failed` without a time where one is needed.
    pub async fn replay(
        &self,
        context: &RequestContext,
        webhook: WebhookId,
        input: ReplayInput,
    ) -> Result<(Endpoint, Replay), Failure> {
        let community = self.existing(webhook).await?.community;
        let mut tx = self.uow.begin(Vec::new()).await?;
        let locked = tx.lock_endpoint(community, webhook).await?;
        let endpoint = locked.ok_or_else(|| no_such_endpoint(webhook))?;
        let since = replay::since(input, &endpoint)?;
        let replay = replay::begin(&mut *tx, context, &self.env, &endpoint, since);
        tx.commit().await?;
        Ok((endpoint, replay))
    }

    /// Sends a `webhook.test` to an endpoint.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn test(
        &self,
        context: &RequestContext,
        webhook: WebhookId,
    ) -> Result<(Endpoint, DeliveryView), Failure> {
        let community = self.existing(webhook).await?.community;
        let mut tx = self.uow.begin(Vec::new()).await?;
        let locked = tx.lock_endpoint(community, webhook).await?;
        let endpoint = locked.ok_or_else(|| no_such_endpoint(webhook))?;
        let view = send_test(&mut *tx, context, &self.env, &endpoint)?;
        tx.commit().await?;
        Ok((endpoint, view))
    }

    async fn existing(&self, webhook: WebhookId) -> Result<Endpoint, Failure> {
        let found = self.directory.find_endpoint(webhook).await?;
        found.ok_or_else(|| no_such_endpoint(webhook))
    }
}

fn no_such_endpoint(webhook: WebhookId) -> Failure {
    Failure::new(Code::NotFound, format!("There is no webhook endpoint {webhook}."))
}
