//! A webhook that is sent to see whether it arrives.

use bytes::Bytes;
use convene_contracts::WebhookBody;
use convene_contracts::webhook::WebhookTest;
use convene_domain::community::CommunityRef;
use convene_domain::ids::{DeliveryId, WebhookId};
use convene_domain::webhook::{DeliveryStatus, Endpoint};
use serde_json::json;
use uuid::Uuid;

use super::jobs::Drain;
use super::ports::{DeliveryView, FannedEvent, WebhookTx};
use super::service::WebhookService;
use crate::kernel::context::{Principal, RequestContext};
use crate::kernel::env::Env;
use crate::kernel::error::Failure;
use crate::kernel::events::public;
use crate::kernel::idempotency::{Idempotency, Reply};
use crate::kernel::uow;

impl WebhookService {
    /// Sends a `webhook.test` to an endpoint, whichever events it wants: a delivery like any other, with its attempts.
    /// Nothing is sent while the endpoint is disabled.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `community_archived`.
    pub async fn test(
        &self,
        context: &RequestContext,
        principal: Principal,
        community: &CommunityRef,
        webhook: WebhookId,
        idempotency: Option<Idempotency<DeliveryView>>,
    ) -> Result<Reply<DeliveryView>, Failure> {
        let community = self.managed(principal, community).await?;
        let mut tx = self.uow.begin(uow::claims(idempotency.as_ref())).await?;
        let locked = tx.lock_endpoint(community.id, webhook).await?;
        let endpoint = locked.ok_or_else(Failure::not_found)?;
        if let Some(reply) = uow::replay(&mut *tx, idempotency.as_ref())? {
            return Ok(reply);
        }
        community.ensure_writable()?;

        let view = send_test(&mut *tx, context, &self.env, &endpoint)?;
        tx.staged().reply(idempotency.as_ref(), &view);
        tx.commit().await?;
        Ok(Reply::Fresh(view))
    }
}

/// Stages the delivery of a test to a locked endpoint.
pub(super) fn send_test(
    tx: &mut dyn WebhookTx,
    context: &RequestContext,
    env: &Env,
    endpoint: &Endpoint,
) -> Result<DeliveryView, Failure> {
    let now = env.now();
    let (delivery, test): (DeliveryId, DeliveryId) = (env.id(now), env.id(now));
    let event_id: Uuid = convene_domain::ids::TypedId::uuid(test);
    let body = WebhookBody {
        id: event_id,
        r#type: WebhookTest::TYPE.to_owned(),
        version: WebhookTest::VERSION,
        timestamp: now.into(),
        data: WebhookTest {
            community_id: public(endpoint.community),
            webhook_id: public(endpoint.id),
        },
    };
    let body = Bytes::from(serde_json::to_vec(&body).map_err(Failure::internal)?);
    let event = FannedEvent {
        id: event_id,
        event_type: WebhookTest::TYPE.to_owned(),
        body,
        at: now,
        traceparent: context.traceparent.clone(),
    };
    tx.insert_deliveries(event, vec![(delivery, endpoint.id)]);
    let staged = tx.staged();
    let drain = Drain { webhook: endpoint.id }.job(endpoint.community);
    staged.jobs.push(drain.caused_by(context));
    staged.audit(context, Some(endpoint.community), "webhook.test", delivery, json!({}));
    Ok(DeliveryView {
        id: delivery,
        event_id,
        event_type: WebhookTest::TYPE.to_owned(),
        status: DeliveryStatus::Pending,
        attempts: Vec::new(),
        in_flight: false,
        created_at: now,
    })
}
