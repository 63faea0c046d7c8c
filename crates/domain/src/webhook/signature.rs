//! How webhooks are signed, after Standard Webhooks (<https://www.standardwebhooks.com>).

use jiff::SignedDuration;

/// The scheme of a signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SignatureScheme {
    /// HMAC-SHA-256 under a secret that sender and receiver share: `v1`.
    #[default]
    Hmac,
    /// Ed25519: the receiver needs the public key alone, and cannot forge what it verifies: `v1a`.
    Ed25519,
}

impl SignatureScheme {
    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hmac => "hmac",
            Self::Ed25519 => "ed25519",
        }
    }

    /// The scheme with that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Hmac, Self::Ed25519].into_iter().find(|scheme| scheme.as_str() == name)
    }
}

/// What an endpoint's webhooks are signed with, as far as it is no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Signature {
    /// With a shared secret.
    #[default]
    Hmac,
    /// With a private key.
    Ed25519 {
        /// What verifies it: `whpk_…`.
        public_key: String,
    },
}

impl Signature {
    /// Its scheme.
    #[must_use]
    pub const fn scheme(&self) -> SignatureScheme {
        match self {
            Self::Hmac => SignatureScheme::Hmac,
            Self::Ed25519 { .. } => SignatureScheme::Ed25519,
        }
    }

    /// What verifies it, if everybody may know that.
    #[must_use]
    pub fn public_key(&self) -> Option<&str> {
        match self {
            Self::Hmac => None,
            Self::Ed25519 { public_key } => Some(public_key),
        }
    }
}

/// How long both the old and the new secret sign after a rotation: whole hours up to a week, so that receivers are
/// changed over without losing anything. After Stripe and Svix a day, if nobody says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap(u16);

impl Overlap {
    /// The longest, in hours.
    pub const MAX_HOURS: u16 = 7 * 24;

    /// So many hours; `None` for more than a week. 0: the old secret ends at once, since somebody else has it.
    #[must_use]
    pub const fn hours(hours: u16) -> Option<Self> {
        if hours <= Self::MAX_HOURS { Some(Self(hours)) } else { None }
    }

    /// In hours.
    #[must_use]
    pub const fn as_hours(self) -> u16 {
        self.0
    }

    /// As a duration; `None` without any.
    #[must_use]
    pub fn duration(self) -> Option<SignedDuration> {
        (self.0 > 0).then(|| SignedDuration::from_hours(self.0.into()))
    }
}

impl Default for Overlap {
    fn default() -> Self {
        Self(24)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlap_is_a_day_if_nobody_says_otherwise_and_a_week_at_most() {
        assert_eq!(Overlap::default().duration(), Some(SignedDuration::from_hours(24)));
        assert_eq!(Overlap::hours(0).unwrap().duration(), None);
        assert_eq!(Overlap::hours(168).unwrap().duration(), Some(SignedDuration::from_hours(168)));
        assert_eq!(Overlap::hours(169), None);
    }
}
