//! The use cases of endpoints and their deliveries. All are for a community's owner and admins.

use std::sync::Arc;

use convene_domain::community::CommunityRef;
use convene_domain::ids::{CommunityId, DeliveryId, WebhookId};
use convene_domain::webhook::{CustomHeaders, DeliveryStatus, Endpoint, EndpointPatch};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde_json::json;

use super::egress::{UrlPolicy, WebhookSigner};
use super::input::{EndpointChange, EndpointInput, HeadersChange, merged};
use super::jobs::Drain;
use super::ports::{DeliveryView, EndpointStats, WebhookReads, WebhookTx};
use super::secret;
use crate::community::offers::{Communities, CommunityStanding};
use crate::kernel::authz::Action;
use crate::kernel::context::{Principal, RequestContext};
use crate::kernel::env::Env;
use crate::kernel::error::{Checked, Failure};
use crate::kernel::idempotency::{Idempotency, Reply};
use crate::kernel::page::{Page, PageQuery};
use crate::kernel::precondition::IfMatch;
use crate::kernel::secrets::Sealer;
use crate::kernel::uow::{self, Uow};

/// Of how long ago the deliveries are that figures tell of.
const STATS_WINDOW: SignedDuration = SignedDuration::from_hours(24);
/// The most deliveries that figures tell of, so that asking stays cheap.
pub const STATS_LIMIT: u32 = 10_000;

/// The use cases of endpoints and their deliveries. Cheap to clone.
#[derive(Clone)]
pub struct WebhookService {
    pub(super) env: Env,
    pub(super) uow: Uow<dyn WebhookTx>,
    pub(super) reads: Arc<dyn WebhookReads>,
    communities: Arc<dyn Communities>,
    policy: Arc<dyn UrlPolicy>,
    pub(super) signer: Arc<dyn WebhookSigner>,
    pub(super) sealer: Arc<dyn Sealer>,
}

/// A new endpoint with its secret, which is shown this once.
#[derive(Clone, Debug)]
pub struct CreatedEndpoint {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// What its webhooks are verified with: `whsec_…`, or the public key `whpk_…`.
    pub secret: SecretString,
}

impl WebhookService {
    /// The service over its ports.
    #[must_use]
    pub fn new(
        env: Env,
        uow: Uow<dyn WebhookTx>,
        reads: Arc<dyn WebhookReads>,
        communities: Arc<dyn Communities>,
        policy: Arc<dyn UrlPolicy>,
        signer: Arc<dyn WebhookSigner>,
        sealer: Arc<dyn Sealer>,
    ) -> Self {
        Self { env, uow, reads, communities, policy, signer, sealer }
    }

    /// Makes an endpoint. It gets the events that are recorded from now on. The stored reply of an idempotent request is
    /// sealed, since it holds the secret.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, the input's own mistakes, `url_refused`, `community_archived`.
    pub async fn create(
        &self,
        context: &RequestContext,
        principal: Principal,
        community: &CommunityRef,
        input: Checked<EndpointInput>,
        idempotency: Option<Idempotency<CreatedEndpoint>>,
    ) -> Result<Reply<CreatedEndpoint>, Failure> {
        let community = self.managed(principal, community).await?;
        let mut tx = self.uow.begin(uow::claims(idempotency.as_ref())).await?;
        if idempotency.is_some() {
            tx.open().await?;
        }
        if let Some(reply) = self.replay_sealed(&mut *tx, idempotency.as_ref())? {
            return Ok(reply);
        }
        let input = input?;
        let (scheme, rate_limit) = (input.signature, input.rate_limit);
        let (input, headers) = input.check(&*self.policy)?;
        community.ensure_writable()?;

        let now = self.env.now();
        let keys = self.signer.new_keys(scheme);
        let endpoint = Endpoint {
            signature: keys.signature.clone(),
            header_names: headers.names(),
            rate_limit,
            ..Endpoint::new(self.env.id(now), community.id, principal.user, input, now)
        };
        tx.insert_endpoint(&endpoint, secret::seal(&*self.sealer, &keys.secret));
        if let Some(sealed) = secret::seal_headers(&*self.sealer, &headers) {
            tx.set_headers(endpoint.id, Some(sealed));
        }

        let created = CreatedEndpoint { endpoint, secret: keys.verifier() };
        let endpoint = &created.endpoint;
        let staged = tx.staged();
        let facts = json!({ "event_types": endpoint.event_types.as_slice() });
        staged.audit(context, Some(community.id), "webhook.create", endpoint.id, facts);
        staged.reply(idempotency.as_ref(), &created);
        secret::seal_replies(&*self.sealer, staged);
        tx.commit().await?;
        Ok(Reply::Fresh(created))
    }

    /// An endpoint.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn get(
        &self,
        principal: Principal,
        community: &CommunityRef,
        webhook: WebhookId,
    ) -> Result<Endpoint, Failure> {
        let community = self.managed(principal, community).await?;
        self.reads.endpoint(community.id, webhook).await?.ok_or_else(Failure::not_found)
    }

    /// Endpoints of a community, newest first.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, mistakes of the query.
    pub async fn list(
        &self,
        principal: Principal,
        community: &CommunityRef,
        query: Checked<PageQuery>,
    ) -> Result<Page<Endpoint>, Failure> {
        let community = self.managed(principal, community).await?;
        Ok(self.reads.endpoints(community.id, query?).await?)
    }

    /// Changes an endpoint. One that is enabled again is sent what was kept for it.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `precondition_required`, `precondition_failed`, the input's own mistakes, `url_refused`,
    /// `community_archived`.
    pub async fn update(
        &self,
        context: &RequestContext,
        principal: Principal,
        community: &CommunityRef,
        webhook: WebhookId,
        change: Checked<EndpointChange>,
        if_match: &IfMatch<Endpoint>,
        idempotency: Option<Idempotency<Endpoint>>,
    ) -> Result<Reply<Endpoint>, Failure> {
        let community = self.managed(principal, community).await?;
        let mut tx = self.uow.begin(uow::claims(idempotency.as_ref())).await?;
        let locked = tx.lock_endpoint(community.id, webhook).await?;
        let current = locked.ok_or_else(Failure::not_found)?;
        if let Some(reply) = uow::replay(&mut *tx, idempotency.as_ref())? {
            return Ok(reply);
        }
        if_match.check(&current)?;
        let mut change = change?;
        let headers = std::mem::take(&mut change.headers);
        let mut patch = change.check(&*self.policy)?;
        let headers = self.changed_headers(&mut *tx, webhook, headers).await?;
        community.ensure_writable()?;
        if let Some(headers) = headers {
            patch.header_names = Some(headers.names());
            tx.set_headers(webhook, secret::seal_headers(&*self.sealer, &headers));
        }

        let outcome = change_endpoint(&mut *tx, context, current, patch, self.env.now());
        tx.staged().reply(idempotency.as_ref(), &outcome);
        tx.commit().await?;
        Ok(Reply::Fresh(outcome))
    }

    /// Deletes an endpoint, and by a job what was to be sent to it.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `precondition_required`, `precondition_failed`, `community_archived`.
    pub async fn delete(
        &self,
        context: &RequestContext,
        principal: Principal,
        community: &CommunityRef,
        webhook: WebhookId,
        if_match: &IfMatch<Endpoint>,
        idempotency: Option<Idempotency<()>>,
    ) -> Result<Reply<()>, Failure> {
        let community = self.managed(principal, community).await?;
        let mut tx = self.uow.begin(uow::claims(idempotency.as_ref())).await?;
        let locked = tx.lock_endpoint(community.id, webhook).await?;
        // A deleted endpoint is absent to everybody but to the request that deleted it.
        if let Some(reply) = uow::replay(&mut *tx, idempotency.as_ref())? {
            return Ok(reply);
        }
        let current = locked.ok_or_else(Failure::not_found)?;
        if_match.check(&current)?;
        community.ensure_writable()?;

        tx.delete_endpoint(webhook);
        let staged = tx.staged();
        staged.jobs.push(Drain { webhook }.job(community.id).caused_by(context));
        staged.audit(context, Some(community.id), "webhook.delete", webhook, json!({}));
        staged.reply(idempotency.as_ref(), &());
        tx.commit().await?;
        Ok(Reply::Fresh(()))
    }

    /// Deliveries to an endpoint, newest first, with their attempts.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, mistakes of the query.
    pub async fn deliveries(
        &self,
        principal: Principal,
        community: &CommunityRef,
        webhook: WebhookId,
        query: Checked<PageQuery>,
    ) -> Result<Page<DeliveryView>, Failure> {
        let community = self.managed(principal, community).await?;
        // Whether the endpoint exists comes before mistakes of the query.
        match query {
            Ok(query) => self.reads.deliveries(community.id, webhook, query).await?,
            Err(mistake) => self
                .reads
                .endpoint(community.id, webhook)
                .await?
                .map(|_| Err(mistake))
                .transpose()?,
        }
        .ok_or_else(Failure::not_found)
    }

    /// How the deliveries of the last day have fared, the newest [`STATS_LIMIT`] of them.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn stats(
        &self,
        principal: Principal,
        community: &CommunityRef,
        webhook: WebhookId,
    ) -> Result<(Timestamp, EndpointStats), Failure> {
        let community = self.managed(principal, community).await?;
        let since = self.env.now() - STATS_WINDOW;
        let stats = self.reads.stats(community.id, webhook, since, STATS_LIMIT).await?;
        Ok((since, stats.ok_or_else(Failure::not_found)?))
    }

    /// Sends a delivery again, under the same id. One that has ended begins a new schedule, one that waits is due at once,
    /// and one that is on its way stays as it is. Nothing is sent while the endpoint is disabled.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `community_archived`.
    pub async fn resend(
        &self,
        context: &RequestContext,
        principal: Principal,
        community: &CommunityRef,
        webhook: WebhookId,
        delivery: DeliveryId,
        idempotency: Option<Idempotency<DeliveryView>>,
    ) -> Result<Reply<DeliveryView>, Failure> {
        let community = self.managed(principal, community).await?;
        let mut tx = self.uow.begin(uow::claims(idempotency.as_ref())).await?;
        let locked = tx.lock_delivery(community.id, webhook, delivery).await?;
        let view = locked.ok_or_else(Failure::not_found)?;
        if let Some(reply) = uow::replay(&mut *tx, idempotency.as_ref())? {
            return Ok(reply);
        }
        community.ensure_writable()?;

        let place = (community.id, webhook);
        let view = send_again(&mut *tx, context, place, view, self.env.now());
        tx.staged().reply(idempotency.as_ref(), &view);
        tx.commit().await?;
        Ok(Reply::Fresh(view))
    }

    /// The header fields of a locked endpoint as they will be; none if nothing changes.
    async fn changed_headers(
        &self,
        tx: &mut dyn WebhookTx,
        webhook: WebhookId,
        change: HeadersChange,
    ) -> Result<Option<CustomHeaders>, Failure> {
        match change {
            HeadersChange::Keep => Ok(None),
            HeadersChange::Merge(changes) if changes.is_empty() => Ok(None),
            HeadersChange::Clear => Ok(Some(CustomHeaders::default())),
            HeadersChange::Merge(changes) => {
                let sealed = tx.headers(webhook).await?;
                let headers = secret::open_headers(&*self.sealer, sealed.as_deref());
                let headers = headers.map_err(Failure::internal)?;
                let merged = merged(&headers, changes)?;
                Ok((merged != headers).then_some(merged))
            }
        }
    }

    /// The community, for somebody who may manage its webhooks.
    pub(super) async fn managed(
        &self,
        principal: Principal,
        community: &CommunityRef,
    ) -> Result<CommunityStanding, Failure> {
        let found = self.communities.find(community, Some(principal.user)).await?;
        let community =
            found.filter(CommunityStanding::is_visible).ok_or_else(Failure::not_found)?;
        community.standing().require(Action::ManageWebhooks)?;
        Ok(community)
    }

    /// The stored reply of an idempotent request that shows a secret.
    pub(super) fn replay_sealed<T>(
        &self,
        tx: &mut dyn WebhookTx,
        idempotency: Option<&Idempotency<T>>,
    ) -> Result<Option<Reply<T>>, Failure> {
        let reply = match uow::replay(tx, idempotency)? {
            Some(Reply::Replayed(sealed)) => secret::open_reply(&*self.sealer, sealed),
            other => return Ok(other),
        };
        reply.map(|reply| Some(Reply::Replayed(reply))).map_err(Failure::internal)
    }
}

/// Stages the changes of a locked endpoint, if they change anything, and returns it as it is then.
pub(super) fn change_endpoint(
    tx: &mut dyn WebhookTx,
    context: &RequestContext,
    current: Endpoint,
    patch: EndpointPatch,
    now: Timestamp,
) -> Endpoint {
    let headers = patch.header_names.is_some();
    let Some(patched) = current.patched(patch, now) else { return current };
    tx.update_endpoint(&patched);
    let staged = tx.staged();
    if patched.is_enabled() {
        let drain = Drain { webhook: patched.id }.job(patched.community);
        staged.jobs.push(drain.caused_by(context));
    }
    let facts = json!({ "fields": differing(&current, &patched, headers) });
    staged.audit(context, Some(patched.community), "webhook.update", patched.id, facts);
    patched
}

/// Stages that a locked delivery is sent again, unless it is on its way, and returns it as it is then.
pub(super) fn send_again(
    tx: &mut dyn WebhookTx,
    context: &RequestContext,
    (community, webhook): (CommunityId, WebhookId),
    mut view: DeliveryView,
    now: Timestamp,
) -> DeliveryView {
    if !view.in_flight {
        let ended = view.status != DeliveryStatus::Pending;
        tx.requeue_delivery(view.id, now, ended);
        view.status = DeliveryStatus::Pending;
        tx.staged().jobs.push(Drain { webhook }.job(community).caused_by(context));
    }
    tx.staged().audit(context, Some(community), "webhook.resend", view.id, json!({}));
    view
}

/// The names of the fields that differ. Their values stay out of the audit log: a URL can be a secret.
fn differing(before: &Endpoint, after: &Endpoint, headers: bool) -> Vec<&'static str> {
    [
        ("url", before.url != after.url),
        ("event_types", before.event_types != after.event_types),
        ("description", before.description != after.description),
        ("status", before.status != after.status),
        ("headers", headers),
        ("rate_limit", before.rate_limit != after.rate_limit),
    ]
    .into_iter()
    .filter_map(|(field, differs)| differs.then_some(field))
    .collect()
}
