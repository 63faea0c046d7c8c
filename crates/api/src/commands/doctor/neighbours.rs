//! The services beside the database.

use std::time::Duration;

use convene_infrastructure::redis;
use convene_integrations::email::SmtpTimeouts;
use convene_messaging::{BrokerError, inspect_broker};
use jiff::SignedDuration;
use secrecy::ExposeSecret as _;

use super::Check;
use crate::error::StartError;
use crate::wiring::{Platform, smtp as mail_server, topology};

/// Limits are counted by Redis' clock, and what they answer by ours.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(5);
/// Nobody waits behind a doctor as they do behind a mail.
const MAIL_TIMEOUTS: SmtpTimeouts =
    SmtpTimeouts { command: Duration::from_secs(3), exchange: Duration::from_secs(6) };

pub(super) async fn redis(platform: &Platform) -> Check {
    const NAME: &str = "redis";
    let url = &platform.config.redis.url;
    if url.expose_secret().is_empty() {
        return Check::not_configured(NAME, "not configured: each process keeps its own limits");
    }
    let server = match redis::inspect(url).await {
        Ok(server) => server,
        Err(error) => {
            return Check::broken(
                NAME,
                &error,
                "check redis.url (CONVENE__REDIS__URL); until then each process keeps stricter limits of its own",
            );
        }
    };
    let detail = format!("Redis {}, maxmemory-policy {}", server.version, server.eviction_policy);
    if server.may_evict() {
        let advice = "set maxmemory-policy to noeviction: a counter that is thrown away is a limit that begins anew";
        return Check::warn(NAME, detail, advice);
    }
    // Its clock counts whole seconds, and asking took a moment.
    let ahead = server.time.duration_since(platform.env.now()).abs();
    if ahead > CLOCK_SKEW {
        let detail = format!("{detail}; its clock is {} s away from ours", ahead.as_secs());
        return Check::warn(
            NAME,
            detail,
            "keep both machines at the same time, by NTP for example",
        );
    }
    Check::ok(NAME, detail)
}

pub(super) async fn broker(platform: &Platform) -> Result<Vec<Check>, StartError> {
    let Some((options, topology)) = topology(platform)? else {
        let detail = "not configured: events go through the bus inside the process";
        return Ok(vec![Check::not_configured("broker", detail)]);
    };
    let report = match inspect_broker(&options, &topology).await {
        Ok(report) => report,
        Err(error) => return Ok(vec![unusable(&error)]),
    };
    let exchange = topology.events();
    let declared = match &report.mismatched {
        Some(difference) => Check::fail(
            "broker_topology",
            difference.clone(),
            "delete it at the broker once it is empty, and start `convene worker`, which declares it",
        ),
        None if report.missing.is_empty() => {
            Check::ok("broker_topology", format!("{exchange} and its queues are as declared"))
        }
        None => Check::fail(
            "broker_topology",
            format!("missing: {}", report.missing.join(", ")),
            "start `convene serve` or `convene worker`, which declare it",
        ),
    };
    let waiting = format!("{} parked, {} unrouted", report.parked, report.unrouted);
    let parked = if report.parked > 0 {
        let advice = format!(
            "no consumer could read them: look at the queue {}; `convene events replay` takes them from the log",
            topology.parked()
        );
        Check::warn("parked_messages", waiting, advice)
    } else {
        Check::ok("parked_messages", waiting)
    };
    Ok(vec![Check::ok("broker", format!("reachable, exchange {exchange}")), declared, parked])
}

fn unusable(error: &BrokerError) -> Check {
    Check::broken(
        "broker",
        error,
        "check broker.url (CONVENE__BROKER__URL); until then events wait in the log",
    )
}

pub(super) async fn smtp(platform: &Platform) -> Result<Check, StartError> {
    const NAME: &str = "smtp";
    let config = &platform.config;
    if config.mail.smtp_url.expose_secret().is_empty() {
        return Ok(Check::not_configured(NAME, "not configured: mail goes to /dev/mail"));
    }
    let server = mail_server(config, MAIL_TIMEOUTS, &platform.env.clock)?;
    Ok(match server.greet().await {
        Ok(()) => Check::ok(NAME, "reachable and ready"),
        Err(error) => Check::broken(
            NAME,
            &error,
            "check mail.smtp_url (CONVENE__MAIL__SMTP_URL); until then mail waits as jobs",
        ),
    })
}
