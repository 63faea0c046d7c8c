//! Webhooks to whoever develops a receiver: signed and sent like any other, but to a place of their own, and to be seen at
//! once. Nothing is stored and nothing is sent again.

use std::sync::Arc;

use convene_domain::ids::DeliveryId;
use convene_domain::webhook::SignatureScheme;
use secrecy::{ExposeSecret as _, SecretString};

use super::egress::{Attempted, SignedRequest, SigningKeys, WebhookSender, WebhookSigner};
use super::fanout::Opened;
use crate::kernel::env::Env;
use crate::kernel::error::Failure;
use crate::kernel::events::LoggedEvent;

/// Forwards events to one URL, under keys that live as long as it does.
pub struct Forwarder {
    env: Env,
    sender: Arc<dyn WebhookSender>,
    signer: Arc<dyn WebhookSigner>,
    keys: SigningKeys,
    url: String,
}

/// An event that was forwarded, and what came back.
#[derive(Clone, Debug)]
pub struct Forwarded {
    /// What `webhook-id` said.
    pub delivery: DeliveryId,
    /// What came back.
    pub attempted: Attempted,
}

impl Forwarder {
    /// A forwarder with new keys of that scheme.
    #[must_use]
    pub fn new(
        env: Env,
        sender: Arc<dyn WebhookSender>,
        signer: Arc<dyn WebhookSigner>,
        scheme: SignatureScheme,
        url: String,
    ) -> Self {
        let keys = signer.new_keys(scheme);
        Self { env, sender, signer, keys, url }
    }

    /// What verifies what is forwarded.
    #[must_use]
    pub fn verifier(&self) -> SecretString {
        self.keys.verifier()
    }

    /// Forwards an event; `None` if it is of no community, or larger than a webhook may be: no webhook tells of
    /// those.
    ///
    /// # Errors
    /// An event that is none.
    pub async fn forward(&self, event: &LoggedEvent) -> Result<Option<Forwarded>, Failure> {
        let Some(opened) = Opened::read(event) else { return Ok(None) };
        let now = self.env.now();
        let Some(fanned) = opened?.fanned(now)? else { return Ok(None) };
        let delivery: DeliveryId = self.env.id(now);
        let (id, timestamp) = (delivery.to_string(), now.as_second());
        let signature = self
            .signer
            .sign(self.keys.secret.expose_secret(), &id, timestamp, &fanned.body)
            .map_err(Failure::internal)?;
        let mut headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("webhook-id".to_owned(), id),
            ("webhook-timestamp".to_owned(), timestamp.to_string()),
            ("webhook-signature".to_owned(), signature),
        ];
        headers.extend(fanned.traceparent.map(|context| ("traceparent".to_owned(), context)));
        let request = SignedRequest { url: self.url.clone(), headers, body: fanned.body };
        Ok(Some(Forwarded { delivery, attempted: self.sender.post(request).await }))
    }
}
