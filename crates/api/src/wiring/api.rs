//! The HTTP layer over the use cases.

use std::sync::Arc;

use async_trait::async_trait;
use convene_application::kernel::mail::{Mailbox, SentMail};
use convene_application::kernel::refusals::Refusals;
use convene_application::kernel::store::Source;
use convene_http::ports::{DevMail, DevMessage, Ports};
use convene_http::settings::{BodyLimits, Settings};
use convene_http::versions::Versions;
use convene_integrations::email::DevMailbox;

use super::operations::{MetricsText, Probes};
use super::{Platform, auth, limits};
use crate::config::Mistake;
use crate::error::StartError;
use crate::telemetry::OtelTracer;

/// What a listener is made of.
pub(super) fn parts(
    platform: &Platform,
    auth: &auth::Auth,
    limits: &limits::Limits,
    refusals: Refusals,
    render: MetricsText,
) -> Result<(Settings, Ports), StartError> {
    let stores = [&platform.store, &platform.jobs, &platform.sinks].map(Clone::clone);
    let metrics = Arc::new(move || {
        stores.iter().for_each(|store| store.pool().measure());
        render()
    });
    let config = &platform.config;
    let settings = Settings {
        public_url: config.public_url(),
        allowed_hosts: config.allowed_hosts(platform.profile),
        cors_origins: config.http.cors_origins.clone(),
        trusted_proxies: config.http.trusted_proxies.clone(),
        serve_metrics: config.http.metrics_bind.is_empty(),
        max_in_flight: config.http.max_in_flight,
        queue_target: config.limits.enabled.then_some(config.limits.queue_target.0),
        limits: limits::quotas(&config.limits),
        body: BodyLimits {
            max_bytes: config.http.body_limit,
            deadline: config.http.body_timeout.0,
            min_rate: u32::try_from(config.http.body_min_rate).unwrap_or(u32::MAX),
            ..BodyLimits::default()
        },
        schemas: platform.env.schemas.clone(),
        versions: Versions::with_default(&config.http.default_version).map_err(|unknown| {
            StartError::Configuration(vec![Mistake::of(
                "http.default_version",
                unknown.to_string(),
            )])
        })?,
    };
    let ports = Ports {
        authenticate: auth.authenticator.clone(),
        public_keys: auth.authenticator.clone(),
        refusals: Arc::new(refusals),
        digester: Arc::clone(&platform.digester),
        clock: Arc::clone(&platform.env.clock),
        random: Arc::clone(&platform.env.random),
        limiter: limits.requests.clone(),
        readiness: Arc::new(Probes::of(platform)),
        metrics,
        dev_mail: platform.mailbox.clone().map(|mailbox| {
            let from = config.mail.from.clone();
            Arc::new(Mailroom { mailbox, from }) as Arc<dyn DevMail>
        }),
        tracer: (!config.telemetry.otlp_endpoint.is_empty()).then(|| Arc::new(OtelTracer) as _),
    };
    Ok((settings, ports))
}

/// Shows the development mailbox over HTTP.
struct Mailroom {
    mailbox: Arc<DevMailbox>,
    from: String,
}

impl Mailroom {
    fn message(&self, mail: &SentMail) -> DevMessage {
        DevMessage {
            id: mail.id.clone(),
            from: self.from.clone(),
            to: mail.to.clone(),
            subject: mail.subject.clone(),
            sent_at: mail.sent_at,
            text: mail.text.clone(),
            html: Some(mail.html.clone()),
        }
    }
}

#[async_trait]
impl DevMail for Mailroom {
    async fn list(&self, to: Option<&str>) -> Result<Vec<DevMessage>, Source> {
        let mails = self.mailbox.list();
        let wanted =
            mails.iter().filter(|mail| to.is_none_or(|to| mail.to.eq_ignore_ascii_case(to)));
        Ok(wanted.map(|mail| self.message(mail)).collect())
    }

    async fn find(&self, id: &str) -> Result<Option<DevMessage>, Source> {
        Ok(self.mailbox.get(id).map(|mail| self.message(&mail)))
    }
}
