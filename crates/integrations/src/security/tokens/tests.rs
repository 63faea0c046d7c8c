//! What a token must be, and everything that it must not be.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use convene_application::auth::crypto::{SigningKey, SigningKeyStore};
use convene_application::kernel::secrets::Sealer;
use convene_application::kernel::store::StoreError;
use convene_domain::ids::TypedId;
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};

use super::*;
use crate::security::{EnvelopeKey, EnvelopeSealer};

const ISSUER: &str = "https://convene.example";
const AUDIENCE: &str = "convene-api";

/// A store in memory that can be made to fail, and that counts.
#[derive(Default)]
struct Store {
    keys: Mutex<Vec<SigningKey>>,
    loads: AtomicUsize,
    down: Mutex<bool>,
}

#[async_trait]
impl SigningKeyStore for Store {
    async fn load(&self) -> Result<Vec<SigningKey>, StoreError> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        if *self.down.lock().unwrap() {
            return Err(StoreError::Unavailable("the store is down".into()));
        }
        Ok(self.keys.lock().unwrap().clone())
    }

    async fn insert_if_none(&self, key: SigningKey) -> Result<(), StoreError> {
        let mut keys = self.keys.lock().unwrap();
        if keys.iter().all(|key| key.retired_at.is_some()) {
            keys.push(key);
        }
        Ok(())
    }
}

fn sealer(seed: u8) -> Arc<EnvelopeSealer> {
    Arc::new(EnvelopeSealer::new(EnvelopeKey::new([seed; 32]), Vec::new()))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn id<T: TypedId>(number: u128) -> T {
    T::from_uuid(Uuid::from_u128(number))
}

/// A token of five minutes that was issued at 0.
fn claims() -> AccessClaims {
    AccessClaims {
        user: id(1),
        session: id(2),
        issued_at: at(0),
        expires_at: at(300),
        auth_time: at(-3_600),
        token_id: Uuid::from_u128(3),
    }
}

/// A key whose private half the test knows, as stored.
fn key(kid: &str, created_at: Timestamp) -> (SigningKey, EncodingKey) {
    let pair = Ed25519KeyPair::generate().unwrap();
    let pkcs8 = pair.to_pkcs8().unwrap();
    let stored = SigningKey {
        kid: kid.to_owned(),
        sealed_private: sealer(1).seal("signing-key", pkcs8.as_ref()),
        public: pair.public_key().as_ref().to_vec(),
        created_at,
        retired_at: None,
    };
    (stored, EncodingKey::from_ed_der(pkcs8.as_ref()))
}

async fn issuer_over(store: &Arc<Store>) -> JwtIssuer {
    let keyring = Arc::new(Keyring::new(store.clone(), sealer(1)));
    keyring.refresh(at(0)).await.unwrap();
    JwtIssuer::new(keyring, ISSUER.into(), AUDIENCE.into())
}

/// An issuer with one key, and the means to forge with it.
struct Forge {
    issuer: JwtIssuer,
    private: EncodingKey,
}

impl Forge {
    async fn new() -> Self {
        let (stored, private) = key("k1", at(-10));
        let store = Arc::new(Store { keys: Mutex::new(vec![stored]), ..Store::default() });
        Self { issuer: issuer_over(&store).await, private }
    }

    fn header() -> Header {
        Header {
            typ: Some("at+jwt".into()),
            kid: Some("k1".into()),
            ..Header::new(Algorithm::EdDSA)
        }
    }

    fn wire() -> Value {
        let (user, session) = (id::<UserId>(1), id::<SessionId>(2));
        json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": user.to_string(), "sid": session.to_string(),
            "client_id": "convene", "iat": at(0).as_second(), "exp": at(300).as_second(),
            "auth_time": at(-3_600).as_second(), "jti": Uuid::from_u128(3),
        })
    }

    fn verify(&self, header: &Header, claims: &Value) -> Result<AccessClaims, TokenError> {
        self.issuer.verify(&encode(header, claims, &self.private).unwrap(), at(1))
    }

    /// Verifies our claims with one of them set to something else.
    fn with(&self, claim: &str, value: Value) -> Result<AccessClaims, TokenError> {
        let mut claims = Self::wire();
        claims[claim] = value;
        self.verify(&Self::header(), &claims)
    }
}

#[tokio::test]
async fn reads_back_what_it_issued_until_the_second_it_expires() {
    let issuer = issuer_over(&Arc::default()).await;
    let token = issuer.issue(&claims()).unwrap();
    assert_eq!(issuer.verify(&token, at(0)), Ok(claims()));
    assert_eq!(issuer.verify(&token, at(299)), Ok(claims()));
    assert_eq!(issuer.verify(&token, at(300)), Err(TokenError::Expired));
    // Another process's clock may be behind, but not by much.
    assert_eq!(issuer.verify(&token, at(-60)), Ok(claims()));
    assert_eq!(issuer.verify(&token, at(-61)), Err(TokenError::Invalid));
}

#[tokio::test]
async fn the_wire_form_is_that_of_rfc_9068() {
    let issuer = issuer_over(&Arc::default()).await;
    let token = issuer.issue(&claims()).unwrap();
    let part = |at: usize| -> Value {
        let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(at).unwrap()).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    let jwks = issuer.jwks();
    assert_eq!(
        part(0),
        json!({"typ": "at+jwt", "alg": "EdDSA", "kid": jwks["keys"][0]["kid"]}),
        "the key that signed is published"
    );
    assert_eq!(part(1), Forge::wire());
    for member in ["kty", "crv", "use", "alg", "kid", "x"] {
        assert!(jwks["keys"][0][member].is_string(), "{member}");
    }
    assert!(jwks["keys"][0].get("d").is_none(), "no private key is published");
}

#[tokio::test]
async fn tokens_that_would_live_too_long_are_not_issued() {
    let issuer = issuer_over(&Arc::default()).await;
    let issue = |seconds| issuer.issue(&AccessClaims { expires_at: at(seconds), ..claims() });
    assert!(issue(900).is_ok());
    assert_eq!(issue(901), Err(TokenError::Invalid));
    assert_eq!(issue(0), Err(TokenError::Invalid));
}

#[tokio::test]
async fn every_claim_is_required_and_checked() {
    let forge = Forge::new().await;
    assert_eq!(forge.verify(&Forge::header(), &Forge::wire()), Ok(claims()), "the forge works");
    for claim in ["iss", "aud", "sub", "sid", "client_id", "iat", "exp", "auth_time", "jti"] {
        let mut claims = Forge::wire();
        claims.as_object_mut().unwrap().remove(claim);
        assert_eq!(forge.verify(&Forge::header(), &claims), Err(TokenError::Invalid), "no {claim}");
        for wrong in [json!(null), json!({}), json!("x"), json!(1e300), json!([])] {
            assert!(forge.with(claim, wrong.clone()).is_err(), "{claim}: {wrong}");
        }
    }
    let event = convene_domain::ids::EventId::from_uuid(Uuid::nil()).to_string();
    for (claim, wrong) in [
        ("iss", json!("https://convene.example/")),
        ("aud", json!(["another-api"])),
        ("aud", json!([AUDIENCE, "another-api"])),
        ("sub", json!(event)),
        ("sid", Forge::wire()["sub"].clone()),
        ("client_id", json!("another")),
        ("exp", json!(at(901).as_second())),
        ("exp", json!(-1)),
        ("iat", json!(-1)),
        ("auth_time", json!(at(1).as_second())),
    ] {
        assert_eq!(forge.with(claim, wrong.clone()), Err(TokenError::Invalid), "{claim}: {wrong}");
    }
}

#[tokio::test]
async fn headers_that_we_do_not_write_are_refused() {
    let forge = Forge::new().await;
    let verify = |header: &Header| forge.verify(header, &Forge::wire());
    let typed = |typ: Option<&str>| Header { typ: typ.map(Into::into), ..Forge::header() };
    for typ in [None, Some("JWT"), Some("id+jwt"), Some("")] {
        assert_eq!(verify(&typed(typ)), Err(TokenError::Invalid), "{typ:?}");
    }
    assert!(verify(&typed(Some("AT+JWT"))).is_ok(), "media types have no case");
    let unnamed = Header { kid: None, ..Forge::header() };
    assert_eq!(verify(&unnamed), Err(TokenError::Invalid));
    let critical = Header { crit: Some(vec!["exp".into()]), ..Forge::header() };
    assert_eq!(verify(&critical), Err(TokenError::Invalid));
    let unknown = Header { kid: Some("k2".into()), ..Forge::header() };
    assert_eq!(verify(&unknown), Err(TokenError::UnknownKey));
}

#[tokio::test]
async fn other_algorithms_are_refused_even_with_our_public_key_as_secret() {
    let forge = Forge::new().await;
    let public =
        URL_SAFE_NO_PAD.decode(forge.issuer.jwks()["keys"][0]["x"].as_str().unwrap()).unwrap();
    let header = Header { alg: Algorithm::HS256, ..Forge::header() };
    let token = encode(&header, &Forge::wire(), &EncodingKey::from_secret(&public)).unwrap();
    assert_eq!(forge.issuer.verify(&token, at(1)), Err(TokenError::Invalid));

    let claims = URL_SAFE_NO_PAD.encode(Forge::wire().to_string());
    for alg in ["none", "None", "NONE", "HS512", "ES256", "RS256"] {
        let header = json!({"alg": alg, "typ": "at+jwt", "kid": "k1"}).to_string();
        let token = format!("{}.{claims}.", URL_SAFE_NO_PAD.encode(header));
        assert_eq!(forge.issuer.verify(&token, at(1)), Err(TokenError::Invalid), "{alg}");
    }
}

#[tokio::test]
async fn a_key_that_the_token_brings_along_is_not_believed() {
    let forge = Forge::new().await;
    let (_, foreign) = key("k1", at(0));
    let mut jwk: jsonwebtoken::jwk::Jwk =
        serde_json::from_value(forge.issuer.jwks()["keys"][0].clone()).unwrap();
    jwk.common.key_id = Some("k1".into());
    let header = Header {
        jwk: Some(jwk),
        jku: Some("https://attacker.example/jwks.json".into()),
        ..Forge::header()
    };
    let token = encode(&header, &Forge::wire(), &foreign).unwrap();
    assert_eq!(forge.issuer.verify(&token, at(1)), Err(TokenError::Invalid));
}

#[tokio::test]
async fn altered_cut_and_oversized_tokens_are_refused() {
    let issuer = issuer_over(&Arc::default()).await;
    let token = issuer.issue(&claims()).unwrap();
    for at_byte in 0..token.len() {
        let mut altered = token.clone().into_bytes();
        altered[at_byte] = if altered[at_byte] < b'a' { b'z' } else { b'A' };
        let altered = String::from_utf8(altered).unwrap();
        assert!(issuer.verify(&altered, at(1)).is_err(), "byte {at_byte}");
        assert!(issuer.verify(&token[..at_byte], at(1)).is_err(), "cut at {at_byte}");
    }
    for odd in ["", ".", "..", "...", "a.b.c", &format!("{token}.x"), &"a".repeat(3_000)] {
        assert_eq!(issuer.verify(odd, at(1)), Err(TokenError::Invalid), "{odd}");
    }
}

#[tokio::test]
async fn two_processes_that_start_at_once_share_one_key() {
    let store = Arc::<Store>::default();
    let (one, other) = (issuer_over(&store).await, issuer_over(&store).await);
    assert_eq!(store.keys.lock().unwrap().len(), 1);
    assert_eq!(other.verify(&one.issue(&claims()).unwrap(), at(1)), Ok(claims()));
    assert_eq!(one.jwks(), other.jwks());
}

#[tokio::test]
async fn before_the_first_refresh_nothing_is_signed_or_believed() {
    let keyring = Arc::new(Keyring::new(Arc::<Store>::default(), sealer(1)));
    let issuer = JwtIssuer::new(keyring, ISSUER.into(), AUDIENCE.into());
    assert_eq!(issuer.issue(&claims()), Err(TokenError::NoSigningKey));
    let token = issuer_over(&Arc::default()).await.issue(&claims()).unwrap();
    assert_eq!(issuer.verify(&token, at(1)), Err(TokenError::UnknownKey));
    assert_eq!(issuer.jwks(), json!({"keys": []}));
}

#[tokio::test]
async fn rotation_signs_with_the_newest_and_verifies_with_both_for_a_while() {
    let (old, _) = key("old", at(-1_000));
    let store = Arc::new(Store { keys: Mutex::new(vec![old]), ..Store::default() });
    let issuer = issuer_over(&store).await;
    let token = issuer.issue(&claims()).unwrap();

    let (new, _) = key("new", at(10));
    {
        let mut keys = store.keys.lock().unwrap();
        keys[0].retired_at = Some(at(10));
        keys.push(new);
    }
    issuer.keyring.refresh(at(20)).await.unwrap();
    let kid = decode_header(issuer.issue(&claims()).unwrap()).unwrap().kid;
    assert_eq!(kid.as_deref(), Some("new"));
    assert_eq!(issuer.verify(&token, at(299)), Ok(claims()));
    assert_eq!(issuer.jwks()["keys"].as_array().unwrap().len(), 2);

    // Twenty minutes after its retirement no token of the old key can be alive.
    assert_eq!(issuer.verify(&token, at(10 + 1_199)), Err(TokenError::Expired));
    assert_eq!(issuer.verify(&token, at(10 + 1_200)), Err(TokenError::UnknownKey));
    issuer.keyring.refresh(at(10 + 1_200)).await.unwrap();
    assert_eq!(issuer.jwks()["keys"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn when_all_keys_are_retired_a_new_one_is_made() {
    let (mut old, _) = key("old", at(-1_000));
    old.retired_at = Some(at(-10));
    let store = Arc::new(Store { keys: Mutex::new(vec![old]), ..Store::default() });
    let issuer = issuer_over(&store).await;
    assert!(issuer.issue(&claims()).is_ok());
    assert_eq!(store.keys.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn strangers_cannot_make_the_store_busy() {
    let store = Arc::<Store>::default();
    let issuer = issuer_over(&store).await;
    let before = store.loads.load(Ordering::Relaxed);
    assert!(issuer.refresh_if_unknown(at(0)).await.unwrap());
    for second in 0..30 {
        assert!(!issuer.refresh_if_unknown(at(second)).await.unwrap(), "{second}");
    }
    assert!(issuer.refresh_if_unknown(at(30)).await.unwrap());
    assert_eq!(store.loads.load(Ordering::Relaxed) - before, 2);
}

#[tokio::test]
async fn an_unknown_key_is_found_by_loading_again() {
    let store = Arc::<Store>::default();
    let here = issuer_over(&store).await;
    store.keys.lock().unwrap().clear();
    let elsewhere = issuer_over(&store).await;
    let token = elsewhere.issue(&claims()).unwrap();
    assert_eq!(here.verify(&token, at(1)), Err(TokenError::UnknownKey));
    assert!(here.refresh_if_unknown(at(1)).await.unwrap());
    assert_eq!(here.verify(&token, at(1)), Ok(claims()));
}

#[tokio::test]
async fn a_store_that_is_down_costs_nothing_that_was_loaded() {
    let store = Arc::<Store>::default();
    let issuer = issuer_over(&store).await;
    let token = issuer.issue(&claims()).unwrap();
    *store.down.lock().unwrap() = true;
    let refreshed = issuer.refresh_if_unknown(at(1)).await;
    assert!(matches!(refreshed, Err(KeyringError::Store(StoreError::Unavailable(_)))));
    assert_eq!(issuer.verify(&token, at(1)), Ok(claims()));
    assert!(issuer.issue(&claims()).is_ok());
}

#[tokio::test]
async fn keys_of_another_envelope_key_are_an_error_and_never_replaced() {
    let store = Arc::<Store>::default();
    issuer_over(&store).await;
    let stranger = Keyring::new(store.clone(), sealer(2));
    assert!(matches!(stranger.refresh(at(1)).await, Err(KeyringError::CannotOpen)));
    assert_eq!(store.keys.lock().unwrap().len(), 1, "no second key was made");
}

#[tokio::test]
async fn a_private_key_that_belongs_to_another_public_key_does_not_sign() {
    let (mut stored, _) = key("k1", at(0));
    stored.public = key("k2", at(0)).0.public;
    let store = Arc::new(Store { keys: Mutex::new(vec![stored]), ..Store::default() });
    let keyring = Keyring::new(store, sealer(1));
    assert!(matches!(keyring.refresh(at(1)).await, Err(KeyringError::CannotOpen)));
}

#[tokio::test]
async fn while_an_envelope_key_is_replaced_the_newest_that_opens_signs() {
    let (old, _) = key("old", at(-1_000));
    let (mut new, _) = key("new", at(-10));
    new.sealed_private = sealer(2).seal("signing-key", b"sealed by a process that was updated");
    let store = Arc::new(Store { keys: Mutex::new(vec![new, old]), ..Store::default() });
    let issuer = issuer_over(&store).await;
    let kid = decode_header(issuer.issue(&claims()).unwrap()).unwrap().kid;
    assert_eq!(kid.as_deref(), Some("old"));
}

#[test]
fn debug_output_shows_no_key() {
    let (stored, _) = key("k1", at(0));
    let shown = format!("{stored:?}");
    assert!(shown.contains("k1") && !shown.contains("sealed"), "{shown}");
}

#[tokio::test]
async fn a_token_that_was_verified_before_ends_with_its_time_and_with_its_key() {
    let (stored, _) = key("k1", at(-10));
    let (other, _) = key("k2", at(-20));
    let store =
        Arc::new(Store { keys: Mutex::new(vec![stored, other.clone()]), ..Store::default() });
    let issuer = issuer_over(&store).await;
    let token = issuer.issue(&claims()).unwrap();
    for _ in 0..2 {
        assert_eq!(issuer.verify(&token, at(1)), Ok(claims()));
    }
    assert_eq!(issuer.verify(&token, at(-61)), Err(TokenError::Invalid), "not issued yet");
    assert_eq!(issuer.verify(&token, at(300)), Err(TokenError::Expired));
    assert_eq!(issuer.verify(&token, at(1)), Ok(claims()));

    *store.keys.lock().unwrap() = vec![other];
    issuer.keyring.refresh(at(2)).await.unwrap();
    assert_eq!(issuer.verify(&token, at(2)), Err(TokenError::UnknownKey));
}
