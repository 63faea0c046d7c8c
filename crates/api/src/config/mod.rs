//! Configuration: `config/default.toml` documents every key.

mod load;
mod period;
mod rules;

use std::net::SocketAddr;
use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

pub use load::{Environment, Mistake, load};
pub use period::Period;
pub(crate) use rules::PUBLIC_ENVELOPE_KEY;

/// Which set of defaults is in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, strum::Display, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum Profile {
    /// One process with everything, and a private database of its own.
    Embedded,
    /// PostgreSQL, Redis, RabbitMQ and SMTP by URL.
    #[default]
    Standard,
    /// As standard, with development's conveniences refused.
    Production,
}

/// Everything that can be set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The HTTP server.
    pub http: Http,
    /// The listener of administrators.
    pub admin: Admin,
    /// PostgreSQL.
    pub database: Database,
    /// Redis.
    pub redis: Redis,
    /// RabbitMQ.
    pub broker: Broker,
    /// Outgoing mail.
    pub mail: Mail,
    /// Outgoing webhooks.
    pub webhooks: Webhooks,
    /// Tokens and passwords.
    pub auth: Auth,
    /// Limits on guessing, on requests and on load.
    pub limits: Limits,
    /// The engines.
    pub worker: Worker,
    /// Keys.
    pub secrets: Secrets,
    /// Recorded events.
    pub events: Events,
    /// Logs, metrics and traces.
    pub telemetry: Telemetry,
    /// The embedded profile.
    pub embedded: Embedded,
}

/// The HTTP server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Where it listens.
    pub bind: SocketAddr,
    /// How clients reach it.
    pub public_url: String,
    /// Threads; 0 means one a core.
    pub workers: usize,
    /// The most requests in flight.
    pub max_in_flight: usize,
    /// The most connections; more wait to be accepted.
    pub max_connections: usize,
    /// The largest body, in bytes.
    pub body_limit: usize,
    /// How long a body may take.
    pub body_timeout: Period,
    /// Bytes per second after the first five seconds.
    pub body_min_rate: u64,
    /// How long a reply may wait for a client that does not read it.
    pub write_timeout: Period,
    /// How long requests are still taken after SIGTERM.
    pub drain_delay: Period,
    /// How long those that were taken may then go on.
    pub drain_timeout: Period,
    /// The names under which it is asked.
    pub allowed_hosts: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Origins that browsers may call from.
    pub cors_origins: Vec<String>,
    /// Where `/metrics` is served; empty means with the API.
    pub metrics_bind: String,
    /// What a client gets that pins no version.
    pub default_version: String,
}

/// The listener of administrators.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Where it is; empty means nowhere.
    pub bind: String,
}

/// PostgreSQL.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// Its URL.
    pub url: SecretString,
    /// Connections for requests.
    pub pool_size: usize,
    /// Connections for jobs.
    pub jobs_pool_size: usize,
    /// Connections for the sequencer and the sinks.
    pub sinks_pool_size: usize,
    /// How long to wait for a free connection.
    pub wait_timeout: Period,
    /// How long a new connection may take.
    pub connect_timeout: Period,
    /// `statement_timeout` of each session.
    pub statement_timeout: Period,
    /// `lock_timeout` of each session.
    pub lock_timeout: Period,
    /// `idle_in_transaction_session_timeout` of each session.
    pub idle_in_transaction_timeout: Period,
}

/// Redis.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// Its URL; empty means none.
    pub url: SecretString,
    /// In front of every key.
    pub prefix: String,
}

/// RabbitMQ.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// Its URL; empty means the bus inside the process.
    pub url: SecretString,
    /// In front of the names of exchanges and queues.
    pub prefix: String,
    /// The most events on their way without a confirm.
    pub in_flight: usize,
}

/// Outgoing mail.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    /// The server; empty means `/dev/mail`.
    pub smtp_url: SecretString,
    /// The sender.
    pub from: String,
}

/// Outgoing webhooks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhooks {
    /// Plain http, loopback and private networks as targets.
    pub allow_private_targets: bool,
    /// Requests on their way to one endpoint.
    pub concurrency: usize,
}

/// Tokens and passwords.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// `iss` of access tokens.
    pub issuer: String,
    /// `aud` of access tokens.
    pub audience: String,
    /// At most 15 minutes.
    pub access_token_lifetime: Period,
    /// How long a session lasts without being used.
    pub refresh_token_lifetime: Period,
    /// In which a used refresh token gives the same successor again.
    pub refresh_grace: Period,
    /// At most an hour.
    pub mailed_token_lifetime: Period,
    /// Passwords hashed at once; 0 means one a core.
    pub hashing_threads: usize,
    /// Passwords that may wait to be hashed.
    pub hashing_queue: usize,
}

/// Limits on guessing, on requests and on load.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Whether they are in force.
    pub enabled: bool,
    /// How many processes share the quotas; while Redis is lost, each keeps to its part.
    pub instances: u32,
    /// What one client may spend at once.
    pub client_burst: u32,
    /// What becomes free again for one client in a minute.
    pub client_per_minute: u32,
    /// Requests of one client in flight.
    pub client_at_once: u32,
    /// What one person may spend at once.
    pub user_burst: u32,
    /// What becomes free again for one person in a minute.
    pub user_per_minute: u32,
    /// Requests of one person in flight.
    pub user_at_once: u32,
    /// What requests that name one community may spend at once.
    pub community_burst: u32,
    /// What becomes free again for one community in a minute.
    pub community_per_minute: u32,
    /// How long the shortest wait in a queue may be before load is shed.
    pub queue_target: Period,
}

/// The engines.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    /// Where the worker answers probes.
    pub bind: SocketAddr,
    /// Jobs that one process runs at once.
    pub concurrency: usize,
    /// How long a job belongs to a silent worker.
    pub lease: Period,
    /// How often a worker speaks.
    pub heartbeat: Period,
    /// How long one run of a job may take.
    pub job_timeout: Period,
    /// How often to look for work that no bell announced.
    pub poll_interval: Period,
    /// How long what jobs came to is kept.
    pub keep_ended_jobs: Period,
}

/// Keys.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// 32 bytes in base64.
    pub envelope_key: SecretString,
    /// Keys that were in force before.
    pub previous_envelope_keys: Vec<SecretString>,
}

/// Recorded events.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    /// Where their schemas are published; empty means by the API itself.
    pub schema_base: String,
    /// How long they are kept; zero means for good.
    pub keep: Period,
}

/// Logs, metrics and traces.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// How log lines look.
    pub log_format: LogFormat,
    /// After tracing's `EnvFilter`.
    pub log_filter: String,
    /// Where traces go; empty means nowhere.
    pub otlp_endpoint: String,
    /// Which share of the traces that begin here is exported.
    pub trace_sample_ratio: f64,
    /// Where errors are reported, as a DSN of Sentry's; empty means nowhere.
    pub error_reporting_dsn: SecretString,
    /// What reports call this installation; empty means by the name of the profile.
    pub environment: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Pretty on a terminal, JSON elsewhere.
    Auto,
    /// One object a line.
    Json,
    /// For people.
    Pretty,
}

/// The embedded profile.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedded {
    /// Where it keeps its data.
    pub data_dir: PathBuf,
}

impl Config {
    /// How clients reach the API, without a slash at the end.
    #[must_use]
    pub fn public_url(&self) -> String {
        if self.http.public_url.is_empty() {
            format!("http://{}", self.http.bind)
        } else {
            self.http.public_url.trim_end_matches('/').to_owned()
        }
    }

    /// The names under which clients may ask; empty means any.
    #[must_use]
    pub fn allowed_hosts(&self, profile: Profile) -> Vec<String> {
        let named = self.http.allowed_hosts.clone();
        if named.is_empty() && profile == Profile::Production {
            let url = url::Url::parse(&self.public_url()).ok();
            return url.and_then(|url| url.host_str().map(str::to_owned)).into_iter().collect();
        }
        named
    }

    /// What reports call this installation.
    #[must_use]
    pub fn environment(&self, profile: Profile) -> String {
        let named = &self.telemetry.environment;
        if named.is_empty() { profile.to_string() } else { named.clone() }
    }

    /// Where the schemas of events are published: with the API, unless another place is named.
    #[must_use]
    pub fn schema_base(&self) -> String {
        let named = &self.events.schema_base;
        if named.is_empty() { self.public_url() } else { named.clone() }
    }
}
