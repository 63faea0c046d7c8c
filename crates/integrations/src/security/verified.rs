//! Access tokens whose signature was verified already. Clients send the same token with each request for ten minutes, and
//! an Ed25519 signature takes longer to verify than everything else about a cached read together.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use convene_application::auth::crypto::{AccessClaims, MAX_ACCESS_TOKEN_SECONDS};
use moka::sync::Cache;

/// The most tokens that are remembered: about 3 MiB. Only tokens that this service signed get here.
const MOST: u64 = 10_000;

/// What is remembered of a token.
#[derive(Debug)]
pub(super) struct Known {
    /// The key that signed it. It is asked for each time, so a key that is removed takes its tokens along.
    pub(super) kid: String,
    pub(super) claims: AccessClaims,
}

/// Tokens by the digest of their text: a token itself is a secret, and is not kept.
#[derive(Debug)]
pub(super) struct Verified(Cache<[u8; 32], Arc<Known>>);

impl Default for Verified {
    fn default() -> Self {
        let life = u64::try_from(MAX_ACCESS_TOKEN_SECONDS).unwrap_or_default();
        Self(Cache::builder().max_capacity(MOST).time_to_live(Duration::from_secs(life)).build())
    }
}

impl Verified {
    /// The place of a token.
    pub(super) fn place(token: &str) -> [u8; 32] {
        let mut place = [0; 32];
        place.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        place
    }

    pub(super) fn get(&self, place: &[u8; 32]) -> Option<Arc<Known>> {
        self.0.get(place)
    }

    pub(super) fn put(&self, place: [u8; 32], kid: &str, claims: AccessClaims) {
        self.0.insert(place, Arc::new(Known { kid: kid.to_owned(), claims }));
    }
}
