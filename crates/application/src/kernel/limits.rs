//! Limits: on guessing, which are asked of a shared store each time, and on requests, which are counted ahead.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use async_trait::async_trait;
use convene_domain::ids::{TypedId as _, UserId};
use uuid::Uuid;

/// A quota after the generic cell rate algorithm: a burst, refilled at a steady rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How many may come at once.
    pub burst: u32,
    /// The time in which one more becomes free.
    pub every: Duration,
}

impl Quota {
    /// A burst, then so many in a period.
    #[must_use]
    pub const fn new(burst: u32, per: Duration, then: u32) -> Self {
        Self { burst, every: Duration::from_nanos(per.as_nanos() as u64 / then as u64) }
    }

    /// The time in which the whole burst becomes free.
    #[must_use]
    pub fn window(self) -> Duration {
        self.every * self.burst
    }

    /// What of it belongs to each of so many processes that do not know of each other.
    #[must_use]
    pub fn share(self, instances: u32) -> Self {
        let instances = instances.max(1);
        Self { burst: (self.burst / instances).max(1), every: self.every * instances }
    }

    /// Spends `cost` where all that was spent before is free again after `busy`: how long it is busy then, or how long to
    /// wait. A cost above the burst counts as the burst, or it could never be spent.
    ///
    /// # Errors
    /// How long to wait.
    pub fn spend(self, busy: Duration, cost: u32) -> Result<Duration, Duration> {
        let then = busy + self.every * cost.min(self.burst);
        match then.checked_sub(self.window()) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => Ok(then),
        }
    }

    /// How many could be spent at once where all that was spent is free again after `busy`.
    #[must_use]
    pub fn room(self, busy: Duration) -> u32 {
        let free = self.window().saturating_sub(busy).as_nanos();
        u32::try_from(free / self.every.as_nanos().max(1)).unwrap_or(u32::MAX).min(self.burst)
    }
}

/// What the limiter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Allowed,
    /// Not before this time has passed.
    Refused {
        /// When one more becomes free.
        retry_after: Duration,
    },
}

/// Counts attempts by key over all processes. A limiter that loses its store falls back to a stricter one in the
/// process; it never fails.
#[async_trait]
pub trait Limiter: Send + Sync {
    /// Spends one of the quota of this key.
    async fn spend(&self, key: &str, quota: Quota) -> Verdict;

    /// Asks without spending.
    async fn peek(&self, key: &str, quota: Quota) -> Verdict;
}

/// Who counts as one client: an IPv4 address, or the /64 that an IPv6 subscriber has to himself.
#[must_use]
pub fn client_network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

/// Whose requests are counted. A new kind of subject is one more variant here, and its quota where requests are admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A client of the network, as [`client_network`] has it.
    Client(IpAddr),
    /// A person, over all sessions.
    User(UserId),
    /// Something else than a person that has credentials of its own, by its id.
    Credential(Uuid),
    /// A community, by a digest of what a path calls it.
    Community(u128),
}

impl Subject {
    /// The community that a path calls by this id or slug. Its id and its slug are two subjects: telling that they are one
    /// would take a read for each request.
    #[must_use]
    pub fn community(named: &str) -> Self {
        const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        const PRIME: u128 = 0x0100_0000_0000_0000_0000_013b;
        // FNV-1a: the same in each process, whatever it was built with.
        let digest = named
            .bytes()
            .fold(BASIS, |digest, byte| (digest ^ u128::from(byte)).wrapping_mul(PRIME));
        Self::Community(digest)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(address) => write!(f, "client:{address}"),
            Self::User(user) => write!(f, "user:{}", user.uuid().simple()),
            Self::Credential(credential) => write!(f, "credential:{}", credential.simple()),
            Self::Community(digest) => write!(f, "community:{digest:032x}"),
        }
    }
}

/// What a limit on requests says, and what it has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether to go on.
    pub verdict: Verdict,
    /// How many more may come at once.
    pub remaining: u32,
    /// When all of the quota is free again.
    pub reset: Duration,
}

/// Counts requests by subject over all processes, ahead of them: most are decided in the process, at once. It never fails.
#[async_trait]
pub trait RequestLimiter: Send + Sync {
    /// Spends so many of the quota of this subject; `None` if that takes a question to others, and nothing was spent.
    fn try_spend(&self, subject: Subject, quota: Quota, cost: u32) -> Option<Standing>;

    /// Spends so many of the quota of this subject, with a question to others where that must be.
    async fn spend(&self, subject: Subject, quota: Quota, cost: u32) -> Standing;

    /// Spends what turned out to be needed while the request was served. Never refused: the next request pays for it.
    fn charge(&self, subject: Subject, quota: Quota, cost: u32);
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota { burst: 10, every: Duration::from_millis(100) };

    #[test]
    fn a_quota_is_a_burst_and_then_a_rate() {
        let busy = QUOTA.spend(Duration::ZERO, 7).unwrap();
        assert_eq!((busy, QUOTA.room(busy)), (Duration::from_millis(700), 3));
        assert_eq!(QUOTA.spend(busy, 4), Err(Duration::from_millis(100)));
        assert_eq!(QUOTA.spend(busy, 3), Ok(QUOTA.window()));
        assert_eq!(QUOTA.room(QUOTA.window() * 2), 0);
    }

    #[test]
    fn what_costs_more_than_the_burst_can_be_spent_all_the_same() {
        assert_eq!(QUOTA.spend(Duration::ZERO, 11), Ok(QUOTA.window()));
        assert_eq!(QUOTA.spend(QUOTA.every, 11), Err(QUOTA.every));
    }

    #[test]
    fn the_shares_of_all_processes_are_at_most_the_quota() {
        let quota = Quota::new(3, Duration::from_mins(1), 3);
        assert_eq!(quota.share(2), Quota { burst: 1, every: Duration::from_secs(40) });
    }

    #[test]
    fn an_ipv6_subscriber_is_one_client() {
        let network_of = |text: &str| client_network(text.parse().unwrap()).to_string();
        assert_eq!(network_of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network_of("192.0.2.7"), "192.0.2.7");
        assert_eq!(network_of("::ffff:192.0.2.7"), "192.0.2.7");
    }

    #[test]
    fn subjects_have_keys_of_their_own() {
        let user = UserId::from_uuid(Uuid::from_u128(7));
        assert_eq!(Subject::User(user).to_string(), format!("user:{:032x}", 7));
        assert_eq!(
            Subject::community("rust-berlin").to_string(),
            Subject::community("rust-berlin").to_string()
        );
        assert_ne!(Subject::community("rust-berlin"), Subject::community("rust-munich"));
        // The published digest of an empty text.
        assert_eq!(
            Subject::community("").to_string(),
            "community:6c62272e07bb014262b821756295c58d"
        );
    }
}
