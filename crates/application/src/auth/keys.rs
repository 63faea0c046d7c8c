//! What operators do about keys: the keys that sign access tokens, and what is stored under the envelope key.

use std::sync::Arc;

use async_trait::async_trait;
use convene_domain::ids::UserId;
use jiff::{SignedDuration, Timestamp};

use super::crypto::{ANNOUNCED_SECONDS, SigningKey, SigningKeyStore};
use super::ports::AccountKey;
use super::service::ACCOUNT_PURPOSE;
use crate::kernel::context::RequestContext;
use crate::kernel::secrets::{Digester, Resealed, SIGNING_KEY_PURPOSE, Sealer};
use crate::kernel::store::StoreError;

/// The most accounts of one statement.
const BATCH: u32 = 500;

/// What operators change about keys at rest.
#[async_trait]
pub trait KeyUpkeep: SigningKeyStore {
    /// Stores a key, retires those in force at the moment when it begins, and those that are named as if they had never
    /// been; leaves an audit entry. Returns how many were retired.
    ///
    /// # Errors
    /// The store's; nothing is changed then.
    async fn rotate(
        &self,
        context: &RequestContext,
        key: SigningKey,
        distrusted: Option<String>,
    ) -> Result<usize, StoreError>;

    /// Puts a newly sealed private key in the place of this one; `false` if it is no longer there.
    ///
    /// # Errors
    /// The store's.
    async fn replace_private(
        &self,
        kid: &str,
        old: Vec<u8>,
        new: Vec<u8>,
    ) -> Result<bool, StoreError>;

    /// Accounts behind this one, by id.
    ///
    /// # Errors
    /// The store's.
    async fn accounts_after(
        &self,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<KeyedAccount>, StoreError>;

    /// Gives accounts other keys, and what was counted under the old ones to the new ones.
    ///
    /// # Errors
    /// The store's; nothing is changed then.
    async fn rekey_accounts(&self, changes: Vec<Rekeyed>) -> Result<(), StoreError>;
}

/// An account with the digest of its address.
#[derive(Clone, Debug)]
pub struct KeyedAccount {
    /// Whose it is.
    pub user: UserId,
    /// The normalised address.
    pub address: String,
    /// Its digest as stored.
    pub account: AccountKey,
}

/// An account whose digest is another under the current key.
#[derive(Clone, Debug)]
pub struct Rekeyed {
    /// Whose it is.
    pub user: UserId,
    /// As stored.
    pub old: AccountKey,
    /// As it is to be.
    pub new: AccountKey,
}

/// Looks after keys at rest.
pub struct KeyOperator {
    store: Arc<dyn KeyUpkeep>,
    sealer: Arc<dyn Sealer>,
    digester: Arc<dyn Digester>,
}

impl KeyOperator {
    /// The operator over its ports.
    #[must_use]
    pub fn new(
        store: Arc<dyn KeyUpkeep>,
        sealer: Arc<dyn Sealer>,
        digester: Arc<dyn Digester>,
    ) -> Self {
        Self { store, sealer, digester }
    }

    /// When a key that is made now begins to sign: after it was shown for a while, or at once.
    #[must_use]
    pub fn begins(now: Timestamp, at_once: bool) -> Timestamp {
        if at_once { now } else { now + SignedDuration::from_secs(ANNOUNCED_SECONDS) }
    }

    /// All signing keys, the newest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(&self) -> Result<Vec<SigningKey>, StoreError> {
        let mut keys = self.store.load().await?;
        keys.sort_by_key(|key| std::cmp::Reverse(key.created_at));
        Ok(keys)
    }

    /// Puts a key in force from the time at which it begins, in the place of all others.
    ///
    /// # Errors
    /// The store's.
    pub async fn rotate(
        &self,
        context: &RequestContext,
        key: SigningKey,
        distrusted: Option<String>,
    ) -> Result<usize, StoreError> {
        self.store.rotate(context, key, distrusted).await
    }

    /// Seals the private signing keys again that are under an envelope key of before; with `dry_run` counts them.
    ///
    /// # Errors
    /// The store's.
    pub async fn reseal_signing_keys(&self, dry_run: bool) -> Result<Resealed, StoreError> {
        let mut outcome = Resealed::default();
        for key in self.store.load().await? {
            match self.sealer.reseal(SIGNING_KEY_PURPOSE, &key.sealed_private) {
                Ok(None) => outcome.current += 1,
                Ok(Some(sealed)) => {
                    if !dry_run {
                        self.store.replace_private(&key.kid, key.sealed_private, sealed).await?;
                    }
                    outcome.changed += 1;
                }
                Err(_) => outcome.lost += 1,
            }
        }
        Ok(outcome)
    }

    /// Digests the addresses of accounts again: failed logins are counted by that digest, and the counts move along. With
    /// `dry_run` it counts the accounts.
    ///
    /// # Errors
    /// The store's.
    pub async fn rekey_accounts(&self, dry_run: bool) -> Result<Resealed, StoreError> {
        let mut outcome = Resealed::default();
        let mut after = None;
        loop {
            let accounts = self.store.accounts_after(after, BATCH).await?;
            let Some(last) = accounts.last() else { return Ok(outcome) };
            after = Some(last.user);
            let all = accounts.len();
            let changes: Vec<Rekeyed> = accounts
                .into_iter()
                .map(|KeyedAccount { user, address, account: old }| {
                    let new = AccountKey(self.digester.mac(ACCOUNT_PURPOSE, address.as_bytes()));
                    Rekeyed { user, old, new }
                })
                .filter(|change| change.old != change.new)
                .collect();
            outcome.changed += changes.len();
            outcome.current += all - changes.len();
            if !dry_run && !changes.is_empty() {
                self.store.rekey_accounts(changes).await?;
            }
        }
    }
}
