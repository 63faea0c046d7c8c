//! Access tokens: JWTs after RFC 9068, checked as RFC 8725 asks.

use std::sync::Arc;

use async_trait::async_trait;
use convene_application::auth::crypto::{
    AccessClaims, AccessTokens, KeyringError, MAX_ACCESS_TOKEN_SECONDS, TokenError,
};
use convene_domain::ids::{SessionId, UserId};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::keyring::Keyring;
use super::verified::Verified;

/// RFC 9068 §2.1: tells an access token from any other JWT that the same key may sign.
const TYPE: &str = "at+jwt";
/// RFC 9068 asks for the client that was given the token; people log in through one client, this service.
const CLIENT: &str = "convene";
/// How far the clocks of two processes may differ, in seconds.
const CLOCK_SKEW: i64 = 60;
/// No token of ours comes near this; a longer one is not worth decoding.
const MAX_TOKEN_BYTES: usize = 2_048;

/// The claims on the wire. Every one is required.
#[derive(Debug, Serialize, Deserialize)]
struct WireClaims {
    iss: String,
    aud: String,
    sub: String,
    sid: String,
    client_id: String,
    iat: i64,
    exp: i64,
    auth_time: i64,
    jti: Uuid,
}

/// Issues and verifies access tokens with Ed25519 signatures.
#[derive(Debug)]
pub struct JwtIssuer {
    keyring: Arc<Keyring>,
    issuer: String,
    audience: String,
    validation: Validation,
    verified: Verified,
}

impl JwtIssuer {
    /// An issuer of tokens that name this issuer and audience, which must be the same in every process.
    #[must_use]
    pub fn new(keyring: Arc<Keyring>, issuer: String, audience: String) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[&issuer]);
        validation.set_audience(&[&audience]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        // The library would ask the machine for the time.
        validation.validate_exp = false;
        Self { keyring, issuer, audience, validation, verified: Verified::default() }
    }
}

#[async_trait]
impl AccessTokens for JwtIssuer {
    fn issue(&self, claims: &AccessClaims) -> Result<String, TokenError> {
        let keys = self.keyring.keys();
        let signing = keys.signing.as_ref().ok_or(TokenError::NoSigningKey)?;
        let claims = WireClaims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: claims.user.to_string(),
            sid: claims.session.to_string(),
            client_id: CLIENT.to_owned(),
            iat: claims.issued_at.as_second(),
            exp: claims.expires_at.as_second(),
            auth_time: claims.auth_time.as_second(),
            jti: claims.token_id,
        };
        claims.check_times()?;
        let header = Header {
            typ: Some(TYPE.to_owned()),
            kid: Some(signing.kid.clone()),
            ..Header::new(Algorithm::EdDSA)
        };
        encode(&header, &claims, &signing.key).map_err(|error| {
            tracing::error!(kid = signing.kid, %error, "the signing key does not sign");
            TokenError::NoSigningKey
        })
    }

    fn verify(&self, token: &str, now: Timestamp) -> Result<AccessClaims, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid);
        }
        let keys = self.keyring.keys();
        let place = Verified::place(token);
        if let Some(known) = self.verified.get(&place)
            && keys.verifying(&known.kid, now).is_some()
        {
            return in_time(known.claims, now);
        }
        let header = decode_header(token).map_err(|_| TokenError::Invalid)?;
        let kid = accepted_kid(&header).ok_or(TokenError::Invalid)?;
        let key = keys.verifying(kid, now).ok_or(TokenError::UnknownKey)?;
        let claims = decode::<WireClaims>(token, &key.key, &self.validation)
            .map_err(|_| TokenError::Invalid)?
            .claims;
        claims.check_times()?;
        if claims.client_id != CLIENT {
            return Err(TokenError::Invalid);
        }
        let claims = in_time(claims.read()?, now)?;
        self.verified.put(place, kid, claims);
        Ok(claims)
    }

    fn jwks(&self) -> serde_json::Value {
        self.keyring.keys().jwks()
    }

    async fn refresh_if_unknown(&self, now: Timestamp) -> Result<bool, KeyringError> {
        self.keyring.refresh_if_unknown(now).await
    }
}

/// Refuses what was issued later than now, as far as clocks agree, or has ended.
fn in_time(claims: AccessClaims, now: Timestamp) -> Result<AccessClaims, TokenError> {
    if claims.issued_at.as_second() > now.as_second() + CLOCK_SKEW {
        return Err(TokenError::Invalid);
    }
    if now >= claims.expires_at {
        return Err(TokenError::Expired);
    }
    Ok(claims)
}

/// The name of the key, if the header is one that this service writes. Keys that the header itself brings along or points
/// to are never looked at (RFC 8725 §3.10), extensions that must be understood are not (RFC 7515 §4.1.11).
fn accepted_kid(header: &Header) -> Option<&str> {
    let accepted = header.alg == Algorithm::EdDSA
        && header.crit.is_none()
        && header.typ.as_deref().is_some_and(|typ| typ.eq_ignore_ascii_case(TYPE));
    header.kid.as_deref().filter(|_| accepted)
}

impl WireClaims {
    /// A token lives for a while, but not for long, and its bearer proved who they are before it was issued.
    fn check_times(&self) -> Result<(), TokenError> {
        let lifetime = self.exp.saturating_sub(self.iat);
        let sound =
            (1..=MAX_ACCESS_TOKEN_SECONDS).contains(&lifetime) && self.auth_time <= self.iat;
        if sound { Ok(()) } else { Err(TokenError::Invalid) }
    }

    fn read(&self) -> Result<AccessClaims, TokenError> {
        let time = |second| Timestamp::from_second(second).map_err(|_| TokenError::Invalid);
        Ok(AccessClaims {
            user: self.sub.parse::<UserId>().map_err(|_| TokenError::Invalid)?,
            session: self.sid.parse::<SessionId>().map_err(|_| TokenError::Invalid)?,
            issued_at: time(self.iat)?,
            expires_at: time(self.exp)?,
            auth_time: time(self.auth_time)?,
            token_id: self.jti,
        })
    }
}

#[cfg(test)]
mod tests;
