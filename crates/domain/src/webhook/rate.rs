//! How fast an endpoint takes webhooks.

/// The most webhooks that an endpoint is sent in a second, as its owner asks for: 1 to 1,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RateLimit(u16);

impl RateLimit {
    /// The greatest.
    pub const MAX: u16 = 1_000;

    /// So many in a second; `None` for none and for more than there can be.
    #[must_use]
    pub const fn per_second(count: u16) -> Option<Self> {
        if count >= 1 && count <= Self::MAX { Some(Self(count)) } else { None }
    }

    /// How many in a second.
    #[must_use]
    pub const fn as_per_second(self) -> u16 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_from_one_to_a_thousand() {
        for (count, allowed) in [(0, false), (1, true), (1_000, true), (1_001, false)] {
            assert_eq!(RateLimit::per_second(count).is_some(), allowed, "{count}");
        }
    }
}
