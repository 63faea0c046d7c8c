//! RabbitMQ: publishing with confirms, consuming with acknowledgements.

mod connection;
mod consumers;
mod feed;
mod inspection;
mod message;
mod parking;
mod publisher;
mod sink;
mod status;
mod topology;
mod transport;

use std::time::Duration;

use lapin::uri::AMQPUri;
use secrecy::{ExposeSecret as _, SecretString};

pub use consumers::RabbitConsumers;
pub use inspection::{BrokerReport, inspect_broker};
pub use parking::RabbitParking;
pub use sink::RabbitSink;
pub use status::BusStatus;
pub use topology::{Topology, declare_topology};

/// In seconds; a silent peer is given up after two of these.
const HEARTBEAT: u16 = 10;

/// How to reach the broker and how to use it.
#[derive(Clone, Debug)]
pub struct RabbitOptions {
    /// `amqp://user:password@host:port/vhost`, or `amqps` for TLS with the machine's trust anchors.
    pub url: SecretString,
    /// In front of the names of all exchanges and queues; for installations that share a virtual host.
    pub prefix: String,
    /// How long a new connection may take, until the broker has accepted the login.
    pub connect: Duration,
    /// How long the broker may take to confirm the next event of a run.
    pub confirm: Duration,
    /// How many events a publisher has in flight at once.
    pub in_flight: u32,
    /// How many unacknowledged events a consumer holds in one process.
    pub prefetch: u16,
    /// How many events a consumer takes at once in one process. Each may occupy a connection to the database.
    pub lanes: usize,
    /// How long a consumer may go on with what it has in hand after the shutdown.
    pub drain: Duration,
    /// Queues that nobody uses for this time vanish. None, for installations that are to last: they never do.
    pub expires: Option<Duration>,
}

impl RabbitOptions {
    /// The usual numbers, for the broker at this URL.
    #[must_use]
    pub fn new(url: SecretString) -> Self {
        Self {
            url,
            prefix: String::new(),
            connect: Duration::from_secs(5),
            confirm: Duration::from_secs(10),
            in_flight: 1_000,
            prefetch: 256,
            lanes: 4,
            drain: Duration::from_secs(10),
            expires: None,
        }
    }

    fn uri(&self) -> Result<AMQPUri, BrokerError> {
        let text = self.url.expose_secret();
        // lapin would take such a host for none at all, and connect to localhost.
        if text.contains("//[") || text.contains("@[") {
            return Err(BrokerError::Url("an IPv6 address needs a host name".to_owned()));
        }
        let mut uri: AMQPUri = text.parse().map_err(BrokerError::Url)?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        Ok(uri)
    }
}

/// Why the broker could not be used.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The URL is none that leads to a broker.
    #[error("the broker's URL cannot be used: {0}")]
    Url(String),
    /// It did not answer in time.
    #[error("the broker does not answer")]
    Late,
    /// It is short of memory or disk, and takes nothing from publishers until that has passed.
    #[error("the broker blocks publishers")]
    Blocked,
    /// It could not keep a message, and said so.
    #[error("the broker refused a message")]
    Refused,
    /// It found no queue for a message, though there is one for whatever nobody has bound.
    #[error("the broker has no queue for a message")]
    Unroutable,
    /// An exchange or a queue of that name exists, and is not what is needed.
    #[error(
        "the {kind} `{name}` exists at the broker with other properties ({difference}): delete it there, or choose another prefix"
    )]
    Mismatch {
        /// `exchange` or `queue`.
        kind: &'static str,
        /// Its name at the broker.
        name: String,
        /// What differs, in the broker's words.
        difference: String,
    },
    /// It answers, but not about this exchange or queue. A quorum queue without a majority of its members is so; and
    /// RabbitMQ 3.10 loses one for good if it is killed within seconds of its making: delete it there then.
    #[error("the broker does not answer for the {kind} `{name}`")]
    Silent {
        /// `exchange` or `queue`.
        kind: &'static str,
        /// Its name at the broker.
        name: String,
    },
    /// It stopped a subscription, as it does when the queue is deleted.
    #[error("the broker ended a subscription")]
    Ended,
    /// The connection ended while it was in use.
    #[error("the connection to the broker was lost")]
    Lost,
    /// Anything else that the protocol or the network has to say.
    #[error("the connection to the broker failed")]
    Failed(#[from] lapin::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Result<AMQPUri, BrokerError> {
        RabbitOptions::new(SecretString::from(text)).uri()
    }

    #[test]
    fn a_silent_broker_is_given_up_after_seconds_unless_the_url_says_otherwise() {
        assert_eq!(uri("amqp://localhost").unwrap().query.heartbeat, Some(HEARTBEAT));
        assert_eq!(uri("amqp://localhost?heartbeat=60").unwrap().query.heartbeat, Some(60));
    }

    #[test]
    fn a_url_that_would_lead_elsewhere_is_refused() {
        for text in ["amqp://[::1]:5672", "amqps://guest:guest@[::1]/%2f", "http://localhost", ""] {
            assert!(matches!(uri(text), Err(BrokerError::Url(_))), "{text}");
        }
    }

    #[test]
    fn the_password_is_not_shown() {
        let options = RabbitOptions::new(SecretString::from("amqp://guest:sesame@localhost"));
        assert!(!format!("{options:?}").contains("sesame"));
    }
}
