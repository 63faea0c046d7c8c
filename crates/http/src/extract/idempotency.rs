//! `Idempotency-Key`: one effect however often a request is sent.

use std::convert::Infallible;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use aws_lc_rs::digest;
use convene_application::kernel::error::Checked;
use convene_application::kernel::idempotency::{Idempotency, InvalidKey, KeyClaim, StoredReply};
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::{ObjectBuilder, Type};

use super::body::{NoBody, Received};
use super::{Authentication, authentication, parameter};

const NAME: &str = "Idempotency-Key";
const MAX_LENGTH: usize = 255;

/// The `Idempotency-Key` header of a change, which any change may have. It counts for the caller, the method and the
/// path; anonymous calls have no use for it.
#[derive(Debug)]
pub struct IdempotencyKey(Result<Option<[u8; 32]>, InvalidKey>);

impl IdempotencyKey {
    /// Ties the key to the body that came with it. Returns the claim for the use case, with the way to render its
    /// outcome, and the body's input. What is wrong with the key is told by the use case, in its place.
    pub fn claim<B: Received, T>(
        self,
        body: B,
        render: fn(&T) -> StoredReply,
    ) -> (Option<Idempotency<T>>, Checked<B::Input>) {
        let fingerprint = body.fingerprint();
        // A body that did not arrive has no fingerprint, and its input is an error: nothing will be done.
        let claim = match self.0 {
            Ok(scope) => scope
                .zip(fingerprint)
                .map(|(scope, fingerprint)| Ok(KeyClaim { scope, fingerprint })),
            Err(invalid) => Some(Err(invalid.into())),
        };
        (claim.map(|claim| Idempotency { claim, render }), body.into_input())
    }

    /// The same for a call that takes no body. What came with it all the same, a query or more bytes than may come, is told
    /// where the key is judged: whoever may not see or change the target learns that first.
    pub fn claim_alone<T>(
        self,
        body: NoBody,
        render: fn(&T) -> StoredReply,
    ) -> Option<Idempotency<T>> {
        match self.claim(body, render) {
            (Some(Idempotency { claim: Err(invalid), .. }), _) | (_, Err(invalid)) => {
                Some(Idempotency { claim: Err(invalid), render })
            }
            (idempotency, Ok(())) => idempotency,
        }
    }
}

impl FromRequest for IdempotencyKey {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(scope(request))))
    }
}

fn scope(request: &HttpRequest) -> Result<Option<[u8; 32]>, InvalidKey> {
    let Some(value) = request.headers().get(NAME) else { return Ok(None) };
    let key = value.as_bytes();
    if key.is_empty() || key.len() > MAX_LENGTH || !key.iter().all(u8::is_ascii_graphic) {
        return Err(InvalidKey);
    }
    let Authentication::Known(principal) = authentication(request) else { return Ok(None) };
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [
        principal.user.to_string().as_bytes(),
        request.method().as_str().as_bytes(),
        request.path().as_bytes(),
        key,
    ] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    Ok(Some(sha256_array(&context.finish())))
}

/// A SHA-256 digest as an array.
pub(super) fn sha256_array(digest: &digest::Digest) -> [u8; 32] {
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

impl IntoParams for IdempotencyKey {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(MAX_LENGTH))
            .examples(["5f0c2d1e-8a3b-4c6d-9e7f-1a2b3c4d5e6f"])
            .build();
        let description = "Makes repeating this request safe: for 24 hours the same key with the same body gets the \
                           same reply, marked with `Idempotent-Replayed: true`.";
        vec![parameter(ParameterIn::Header, NAME, false, description, schema)]
    }
}
