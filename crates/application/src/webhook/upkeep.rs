//! Endpoints' secrets under another envelope key.

use async_trait::async_trait;
use convene_domain::ids::WebhookId;

use super::secret::{HEADERS, SECRET};
use crate::kernel::secrets::{Resealed, Sealer};
use crate::kernel::store::StoreError;

/// The most endpoints of one read.
const BATCH: u32 = 500;

/// Where something sealed of an endpoint lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealedPlace {
    /// The secret in force.
    Secret(WebhookId),
    /// The header fields.
    Headers(WebhookId),
    /// A secret of before, by its number.
    Previous(i64),
}

impl SealedPlace {
    const fn purpose(self) -> &'static str {
        match self {
            Self::Secret(_) | Self::Previous(_) => SECRET,
            Self::Headers(_) => HEADERS,
        }
    }
}

/// What is sealed of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedEndpoint {
    /// The endpoint.
    pub webhook: WebhookId,
    /// Everything, with where it lies.
    pub values: Vec<(SealedPlace, Vec<u8>)>,
}

/// The secrets of all endpoints at rest.
#[async_trait]
pub trait SecretUpkeep: Send + Sync {
    /// What is sealed of endpoints behind this one, by id.
    ///
    /// # Errors
    /// The store's.
    async fn secrets_after(
        &self,
        after: Option<WebhookId>,
        limit: u32,
    ) -> Result<Vec<SealedEndpoint>, StoreError>;

    /// Puts a newly sealed value in the place of this one, unless that has changed meanwhile.
    ///
    /// # Errors
    /// The store's.
    async fn replace_sealed(
        &self,
        place: SealedPlace,
        old: Vec<u8>,
        new: Vec<u8>,
    ) -> Result<(), StoreError>;
}

/// Seals again what is under an envelope key of before; with `dry_run` counts it. The secrets themselves stay as they are.
///
/// # Errors
/// The store's.
pub async fn reseal_secrets(
    store: &dyn SecretUpkeep,
    sealer: &dyn Sealer,
    dry_run: bool,
) -> Result<Resealed, StoreError> {
    let mut outcome = Resealed::default();
    let mut after = None;
    loop {
        let endpoints = store.secrets_after(after, BATCH).await?;
        let Some(last) = endpoints.last() else { return Ok(outcome) };
        after = Some(last.webhook);
        for (place, old) in endpoints.into_iter().flat_map(|endpoint| endpoint.values) {
            match sealer.reseal(place.purpose(), &old) {
                Ok(None) => outcome.current += 1,
                Ok(Some(new)) => {
                    if !dry_run {
                        store.replace_sealed(place, old, new).await?;
                    }
                    outcome.changed += 1;
                }
                Err(_) => outcome.lost += 1,
            }
        }
    }
}
