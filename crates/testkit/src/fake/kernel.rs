//! Time, chance, limits and mail under the test's control.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use convene_application::kernel::clock::Clock;
use convene_application::kernel::env::Env;
use convene_application::kernel::limits::{Limiter, Quota, Verdict};
use convene_application::kernel::mail::{MailError, Mailer, Message};
use convene_application::kernel::random::Random;
use convene_domain::text::EmailAddress;
use jiff::{SignedDuration, Timestamp};

/// A clock that stands still until the test moves it. It begins on 1 April 2027 at noon, UTC.
#[derive(Debug)]
pub struct FixedClock(Mutex<Timestamp>);

impl Default for FixedClock {
    fn default() -> Self {
        Self(Mutex::new(Timestamp::constant(1_806_580_800, 0)))
    }
}

impl FixedClock {
    /// Moves the clock.
    pub fn advance(&self, by: SignedDuration) {
        *lock(&self.0) += by;
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        *lock(&self.0)
    }
}

/// Bytes that differ from call to call and are the same in each run (SplitMix64).
#[derive(Debug, Default)]
pub struct SeededRandom(AtomicU64);

impl Random for SeededRandom {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            let mut word = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(word ^ (word >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}

/// What every service needs, with this clock.
pub fn env(clock: Arc<FixedClock>) -> Env {
    Env { clock, random: Arc::new(SeededRandom::default()), schemas: Default::default() }
}

/// A limiter by the test's clock.
#[derive(Debug)]
pub struct FakeLimiter {
    clock: Arc<FixedClock>,
    free_at: Mutex<HashMap<String, Timestamp>>,
}

impl FakeLimiter {
    /// A limiter that has counted nothing yet.
    pub fn new(clock: Arc<FixedClock>) -> Self {
        Self { clock, free_at: Mutex::default() }
    }

    fn ask(&self, key: &str, quota: Quota, spend: bool) -> Verdict {
        let now = self.clock.now();
        let mut free_at = lock(&self.free_at);
        let then = free_at.get(key).map_or(now, |free_at| now.max(*free_at)) + quota.every;
        let most = now + quota.every * quota.burst;
        if then > most {
            let retry_after = then.duration_since(most).unsigned_abs();
            return Verdict::Refused { retry_after };
        }
        if spend {
            free_at.insert(key.to_owned(), then);
        }
        Verdict::Allowed
    }
}

#[async_trait]
impl Limiter for FakeLimiter {
    async fn spend(&self, key: &str, quota: Quota) -> Verdict {
        self.ask(key, quota, true)
    }

    async fn peek(&self, key: &str, quota: Quota) -> Verdict {
        self.ask(key, quota, false)
    }
}

/// A mail that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentMail {
    /// The id that is the same for each attempt.
    pub id: String,
    /// To whom.
    pub to: EmailAddress,
    /// What it says.
    pub message: Message,
}

/// Keeps what is sent, or refuses it.
#[derive(Debug, Default)]
pub struct FakeMailer {
    sent: Mutex<Vec<SentMail>>,
    down: Mutex<bool>,
}

impl FakeMailer {
    /// What was sent so far, oldest first; forgets it.
    pub fn take(&self) -> Vec<SentMail> {
        std::mem::take(&mut lock(&self.sent))
    }

    /// Whether to refuse what comes, as a mail server that is down.
    pub fn set_down(&self, down: bool) {
        *lock(&self.down) = down;
    }
}

#[async_trait]
impl Mailer for FakeMailer {
    async fn send(&self, id: &str, to: &EmailAddress, message: &Message) -> Result<(), MailError> {
        if *lock(&self.down) {
            return Err(MailError::Transient("the mail server is down".into()));
        }
        let (id, to, message) = (id.to_owned(), to.clone(), message.clone());
        lock(&self.sent).push(SentMail { id, to, message });
        Ok(())
    }
}

/// A test that panics while it holds a lock has failed already.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};

    use futures::FutureExt as _;

    use super::*;
    use crate::contract::limiter::Port;

    fn port() -> Ready<(Port, ())> {
        let clock = Arc::new(FixedClock::default());
        let limiter = Arc::new(FakeLimiter::new(Arc::clone(&clock)));
        let pass = move |time| {
            clock.advance(SignedDuration::try_from(time).expect("it is short"));
            futures::future::ready(()).boxed()
        };
        ready((Port { limiter, pass: Box::new(pass) }, ()))
    }

    crate::limiter_contract!(port());
}
