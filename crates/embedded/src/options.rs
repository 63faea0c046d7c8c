//! How a private server is to be run.

use std::{path::PathBuf, time::Duration};

/// How a private server is to be run. Begin with [`ServerOptions::persistent`] or
/// [`ServerOptions::temporary`] and change what differs.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The folder for data, log and bookkeeping; created when absent. It belongs to the server
    /// alone. `None`: a new folder in the system's temporary one, removed with the handle.
    pub data_dir: Option<PathBuf>,
    /// The TCP port on 127.0.0.1. `None`: the port this folder had before, else a free one.
    pub port: Option<u16>,
    /// Whether acknowledged writes must survive a power failure. Without it they still survive the
    /// death of Postgres, while Redis keeps nothing. RabbitMQ decides per message.
    pub durable: bool,
    /// Whether dropping the handle stops the server. Such a server also ends when the process that
    /// started it dies in whatever way (given `setpriv` from util-linux). Without it, the server
    /// outlives handle and process until [`stop`](crate::Server::stop).
    pub stop_on_drop: bool,
    /// Further settings in the server's own terms: `-c key=value` for Postgres, `--key value` for
    /// Redis, lines of `rabbitmq.conf` for RabbitMQ. A running server that is attached to keeps the
    /// settings that it was started with.
    pub settings: Vec<(String, String)>,
    /// Further variables of the environment of the server's process, for tests that change the ground it stands on.
    pub environment: Vec<(String, String)>,
    /// How long the server may take until it answers.
    pub ready_within: Duration,
}

impl ServerOptions {
    /// A server whose data is kept: durable, and left running until it is told to stop.
    pub fn persistent(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: Some(data_dir.into()),
            port: None,
            durable: true,
            stop_on_drop: false,
            settings: Vec::new(),
            environment: Vec::new(),
            ready_within: Duration::from_secs(60),
        }
    }

    /// A throw-away server: fast rather than durable, and gone with its handle.
    pub fn temporary() -> Self {
        Self {
            data_dir: None,
            port: None,
            durable: false,
            stop_on_drop: true,
            settings: Vec::new(),
            environment: Vec::new(),
            ready_within: Duration::from_secs(60),
        }
    }

    /// Asks for a certain port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Adds a setting in the server's own terms.
    #[must_use]
    pub fn setting(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((key.into(), value.into()));
        self
    }
}
