//! Name resolution that hands out vetted addresses alone.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::Reach;

/// Resolves names to addresses.
#[async_trait]
pub trait Lookup: Send + Sync {
    /// All addresses of a name.
    ///
    /// # Errors
    /// When the name has none, or nobody could be asked.
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The machine's resolver (`getaddrinfo`).
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let addresses = tokio::net::lookup_host((name, 0)).await?;
        Ok(addresses.map(|address| address.ip()).collect())
    }
}

/// A name that resolves to an address out of reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name resolves to an address that must not be reached")]
pub(super) struct AddressRefused;

/// Asks a [`Lookup`] and vets the answer. The connector gets these addresses and resolves nothing itself, so an answer
/// that changes afterwards (DNS rebinding) changes nothing.
pub(super) struct VettingResolver {
    lookup: Arc<dyn Lookup>,
    reach: Reach,
}

impl VettingResolver {
    pub(super) fn new(lookup: Arc<dyn Lookup>, reach: Reach) -> Self {
        Self { lookup, reach }
    }
}

impl Resolve for VettingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookup, reach) = (Arc::clone(&self.lookup), self.reach);
        Box::pin(async move {
            let addresses = lookup.lookup(name.as_str()).await?;
            // One bad address spoils the name: no honest one has public and private addresses at once.
            if !addresses.iter().all(|address| reach.covers(*address)) {
                return Err(AddressRefused.into());
            }
            // The connector replaces port 0 by that of the URL.
            let vetted: Addrs =
                Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(vetted)
        })
    }
}
