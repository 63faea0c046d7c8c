//! A limiter that counts over all processes, in Redis.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use convene_application::kernel::limits::{Limiter, Quota, Verdict};
use tokio::runtime::Handle;

use super::leases::LeasingLimiter;
use super::link::{Ask, Grant, InvalidRedisUrl, Link, NoAnswer, RedisOptions, Reply, TIMEOUT};
use crate::memory::InProcessLimiter;

/// The generic cell rate algorithm as one script: a question is one round trip, and two that come at once are answered one
/// after the other. Without Redis it counts in the process, by smaller quotas, and asks Redis again every second.
pub struct RedisLimiter {
    link: Arc<Link>,
    stand_in: InProcessLimiter,
}

impl RedisLimiter {
    /// A limiter over a pool that connects when it is first asked, and whose connections live in the runtime that asks.
    ///
    /// # Errors
    /// [`InvalidRedisUrl`].
    pub fn new(options: &RedisOptions) -> Result<Self, InvalidRedisUrl> {
        Ok(Self { link: Arc::new(Link::new(options)?), stand_in: InProcessLimiter::default() })
    }

    /// A limiter of requests over the same connections, which works on `runtime`.
    #[must_use]
    pub fn of_requests(&self, runtime: &Handle) -> LeasingLimiter {
        LeasingLimiter::start(Arc::clone(&self.link), runtime)
    }

    async fn ask(&self, key: &str, quota: Quota, spend: bool) -> Verdict {
        if self.link.is_worth_asking() {
            let answer = tokio::time::timeout(TIMEOUT, self.ask_redis(key, quota, spend)).await;
            match answer.unwrap_or_else(|elapsed| Err(elapsed.into())) {
                Ok(verdict) => {
                    self.link.found();
                    return verdict;
                }
                Err(reason) => self.link.lost(&reason),
            }
        }
        metrics::counter!("convene_limiter_stand_in_total").increment(1);
        let share = quota.share(self.link.instances);
        if spend {
            self.stand_in.spend(key, share).await
        } else {
            self.stand_in.peek(key, share).await
        }
    }

    async fn ask_redis(&self, key: &str, quota: Quota, spend: bool) -> Result<Verdict, NoAnswer> {
        let mut connection = self.link.pool.get().await?;
        let ask = Ask { owed: 0, needed: 1, wanted: u32::from(spend) };
        let call = self.link.call(key, quota, ask);
        let mut reply = call.query_async::<Reply>(&mut connection).await;
        if reply.as_ref().is_err_and(super::is_unknown_script) {
            self.link.script.prepare_invoke().load_async(&mut connection).await?;
            reply = call.query_async(&mut connection).await;
        }
        Ok(match Grant::from(reply?).wait {
            Duration::ZERO => Verdict::Allowed,
            retry_after => Verdict::Refused { retry_after },
        })
    }
}

#[async_trait]
impl Limiter for RedisLimiter {
    async fn spend(&self, key: &str, quota: Quota) -> Verdict {
        self.ask(key, quota, true).await
    }

    async fn peek(&self, key: &str, quota: Quota) -> Verdict {
        self.ask(key, quota, false).await
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    #[test]
    fn a_url_may_ask_for_tls() {
        let options = RedisOptions::new(SecretString::from("rediss://localhost"), "convene");
        assert!(RedisLimiter::new(&options).is_ok());
    }

    #[test]
    fn a_url_of_something_else_is_refused() {
        let options = RedisOptions::new(SecretString::from("http://localhost"), "convene");
        assert!(RedisLimiter::new(&options).is_err());
    }
}
