//! Other secrets for endpoints, while webhooks go out.

use convene_domain::community::CommunityRef;
use convene_domain::ids::WebhookId;
use convene_domain::webhook::Endpoint;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::json;

use super::input::Rotation;
use super::secret;
use super::service::WebhookService;
use crate::kernel::context::{Principal, RequestContext};
use crate::kernel::error::{Checked, Failure};
use crate::kernel::idempotency::{Idempotency, Reply};
use crate::kernel::uow;

/// An endpoint with its new secret, which is shown this once.
#[derive(Clone, Debug)]
pub struct RotatedEndpoint {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// What its webhooks are verified with from now on: `whsec_…`, or the public key `whpk_…`.
    pub secret: SecretString,
    /// Until when the secret of before signs beside it; none if it ended at once.
    pub previous_until: Option<Timestamp>,
}

impl WebhookService {
    /// Replaces the secret of an endpoint. Until the overlap ends webhooks carry a signature by each, so that receivers
    /// can be changed over in their own time. The stored reply of an idempotent request is sealed, since it holds the
    /// secret.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, the input's own mistakes, `community_archived`.
    pub async fn rotate_secret(
        &self,
        context: &RequestContext,
        principal: Principal,
        community: &CommunityRef,
        webhook: WebhookId,
        rotation: Checked<Rotation>,
        idempotency: Option<Idempotency<RotatedEndpoint>>,
    ) -> Result<Reply<RotatedEndpoint>, Failure> {
        let community = self.managed(principal, community).await?;
        let mut tx = self.uow.begin(uow::claims(idempotency.as_ref())).await?;
        let locked = tx.lock_endpoint(community.id, webhook).await?;
        let current = locked.ok_or_else(Failure::not_found)?;
        if let Some(reply) = self.replay_sealed(&mut *tx, idempotency.as_ref())? {
            return Ok(reply);
        }
        let Rotation { overlap, signature } = rotation?;
        community.ensure_writable()?;

        let now = self.env.now();
        let keys = self.signer.new_keys(signature.unwrap_or(current.signature.scheme()));
        let endpoint = current.rotated(keys.signature.clone(), now);
        let previous_until = overlap.duration().map(|duration| now + duration);
        tx.replace_secret(webhook, secret::seal(&*self.sealer, &keys.secret), previous_until);
        tx.update_endpoint(&endpoint);

        let rotated = RotatedEndpoint { endpoint, secret: keys.verifier(), previous_until };
        let staged = tx.staged();
        let facts = json!({
            "signature": rotated.endpoint.signature.scheme().as_str(),
            "overlap_hours": overlap.as_hours(),
        });
        staged.audit(context, Some(community.id), "webhook.rotate_secret", webhook, facts);
        staged.reply(idempotency.as_ref(), &rotated);
        secret::seal_replies(&*self.sealer, staged);
        tx.commit().await?;
        Ok(Reply::Fresh(rotated))
    }
}
