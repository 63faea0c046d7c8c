//! Endpoints' secrets at rest, and the one reply that shows them.

use bytes::Bytes;
use secrecy::{ExposeSecret as _, SecretString};

use crate::kernel::idempotency::StoredReply;
use crate::kernel::secrets::{CannotOpen, Sealer};
use crate::kernel::uow::Staged;

const SECRET: &str = "webhook.secret";
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
