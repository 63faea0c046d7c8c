//! `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10): what is allowed, and what is left of it.
//!
//! Both are lists of structured fields (RFC 9651). The first names each policy that the request met, with its quota (`q`, the
//! burst) and the window in which all of it becomes free again (`w`, in seconds); the second the one that is closest to its
//! limit, with what is left (`r`) and when it is whole again (`t`). Quotas count units, of which a request may cost
//! several.

use std::fmt::Write as _;
use std::time::Duration;

use actix_web::http::header::{HeaderName, HeaderValue};
use convene_application::kernel::limits::{Quota, Standing};

use super::{POLICIES, Policy};

pub(super) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// `RateLimit-Policy` for each set of policies, made once.
#[derive(Debug)]
pub(super) struct PolicyFields([HeaderValue; 1 << POLICIES]);

impl PolicyFields {
    pub(super) fn new(quota: impl Fn(Policy) -> Quota) -> Self {
        Self(std::array::from_fn(|set| {
            let items = Policy::ALL.into_iter().filter(|policy| set & policy.bit() != 0);
            let items: Vec<String> = items.map(|policy| item(policy, quota(policy))).collect();
            // Names and numbers are always a valid value.
            HeaderValue::from_str(&items.join(", ")).unwrap_or(HeaderValue::from_static(""))
        }))
    }

    /// The field for a set of policies, by their bits.
    pub(super) fn of(&self, set: usize) -> HeaderValue {
        self.0[set].clone()
    }
}

fn item(policy: Policy, quota: Quota) -> String {
    format!("\"{}\";q={};w={}", policy.name(), quota.burst, seconds(quota.window()).max(1))
}

/// `RateLimit` for the policy that is closest to its limit.
pub(super) fn rate_limit(policy: Policy, standing: &Standing) -> HeaderValue {
    let mut text = String::with_capacity(32);
    let (remaining, reset) = (standing.remaining, seconds(standing.reset));
    let written = write!(text, "\"{}\";r={remaining};t={reset}", policy.name());
    debug_assert!(written.is_ok(), "text can always be written to");
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

/// Whole seconds, rounded up.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use convene_application::kernel::limits::Verdict;

    use super::*;

    #[test]
    fn fields_have_the_syntax_of_the_draft() {
        let quota = Quota::new(1_200, Duration::from_mins(1), 6_000);
        let fields = PolicyFields::new(|_| quota);
        assert_eq!(fields.of(Policy::User.bit()), "\"user\";q=1200;w=12");
        assert_eq!(
            fields.of(Policy::Client.bit() | Policy::Community.bit()),
            "\"client\";q=1200;w=12, \"community\";q=1200;w=12"
        );
        let standing = Standing {
            verdict: Verdict::Allowed,
            remaining: 1_199,
            reset: Duration::from_millis(10),
        };
        assert_eq!(rate_limit(Policy::User, &standing), "\"user\";r=1199;t=1");
    }
}
