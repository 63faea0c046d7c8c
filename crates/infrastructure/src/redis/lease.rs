//! What one process knows of one subject's quota, and what it took of it ahead. No I/O.

use std::time::Duration;

use convene_application::kernel::limits::{Quota, Standing, Verdict};

use super::link::{Ask, Grant};
use crate::memory::ledger::Account;
use crate::memory::requests::spend;

/// How long what was taken ahead may be used. In Redis it is spent already and becomes free again at the quota's rate, so
/// the longer it is kept, the more can be used at once beside what has become free meanwhile.
const LIFE: Duration = Duration::from_secs(1);
/// A process takes no more ahead than this part of the burst.
const MOST: u32 = 20;
/// What is taken ahead first, before it is known how fast it is used.
const FIRST: u32 = 8;

/// What one process knows of one subject.
#[derive(Debug, Default)]
pub(super) struct Lease {
    /// When all that was spent is free again, as far as is known here: others may have spent more since.
    free_at: Duration,
    /// The same of this process alone, while Redis is lost.
    alone: Duration,
    /// What was taken ahead and is left.
    tokens: u32,
    /// How long they may be used.
    until: Duration,
    /// How many to take ahead.
    size: u32,
    /// When the last request came.
    seen: Duration,
    /// Whether the background has been asked for more.
    asking: bool,
}

impl Account for Lease {
    fn free_at(&self) -> Duration {
        self.free_at.max(self.until).max(self.alone)
    }
}

/// How a request goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is decided; the background may have something to ask.
    Decided(Standing, Option<Ask>),
    /// It must wait for the answer to this.
    Wait(Ask),
}

impl Lease {
    /// Spends so many, or tells what to ask.
    pub(super) fn spend(&mut self, quota: Quota, cost: u32, now: Duration) -> Step {
        let cost = cost.min(quota.burst);
        let most = quota.burst / MOST;
        let busy_before = now < self.seen + LIFE && !self.seen.is_zero();
        self.seen = now;
        self.expire(most, now);
        if self.tokens >= cost {
            self.tokens -= cost;
            let more = self.refill(quota, most, now);
            return Step::Decided(self.standing(quota, Verdict::Allowed, now), more);
        }
        let busy = self.free_at.saturating_sub(now);
        if let Err(retry_after) = quota.spend(busy, cost - self.tokens) {
            // Others can only have spent more than is known here.
            let verdict = Verdict::Refused { retry_after };
            return Step::Decided(self.standing(quota, verdict, now), None);
        }
        let room = quota.room(busy);
        if !self.asking && cost <= most && room >= quota.burst / 2 {
            // There was much left a moment ago, or nobody has come for long: this one goes ahead and is paid for behind
            // its back. Only one at a time does, so what it can be wrong by is its own cost.
            self.asking = true;
            self.free_at = self.free_at.max(now) + quota.every * cost;
            let wanted = if busy_before { self.size } else { 0 };
            let ask = Ask { owed: cost, needed: 0, wanted };
            return Step::Decided(self.standing(quota, Verdict::Allowed, now), Some(ask));
        }
        // Near the end nobody takes much ahead, or the others would be refused what nobody uses.
        let ahead = if self.asking { 0 } else { self.size.min(room / MOST) };
        Step::Wait(Ask { owed: 0, needed: cost, wanted: cost + ahead })
    }

    /// Spends so many of this process's share, while Redis is lost.
    pub(super) fn spend_alone(&mut self, share: Quota, cost: u32, now: Duration) -> Standing {
        self.expire(0, now);
        if self.tokens >= cost {
            self.tokens -= cost;
            return Standing {
                verdict: Verdict::Allowed,
                remaining: self.tokens,
                reset: self.free_at.saturating_sub(now),
            };
        }
        spend(&mut self.alone, share, cost, now)
    }

    /// Spends what cannot be refused any more. Returns what to ask for it.
    pub(super) fn charge(&mut self, quota: Quota, cost: u32, now: Duration) -> Option<Ask> {
        self.expire(quota.burst / MOST, now);
        let ahead = self.tokens.min(cost);
        self.tokens -= ahead;
        let owed = cost - ahead;
        self.free_at = self.free_at.max(now) + quota.every * owed;
        (owed > 0).then_some(Ask { owed, needed: 0, wanted: 0 })
    }

    /// The background's question is answered.
    pub(super) fn refilled(&mut self, grant: Grant, asked_at: Duration) {
        self.asking = false;
        self.learn(grant, grant.spent, asked_at);
    }

    /// A request's own question is answered. Nobody else uses what it asked for, unless it went away.
    pub(super) fn answered(
        &mut self,
        quota: Quota,
        grant: Grant,
        used: u32,
        asked_at: Duration,
        now: Duration,
    ) -> Standing {
        self.learn(grant, grant.spent.saturating_sub(used), asked_at);
        let verdict = match grant.wait {
            Duration::ZERO => Verdict::Allowed,
            retry_after => Verdict::Refused { retry_after },
        };
        self.standing(quota, verdict, now)
    }

    /// The background's question was not answered.
    pub(super) fn unanswered(&mut self) {
        self.asking = false;
    }

    fn learn(&mut self, grant: Grant, taken: u32, asked_at: Duration) {
        self.free_at = asked_at + grant.busy;
        if taken > 0 {
            self.tokens += taken;
            self.until = asked_at + LIFE;
        }
    }

    /// Throws away what was not used in time, and takes less ahead if that was much.
    fn expire(&mut self, most: u32, now: Duration) {
        if now >= self.until {
            if self.tokens > self.size / 2 {
                self.size /= 2;
            }
            self.tokens = 0;
        }
        self.size = self.size.max(FIRST).min(most);
    }

    /// What to ask for once half is used; it is used fast, so the next is larger.
    fn refill(&mut self, quota: Quota, most: u32, now: Duration) -> Option<Ask> {
        if self.asking || self.tokens > self.size / 2 {
            return None;
        }
        self.size = (self.size * 2).min(most);
        let room = quota.room(self.free_at.saturating_sub(now));
        let wanted = (self.size - self.tokens).min(room / MOST).max(1);
        self.asking = true;
        Some(Ask { owed: 0, needed: 1, wanted })
    }

    fn standing(&self, quota: Quota, verdict: Verdict, now: Duration) -> Standing {
        let busy = self.free_at.saturating_sub(now);
        let remaining = (self.tokens + quota.room(busy)).min(quota.burst);
        Standing { verdict, remaining, reset: busy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota { burst: 1_000, every: Duration::from_millis(1) };

    /// What Redis does, by a clock of the test's own.
    #[derive(Default)]
    struct Server {
        free_at: Duration,
    }

    impl Server {
        fn answer(&mut self, quota: Quota, ask: Ask, now: Duration) -> Grant {
            self.free_at = self.free_at.max(now) + quota.every * ask.owed;
            let most = now + quota.window();
            let wait = (self.free_at + quota.every * ask.needed).saturating_sub(most);
            let mut spent = 0;
            if wait.is_zero() {
                spent = ask.wanted.min(quota.room(self.free_at - now));
                self.free_at += quota.every * spent;
            }
            Grant { spent, wait, busy: self.free_at - now }
        }
    }

    /// Processes that share a quota; the background answers so much later.
    struct Processes {
        server: Server,
        leases: Vec<Lease>,
        late: Vec<(Duration, usize, Ask, Duration)>,
        delay: Duration,
        waited: u32,
    }

    impl Processes {
        fn new(number: usize, delay: Duration) -> Self {
            Self {
                server: Server::default(),
                leases: (0..number).map(|_| Lease::default()).collect(),
                late: Vec::new(),
                delay,
                waited: 0,
            }
        }

        fn ask(&mut self, process: usize, cost: u32, now: Duration) -> bool {
            while let Some(place) = self.late.iter().position(|(at, ..)| *at <= now) {
                let (at, process, ask, asked_at) = self.late.remove(place);
                let grant = self.server.answer(QUOTA, ask, at);
                self.leases[process].refilled(grant, asked_at);
            }
            let lease = &mut self.leases[process];
            let standing = match lease.spend(QUOTA, cost, now) {
                Step::Decided(standing, ask) => {
                    self.late.extend(ask.map(|ask| (now + self.delay, process, ask, now)));
                    standing
                }
                Step::Wait(ask) => {
                    self.waited += 1;
                    let grant = self.server.answer(QUOTA, ask, now);
                    let used = if grant.wait.is_zero() { cost } else { 0 };
                    lease.answered(QUOTA, grant, used, now, now)
                }
            };
            standing.verdict == Verdict::Allowed
        }
    }

    #[test]
    fn two_processes_admit_the_quota_and_no_more() {
        let start = Duration::from_secs(10);
        let mut both = Processes::new(2, Duration::from_micros(300));
        // 20,000 a second, of which 1,000 at once and then 1,000 a second are allowed.
        let mut admitted = 0;
        for n in 0..100_000_u32 {
            let now = start + Duration::from_micros(50) * n;
            admitted += u32::from(both.ask(n as usize % 2, 1, now));
        }
        // Five seconds; what is paid for later is at most one request of each process.
        assert!(admitted <= 1_000 + 5_000 + 2, "{admitted}");
        assert!(admitted >= 5_900, "little is wasted: {admitted}");
    }

    #[test]
    fn within_the_quota_nobody_waits_for_redis() {
        let start = Duration::from_secs(10);
        let mut one = Processes::new(1, Duration::from_micros(300));
        for n in 0..5_000_u32 {
            assert!(one.ask(0, 1, start + Duration::from_micros(1_500) * n), "{n}");
        }
        assert_eq!(one.waited, 0);
    }

    #[test]
    fn what_was_taken_ahead_ends() {
        let start = Duration::from_secs(10);
        let mut one = Processes::new(1, Duration::ZERO);
        for n in 0..100 {
            assert!(one.ask(0, 1, start + Duration::from_micros(100) * n));
        }
        let lease = &mut one.leases[0];
        assert!((1..=QUOTA.burst / MOST).contains(&lease.tokens), "{}", lease.tokens);
        lease.expire(QUOTA.burst / MOST, start + Duration::from_secs(3));
        assert_eq!(lease.tokens, 0);
    }

    #[test]
    fn who_comes_now_and_then_takes_nothing_ahead() {
        let mut one = Processes::new(1, Duration::ZERO);
        for n in 0..20 {
            assert!(one.ask(0, 1, Duration::from_secs(10 + 2 * n)));
        }
        assert_eq!((one.leases[0].tokens, one.waited), (0, 0));
    }

    #[test]
    fn a_small_quota_is_asked_each_time() {
        let quota = Quota { burst: 5, every: Duration::from_secs(1) };
        let mut lease = Lease::default();
        let now = Duration::from_secs(10);
        for _ in 0..5 {
            let Step::Wait(ask) = lease.spend(quota, 1, now) else {
                panic!("a small quota was decided here");
            };
            assert_eq!(ask, Ask { owed: 0, needed: 1, wanted: 1 });
        }
    }

    #[test]
    fn what_is_charged_is_owed() {
        let mut lease = Lease::default();
        let now = Duration::from_secs(10);
        assert_eq!(lease.charge(QUOTA, 3, now), Some(Ask { owed: 3, needed: 0, wanted: 0 }));
        assert_eq!(lease.free_at, now + QUOTA.every * 3);
        lease.tokens = 5;
        lease.until = now + LIFE;
        assert_eq!((lease.charge(QUOTA, 3, now), lease.tokens), (None, 2));
    }

    #[test]
    fn alone_a_process_keeps_to_its_share() {
        let mut lease = Lease::default();
        let now = Duration::from_secs(10);
        let share = QUOTA.share(2);
        let allowed = (0..2_000)
            .filter(|_| lease.spend_alone(share, 1, now).verdict == Verdict::Allowed)
            .count();
        assert_eq!(allowed, 500);
    }
}
