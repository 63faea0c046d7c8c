//! The signing keys in memory, loaded from where all processes share them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use convene_application::auth::crypto::{
    KeyringError, MAX_ACCESS_TOKEN_SECONDS, SigningKey, SigningKeyStore,
};
use convene_application::kernel::secrets::{SIGNING_KEY_PURPOSE, Sealer};
use convene_application::kernel::store::StoreError;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde_json::json;
use zeroize::Zeroizing;

/// The least time between two loads that unknown keys cause: anybody can send a token that names one.
const REFETCH_INTERVAL: SignedDuration = SignedDuration::from_secs(30);
/// How long a retired key still verifies: as long as the last token it signed, and the time until every process has
/// noticed that it is retired.
const OVERLAP: SignedDuration = SignedDuration::from_secs(MAX_ACCESS_TOKEN_SECONDS + 5 * 60);

/// Keeps the signing keys and swaps them as a whole, so that a reader sees either the old ones or the new.
pub struct Keyring {
    store: Arc<dyn SigningKeyStore>,
    sealer: Arc<dyn Sealer>,
    keys: RwLock<Arc<Keys>>,
    last_refetch: Mutex<Option<Timestamp>>,
}

/// The keys of one load.
#[derive(Default)]
pub(super) struct Keys {
    /// The newest that is not retired, if any could be opened.
    pub(super) signing: Option<PrivateKey>,
    verifying: HashMap<String, PublicKey>,
}

pub(super) struct PrivateKey {
    pub(super) kid: String,
    pub(super) key: EncodingKey,
}

pub(super) struct PublicKey {
    pub(super) key: DecodingKey,
    x: String,
    until: Option<Timestamp>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys = self.keys();
        f.debug_struct("Keyring")
            .field("signing", &keys.signing.as_ref().map(|key| &key.kid))
            .field("verifying", &keys.verifying.len())
            .finish_non_exhaustive()
    }
}

impl Keyring {
    /// A keyring without keys: call [`Keyring::refresh`] before use, and now and then to notice rotation.
    #[must_use]
    pub fn new(store: Arc<dyn SigningKeyStore>, sealer: Arc<dyn Sealer>) -> Self {
        Self { store, sealer, keys: RwLock::default(), last_refetch: Mutex::default() }
    }

    /// Loads all keys, and makes the first if there is none that signs.
    ///
    /// # Errors
    /// [`KeyringError`]; the keys that were loaded before stay.
    pub async fn refresh(&self, now: Timestamp) -> Result<(), KeyringError> {
        let mut stored = self.store.load().await?;
        if stored.iter().all(|key| key.retired_at.is_some()) {
            self.store.insert_if_none(self.generate(now)?).await?;
            stored = self.store.load().await?;
        }
        let keys = Arc::new(self.open(stored, now)?);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    /// Loads all keys because a token named an unknown one, at most once in 30 s. Returns whether it did.
    ///
    /// # Errors
    /// As [`Keyring::refresh`].
    pub async fn refresh_if_unknown(&self, now: Timestamp) -> Result<bool, KeyringError> {
        {
            let mut last = self.last_refetch.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_some_and(|last| now.duration_since(last) < REFETCH_INTERVAL) {
                return Ok(false);
            }
            *last = Some(now);
        }
        self.refresh(now).await.map(|()| true)
    }

    pub(super) fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a key that begins to sign at the given time. It is stored nowhere yet.
    ///
    /// # Errors
    /// [`KeyringError::Generate`].
    pub fn generate(&self, begins: Timestamp) -> Result<SigningKey, KeyringError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| KeyringError::Generate)?;
        let document = pair.to_pkcs8().map_err(|_| KeyringError::Generate)?;
        let public = pair.public_key().as_ref().to_vec();
        Ok(SigningKey {
            kid: thumbprint(&URL_SAFE_NO_PAD.encode(&public)),
            sealed_private: self.sealer.seal(SIGNING_KEY_PURPOSE, document.as_ref()),
            public,
            created_at: begins,
            retired_at: None,
        })
    }

    fn open(&self, stored: Vec<SigningKey>, now: Timestamp) -> Result<Keys, KeyringError> {
        let mut active: Vec<&SigningKey> =
            stored.iter().filter(|key| key.retired_at.is_none_or(|at| now < at)).collect();
        if active.is_empty() {
            return Err(StoreError::other("the new signing key was not stored").into());
        }
        // The newest of those that have begun; else, by a clock that is late, the first that will.
        active.sort_by_key(|key| {
            let until = key.created_at.duration_since(now);
            (until.is_positive(), until.abs(), &key.kid)
        });
        let signing = active.into_iter().find_map(|key| self.open_private(key));
        let signing = Some(signing.ok_or(KeyringError::CannotOpen)?);
        let verifying = stored
            .into_iter()
            .map(|key| (key.kid, PublicKey::new(&key.public, key.retired_at)))
            .filter(|(_, key)| key.is_current(now))
            .collect();
        Ok(Keys { signing, verifying })
    }

    /// Opens a private key, unless it was sealed under an envelope key that is not configured here, which may be so
    /// while an envelope key is being replaced.
    fn open_private(&self, key: &SigningKey) -> Option<PrivateKey> {
        let opened =
            self.sealer.open(SIGNING_KEY_PURPOSE, &key.sealed_private).ok().map(Zeroizing::new);
        let private = opened.filter(|pkcs8| belongs_to(pkcs8, &key.public));
        if private.is_none() {
            tracing::warn!(kid = key.kid, "a signing key cannot be opened and is not used");
        }
        let key_of = |pkcs8: Zeroizing<Vec<u8>>| EncodingKey::from_ed_der(&pkcs8);
        private.map(|pkcs8| PrivateKey { kid: key.kid.clone(), key: key_of(pkcs8) })
    }
}

impl Keys {
    /// The key of that name, while tokens that it signed may be alive.
    pub(super) fn verifying(&self, kid: &str, now: Timestamp) -> Option<&PublicKey> {
        self.verifying.get(kid).filter(|key| key.is_current(now))
    }

    /// The public keys as a JSON Web Key Set (RFC 7517, RFC 8037), by name.
    pub(super) fn jwks(&self) -> serde_json::Value {
        let mut keys: Vec<_> = self.verifying.iter().collect();
        keys.sort_by_key(|(kid, _)| *kid);
        let keys: Vec<_> = keys
            .into_iter()
            .map(|(kid, key)| {
                json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid, "x": key.x})
            })
            .collect();
        json!({ "keys": keys })
    }
}

impl PublicKey {
    fn new(bytes: &[u8], retired_at: Option<Timestamp>) -> Self {
        Self {
            key: DecodingKey::from_ed_der(bytes),
            x: URL_SAFE_NO_PAD.encode(bytes),
            until: retired_at.map(|retired_at| retired_at + OVERLAP),
        }
    }

    fn is_current(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

fn belongs_to(pkcs8: &[u8], public: &[u8]) -> bool {
    Ed25519KeyPair::from_pkcs8(pkcs8).is_ok_and(|pair| pair.public_key().as_ref() == public)
}

/// The thumbprint of an Ed25519 key (RFC 7638, RFC 8037 §2), which names it the same everywhere.
fn thumbprint(x: &str) -> String {
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thumbprint_agrees_with_rfc_8037() {
        // Appendix A.3.
        assert_eq!(
            thumbprint("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
    }
}
