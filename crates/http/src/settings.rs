//! What can be configured about HTTP. The composition root reads it from the configuration.

use std::time::Duration;

use convene_contracts::SchemaBase;
pub use ipnet::IpNet;

/// The settings of the API.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The URL under which clients reach the API, without a slash at the end: the base of problem types and of the
    /// server entry in the OpenAPI document.
    pub public_url: String,
    /// The origins whose pages may call the API from a browser, each `scheme://host[:port]`; `*` alone allows all.
    pub cors_origins: Vec<String>,
    /// The networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether `/metrics` is served beside the API; off where it has a listener of its own.
    pub serve_metrics: bool,
    /// The most requests in flight; more are answered with 503 `overloaded`.
    pub max_in_flight: usize,
    /// What bodies are allowed to be.
    pub body: BodyLimits,
    /// Where the schemas of events are published.
    pub schemas: SchemaBase,
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
            trusted_proxies: Vec::new(),
            serve_metrics: true,
            max_in_flight: 2_048,
            body: BodyLimits::default(),
            schemas: SchemaBase::default(),
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
