//! Limits on guessing passwords and on mail to an address. They count by what is tried, so they tell nobody whether an
//! account exists.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::ports::{AccountKey, LoginAttempts};
use crate::kernel::error::Failure;
use crate::kernel::limits::{Limiter, Quota, Verdict, client_network};
use crate::kernel::store::StoreError;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// Failed logins that are audited, for each account and each client.
const REFUSALS_PER_ACCOUNT: Quota = Quota::new(10, HOUR, 10);
const REFUSALS_PER_CLIENT: Quota = Quota::new(100, HOUR, 100);

/// How often somebody may try. The defaults of logins are those of matrix-authentication-service and, for consecutive
/// failures, of NIST SP 800-63B-4 §3.2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuessingLimits {
    /// Logins from one address of the network to one account.
    pub login_per_client_and_account: Quota,
    /// Logins that fail, from one address of the network, behind which a whole venue may sit.
    pub login_failures_per_client: Quota,
    /// Logins to one account, from anywhere.
    pub login_per_account: Quota,
    /// Registrations of one e-mail address.
    pub registrations_per_address: Quota,
    /// Verification mails that one e-mail address is sent again.
    pub verifications_per_address: Quota,
    /// Password resets that one e-mail address is offered.
    pub resets_per_address: Quota,
    /// Logins to one account that may fail one after another before its password has to be reset.
    pub consecutive_failures: u32,
}

impl Default for GuessingLimits {
    fn default() -> Self {
        Self {
            login_per_client_and_account: Quota::new(3, MINUTE, 3),
            login_failures_per_client: Quota::new(100, MINUTE, 100),
            login_per_account: Quota::new(1_800, HOUR, 1_800),
            registrations_per_address: Quota::new(10, HOUR, 10),
            verifications_per_address: Quota::new(3, HOUR, 1),
            resets_per_address: Quota::new(3, HOUR, 1),
            consecutive_failures: 100,
        }
    }
}

/// What a request for mail to an address is about.
#[derive(Clone, Copy)]
pub(super) enum MailRequest {
    Registration,
    Verification,
    Reset,
}

/// Keeps the limits; without any it lets everything pass.
pub(super) struct Guard {
    pub(super) limiter: Arc<dyn Limiter>,
    pub(super) attempts: Arc<dyn LoginAttempts>,
    pub(super) limits: Option<GuessingLimits>,
}

impl Guard {
    /// Lets a login be tried or refuses it. A refused one does not spend the account's quota: one client cannot use it up
    /// for all others.
    pub(super) async fn admit_login(
        &self,
        client: Option<IpAddr>,
        account: &AccountKey,
    ) -> Result<(), Failure> {
        let Some(limits) = &self.limits else { return Ok(()) };
        if let Some(client) = client.map(client_network) {
            let failures = failures_key(client);
            admitted(self.limiter.peek(&failures, limits.login_failures_per_client).await)?;
            let pair = format!("login:{client}:{account}");
            admitted(self.limiter.spend(&pair, limits.login_per_client_and_account).await)?;
        }
        let key = format!("login:{account}");
        admitted(self.limiter.spend(&key, limits.login_per_account).await)
    }

    /// Counts a login as failed until it has succeeded, so that no number of parallel attempts gets past the limit.
    /// Returns whether the account is locked.
    pub(super) async fn count_attempt(
        &self,
        account: &AccountKey,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let Some(limits) = &self.limits else { return Ok(false) };
        Ok(self.attempts.count(account, now).await? > limits.consecutive_failures)
    }

    /// Takes an attempt back that the server did not get round to judging.
    pub(super) async fn take_back_attempt(&self, account: &AccountKey) -> Result<(), StoreError> {
        match self.limits {
            Some(_) => self.attempts.take_back(account).await,
            None => Ok(()),
        }
    }

    /// Counts a login that failed against the client that tried it.
    pub(super) async fn login_failed(&self, client: Option<IpAddr>) {
        if let (Some(limits), Some(client)) = (&self.limits, client.map(client_network)) {
            // Whether this was one too many is for the next attempt to hear.
            self.limiter.spend(&failures_key(client), limits.login_failures_per_client).await;
        }
    }

    /// Whether the audit log has room for one more failed login of this account and this client. Always bounded, with or
    /// without limits on guessing: whoever tries addresses without end must not fill the log.
    pub(super) async fn admit_refusal(&self, client: Option<IpAddr>, account: &AccountKey) -> bool {
        let mut keys = vec![(format!("audit:login:{account}"), REFUSALS_PER_ACCOUNT)];
        keys.extend(client.map(|client| {
            (format!("audit:login:{}", client_network(client)), REFUSALS_PER_CLIENT)
        }));
        for (key, quota) in keys {
            if self.limiter.spend(&key, quota).await != Verdict::Allowed {
                metrics::counter!("convene_audit_refusals_left_out_total").increment(1);
                return false;
            }
        }
        true
    }

    /// Lets mail be asked for or refuses it.
    pub(super) async fn admit_mail(
        &self,
        request: MailRequest,
        account: &AccountKey,
    ) -> Result<(), Failure> {
        let Some(limits) = &self.limits else { return Ok(()) };
        let (name, quota) = match request {
            MailRequest::Registration => ("register", limits.registrations_per_address),
            MailRequest::Verification => ("verify", limits.verifications_per_address),
            MailRequest::Reset => ("reset", limits.resets_per_address),
        };
        admitted(self.limiter.spend(&format!("{name}:{account}"), quota).await)
    }
}

fn admitted(verdict: Verdict) -> Result<(), Failure> {
    match verdict {
        Verdict::Allowed => Ok(()),
        Verdict::Refused { retry_after } => {
            metrics::counter!("convene_auth_limited_total").increment(1);
            Err(Failure::rate_limited(retry_after))
        }
    }
}

fn failures_key(client: IpAddr) -> String {
    format!("login-failures:{client}")
}
