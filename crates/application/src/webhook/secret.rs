//! Endpoints' secrets at rest, and the one reply that shows them.

use std::collections::BTreeMap;

use bytes::Bytes;
use convene_domain::webhook::CustomHeaders;
use secrecy::{ExposeSecret as _, SecretString};

use crate::kernel::idempotency::StoredReply;
use crate::kernel::secrets::{CannotOpen, Sealer};
use crate::kernel::uow::Staged;

pub(super) const SECRET: &str = "webhook.secret";
/// What the header fields of an endpoint's owner are sealed for.
pub(super) const HEADERS: &str = "webhook.headers";
const REPLY: &str = "webhook.reply";

/// A secret as it is stored.
pub(super) fn seal(sealer: &dyn Sealer, secret: &SecretString) -> Vec<u8> {
    sealer.seal(SECRET, secret.expose_secret().as_bytes())
}

/// A stored secret.
pub(super) fn open(sealer: &dyn Sealer, sealed: &[u8]) -> Result<SecretString, CannotOpen> {
    let bytes = sealer.open(SECRET, sealed)?;
    String::from_utf8(bytes).map(SecretString::from).map_err(|_| CannotOpen)
}

/// Header fields as they are stored; none without any.
pub(super) fn seal_headers(sealer: &dyn Sealer, headers: &CustomHeaders) -> Option<Vec<u8>> {
    let fields = headers.fields();
    let json = serde_json::to_vec(fields).expect("a map of text is JSON");
    (!fields.is_empty()).then(|| sealer.seal(HEADERS, &json))
}

/// Stored header fields.
pub(super) fn open_headers(
    sealer: &dyn Sealer,
    sealed: Option<&[u8]>,
) -> Result<CustomHeaders, CannotOpen> {
    let Some(sealed) = sealed else { return Ok(CustomHeaders::default()) };
    let json = sealer.open(HEADERS, sealed)?;
    let fields: BTreeMap<String, String> = serde_json::from_slice(&json).map_err(|_| CannotOpen)?;
    Ok(CustomHeaders::stored(fields))
}

/// Seals the bodies of staged replies, which are kept for a day.
pub(super) fn seal_replies(sealer: &dyn Sealer, staged: &mut Staged) {
    for (_, reply) in &mut staged.replies {
        reply.body = Bytes::from(sealer.seal(REPLY, &reply.body));
    }
}

/// A kept reply as it was sent.
pub(super) fn open_reply(
    sealer: &dyn Sealer,
    reply: StoredReply,
) -> Result<StoredReply, CannotOpen> {
    let body = Bytes::from(sealer.open(REPLY, &reply.body)?);
    Ok(StoredReply { body, ..reply })
}
