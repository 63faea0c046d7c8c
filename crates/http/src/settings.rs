//! What can be configured about HTTP. The composition root reads it from the configuration.

use std::time::Duration;

use convene_application::kernel::limits::Quota;
use convene_contracts::SchemaBase;
pub use ipnet::IpNet;

use crate::versions::Versions;

/// The settings of the API.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The URL under which clients reach the API, without a slash at the end: the base of problem types and of the
    /// server entry in the OpenAPI document.
    pub public_url: String,
    /// The origins whose pages may call the API from a browser, each `scheme://host[:port]`; `*` alone allows all.
    pub cors_origins: Vec<String>,
    /// The names under which the API is asked; requests that name another are refused. Empty: any.
    pub allowed_hosts: Vec<String>,
    /// The networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether `/metrics` is served beside the API; off where it has a listener of its own.
    pub serve_metrics: bool,
    /// The most requests in flight; more are answered with 503 `overloaded`.
    pub max_in_flight: usize,
    /// How long the shortest wait in a queue may be before load is shed; none leaves it at the most requests in flight.
    pub queue_target: Option<Duration>,
    /// How many requests of whom are answered, where there is a limiter.
    pub limits: RequestLimits,
    /// What bodies are allowed to be.
    pub body: BodyLimits,
    /// Where the schemas of events are published.
    pub schemas: SchemaBase,
    /// The dated versions, and which of them a client gets that pins none.
    pub versions: Versions,
}

/// What a request's body is allowed to be, in size and in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimits {
    /// The most bytes.
    pub max_bytes: usize,
    /// The time within which the whole body must have arrived.
    pub deadline: Duration,
    /// The time before the minimum rate counts.
    pub grace: Duration,
    /// The least bytes per second, on average, after the grace.
    pub min_rate: u32,
}

/// How many requests of whom are answered; more are answered with 429 `rate_limited`. A request may cost several units of
/// a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Of one client, which is an IPv4 address or an IPv6 subscriber.
    pub client: Quota,
    /// Of one person.
    pub user: Quota,
    /// That name one community.
    pub community: Quota,
    /// Of one client in flight.
    pub client_at_once: u32,
    /// Of one person in flight.
    pub user_at_once: u32,
}

impl Default for RequestLimits {
    fn default() -> Self {
        let minute = Duration::from_mins(1);
        Self {
            client: Quota::new(6_000, minute, 60_000),
            user: Quota::new(1_200, minute, 6_000),
            community: Quota::new(3_000, minute, 30_000),
            client_at_once: 1_024,
            user_at_once: 256,
        }
    }
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self {
            max_bytes: 1024 * 1024,
            deadline: Duration::from_secs(30),
            grace: Duration::from_secs(5),
            min_rate: 500,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            public_url: "http://127.0.0.1:8080".to_owned(),
            cors_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            serve_metrics: true,
            max_in_flight: 2_048,
            queue_target: None,
            limits: RequestLimits::default(),
            body: BodyLimits::default(),
            schemas: SchemaBase::default(),
            versions: Versions::default(),
        }
    }
}

/// What the server that carries the application must be set to; the application cannot set it itself.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// `HttpServer::client_request_timeout`: how long the head of a request may take.
    pub head_timeout: Duration,
    /// `HttpServer::client_disconnect_timeout`: how long a closing connection may take.
    pub disconnect_timeout: Duration,
    /// `HttpServer::keep_alive`: how long an idle connection is kept.
    pub keep_alive: Duration,
    /// `HttpServer::shutdown_timeout`: how long requests may go on after SIGTERM.
    pub drain: Duration,
}

/// The limits of the server. A head that takes longer is cut off with 408; one larger than 32 KiB is answered by the
/// application with 431, and one larger than 128 KiB by actix itself.
pub const SERVER_LIMITS: ServerLimits = ServerLimits {
    head_timeout: Duration::from_secs(10),
    disconnect_timeout: Duration::from_secs(5),
    keep_alive: Duration::from_secs(75),
    drain: Duration::from_secs(30),
};
