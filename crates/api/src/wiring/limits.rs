//! Limits on guessing and on requests.

use std::sync::Arc;
use std::time::Duration;

use convene_application::kernel::limits::{Limiter, Quota, RequestLimiter};
use convene_http::settings::RequestLimits;
use convene_infrastructure::memory::{InProcessLimiter, InProcessRequestLimiter};
use convene_infrastructure::redis::{RedisLimiter, RedisOptions};
use secrecy::ExposeSecret as _;
use tokio::runtime::Handle;

use super::Platform;
use crate::config::{Limits as Settings, Mistake};
use crate::error::StartError;

/// The limiters of a process.
pub(super) struct Limits {
    /// Of guessing, and of what the audit log takes, which is limited in any case.
    pub(super) guessing: Arc<dyn Limiter>,
    /// Of requests, if they are limited.
    pub(super) requests: Option<Arc<dyn RequestLimiter>>,
}

/// Call on the runtime that is to drive the connections to Redis.
pub(super) fn wire(platform: &Platform) -> Result<Limits, StartError> {
    let config = &platform.config;
    let enabled = config.limits.enabled;
    if config.redis.url.expose_secret().is_empty() {
        let requests = enabled.then(|| Arc::new(InProcessRequestLimiter::default()) as _);
        return Ok(Limits { guessing: Arc::new(InProcessLimiter::default()), requests });
    }
    let options = RedisOptions {
        instances: config.limits.instances,
        ..RedisOptions::new(config.redis.url.clone(), config.redis.prefix.clone())
    };
    let limiter = RedisLimiter::new(&options).map_err(|error| {
        StartError::Configuration(vec![Mistake::of("redis.url", error.to_string())])
    })?;
    let requests = enabled.then(|| Arc::new(limiter.of_requests(&Handle::current())) as _);
    Ok(Limits { guessing: Arc::new(limiter), requests })
}

/// The quotas of requests.
pub(super) fn quotas(limits: &Settings) -> RequestLimits {
    let quota = |burst, a_minute| Quota::new(burst, Duration::from_mins(1), a_minute);
    RequestLimits {
        client: quota(limits.client_burst, limits.client_per_minute),
        user: quota(limits.user_burst, limits.user_per_minute),
        community: quota(limits.community_burst, limits.community_per_minute),
        client_at_once: limits.client_at_once,
        user_at_once: limits.user_at_once,
    }
}
