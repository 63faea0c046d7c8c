//! Typed identifiers: a `TypeID` (<https://github.com/jetify-com/typeid>) outside, a `UUIDv7` (RFC 9562) inside.
//!
//! The type of an id is part of its text (`user_01h455vb4pex5vsknk084sn02q`), so an id of one kind can never be read as an
//! id of another.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// Crockford's base 32 in lower case, the alphabet of the `TypeID` specification.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 128 bits in groups of five, the first group holding three.
const SUFFIX_LENGTH: usize = 26;

/// Text that is not an id of the expected kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an identifier of the form {prefix}_…")]
pub struct IdError {
    /// The prefix that was expected.
    pub prefix: &'static str,
}

/// What every typed identifier offers.
pub trait TypedId: Copy + Eq + Ord + fmt::Display + FromStr<Err = IdError> {
    /// The text in front of the underscore.
    const PREFIX: &'static str;
    /// Wraps a UUID that is known to identify such a thing.
    fn from_uuid(uuid: Uuid) -> Self;
    /// The UUID alone, as stored.
    fn uuid(self) -> Uuid;
}

/// Declares kinds of ids: the name of the type and the prefix of its text. The ids that several modules speak of are
/// declared below; an id of one module alone can be declared in that module.
macro_rules! typed_ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(uuid::Uuid);

        impl $crate::ids::TypedId for $name {
            const PREFIX: &'static str = $prefix;
            fn from_uuid(uuid: uuid::Uuid) -> Self { Self(uuid) }
            fn uuid(self) -> uuid::Uuid { self.0 }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $crate::ids::write_suffixed(f, $prefix, self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::ids::IdError;
            fn from_str(text: &str) -> Result<Self, $crate::ids::IdError> {
                $crate::ids::parse_suffixed(text, $prefix)
                    .map(Self)
                    .ok_or($crate::ids::IdError { prefix: $prefix })
            }
        }
    )+};
}
#[allow(
    unused_imports,
    reason = "for modules with ids of their own; the first ones have none"
)]
pub(crate) use typed_ids;

typed_ids! {
    /// A person with an account.
    UserId = "user";
    /// One login of one person.
    SessionId = "sess";
    /// A registration that waits for its address to be verified.
    RegistrationId = "reg";
    /// A community, the tenant.
    CommunityId = "comm";
    /// One person's membership of one community, the aggregate of `community.member_*`.
    MembershipId = "member";
    /// An event of a community.
    EventId = "event";
    /// One person's answer to one event.
    RsvpId = "rsvp";
    /// A webhook endpoint.
    WebhookId = "hook";
    /// One recorded event on its way to one webhook endpoint.
    DeliveryId = "hdlv";
    /// Many deliveries to one webhook endpoint that are sent again.
    ReplayId = "hrpl";
}

pub(crate) fn write_suffixed(f: &mut fmt::Formatter<'_>, prefix: &str, uuid: Uuid) -> fmt::Result {
    let bits = uuid.as_u128();
    let mut suffix = [0_u8; SUFFIX_LENGTH];
    for (place, byte) in suffix.iter_mut().enumerate() {
        let shift = 5 * (SUFFIX_LENGTH - 1 - place);
        *byte = ALPHABET[((bits >> shift) & 31) as usize];
    }
    f.write_str(prefix)?;
    f.write_str("_")?;
    suffix.iter().try_for_each(|byte| fmt::Write::write_char(f, char::from(*byte)))
}

pub(crate) fn parse_suffixed(text: &str, prefix: &str) -> Option<Uuid> {
    let suffix = text.strip_prefix(prefix)?.strip_prefix('_')?.as_bytes();
    // A first digit above 7 would need 129 bits.
    if suffix.len() != SUFFIX_LENGTH || suffix[0] > b'7' {
        return None;
    }
    suffix
        .iter()
        .try_fold(0_u128, |bits, byte| {
            let digit = ALPHABET.iter().position(|letter| letter == byte)?;
            Some(bits << 5 | digit as u128)
        })
        .map(Uuid::from_u128)
}

/// Whether text has the shape of an identifier (`word_` and 26 base-32 digits) of any kind, known or not.
#[must_use]
pub fn is_shaped_like_an_id(text: &str) -> bool {
    text.rsplit_once('_').is_some_and(|(prefix, _)| {
        !prefix.is_empty()
            && prefix.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            && parse_suffixed(text, prefix).is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn agrees_with_the_specification() {
        // A valid vector of the TypeID specification.
        let uuid: Uuid = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        assert_eq!(UserId::from_uuid(uuid).to_string(), "user_01h455vb4pex5vsknk084sn02q");
        assert_eq!(UserId::from_uuid(Uuid::nil()).to_string(), "user_00000000000000000000000000");
    }

    #[test]
    fn refuses_what_is_not_its_own() {
        for text in [
            "",
            "user",
            "user_",
            "01h455vb4pex5vsknk084sn02q",
            "event_01h455vb4pex5vsknk084sn02q",
            "user_01h455vb4pex5vsknk084sn02",
            "user_01h455vb4pex5vsknk084sn02q0",
            "user_81h455vb4pex5vsknk084sn02q",
            "user_01H455VB4PEX5VSKNK084SN02Q",
            "user_01h455vb4pex5vsknk084sn02u",
            "user_é1h455vb4pex5vsknk084sn02",
        ] {
            assert_eq!(text.parse::<UserId>(), Err(IdError { prefix: "user" }), "{text}");
        }
    }

    #[test]
    fn knows_the_shape_of_an_id() {
        assert!(is_shaped_like_an_id("comm_01h455vb4pex5vsknk084sn02q"));
        assert!(!is_shaped_like_an_id("rust-berlin"));
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(bits: u128) {
            let id = EventId::from_uuid(Uuid::from_u128(bits));
            prop_assert_eq!(id.to_string().parse::<EventId>(), Ok(id));
        }

        #[test]
        fn sorts_as_text_as_it_sorts_as_a_number(a: u128, b: u128) {
            let (a, b) = (EventId::from_uuid(Uuid::from_u128(a)), EventId::from_uuid(Uuid::from_u128(b)));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }
    }
}
