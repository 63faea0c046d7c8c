//! What it means when somebody presents a refresh token (RFC 9700 §4.14.2).
//!
//! A token is good once. Presenting it again shortly after is a client whose reply got lost, as long as nobody has used
//! the successor that the reply carried. Anything else is two holders of one token, and one of them stole it.

use std::time::Duration;

use jiff::Timestamp;

/// A refresh token as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    /// When it ends if nobody presents it.
    pub expires_at: Timestamp,
    /// When it was spent; none while it is good.
    pub spent: Option<Spent>,
}

/// A token that was exchanged for its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// When.
    pub at: Timestamp,
    /// Whether nobody has presented the successor yet.
    pub successor_unused: bool,
}

/// What is to be done with a token that was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presentation {
    /// Spend it and issue its successor.
    First,
    /// Answer with the successor that it was exchanged for.
    Repeated,
    /// End the session: two people hold the token.
    Reused,
    /// Nothing: its time is over.
    Expired,
}

impl RefreshToken {
    /// Judges a token that is presented at `now`. Within the grace a spent one still gets its successor.
    #[must_use]
    pub fn presented(&self, now: Timestamp, grace: Duration) -> Presentation {
        match self.spent {
            None if now < self.expires_at => Presentation::First,
            None => Presentation::Expired,
            Some(spent) if spent.successor_unused && now < spent.at + grace => {
                Presentation::Repeated
            }
            Some(_) => Presentation::Reused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(30);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn token(spent: Option<Spent>) -> RefreshToken {
        RefreshToken { expires_at: at(1_000), spent }
    }

    #[test]
    fn a_fresh_token_is_good_until_it_expires() {
        assert_eq!(token(None).presented(at(999), GRACE), Presentation::First);
        assert_eq!(token(None).presented(at(1_000), GRACE), Presentation::Expired);
    }

    #[test]
    fn a_lost_reply_can_be_asked_for_again_for_thirty_seconds() {
        let spent = token(Some(Spent { at: at(100), successor_unused: true }));
        assert_eq!(spent.presented(at(100), GRACE), Presentation::Repeated);
        assert_eq!(spent.presented(at(129), GRACE), Presentation::Repeated);
        assert_eq!(spent.presented(at(130), GRACE), Presentation::Reused);
    }

    #[test]
    fn the_grace_ends_when_the_successor_is_used() {
        let spent = token(Some(Spent { at: at(100), successor_unused: false }));
        assert_eq!(spent.presented(at(101), GRACE), Presentation::Reused);
    }

    #[test]
    fn a_clock_that_lags_behind_the_one_that_spent_it_changes_nothing() {
        let spent = token(Some(Spent { at: at(100), successor_unused: true }));
        assert_eq!(spent.presented(at(99), GRACE), Presentation::Repeated);
    }

    #[test]
    fn a_spent_token_does_not_become_harmless_by_expiring() {
        let spent = token(Some(Spent { at: at(100), successor_unused: false }));
        assert_eq!(spent.presented(at(2_000), GRACE), Presentation::Reused);
    }
}
