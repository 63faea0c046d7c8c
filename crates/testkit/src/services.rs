//! The Postgres, Redis and RabbitMQ that tests use.
//!
//! Each is looked for once per process, when it is first asked for:
//!
//! 1. where the environment says: `CONVENE_TEST_DATABASE_URL` (a user who may create databases and
//!    roles), `CONVENE_TEST_REDIS_URL`, `CONVENE_TEST_BROKER_URL`;
//! 2. on the standard local port: `postgres://postgres@127.0.0.1:5432/postgres` without a
//!    password, `redis://127.0.0.1:6379/0`, `amqp://guest:guest@127.0.0.1:5672/%2f`;
//! 3. privately, started from the installed programs: all test processes share those, the next run
//!    finds them again, and they end when nobody has used them for a while.
//!
//! Where nothing of this works the test fails, saying what is missing and how to get it. The
//! functions block, for some seconds if a server has to be started.

use std::{
    env, fmt, io,
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::OnceLock,
    time::Duration,
};

use convene_embedded::{Engine, Error, Postgres, RabbitMq, Redis, Server, ServerOptions, probe};
use url::Url;

use crate::database::connection;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const AMQPS_PORT: u16 = 5671;
/// Longer than the pause between two test binaries of one `cargo test`.
const LINGER: Duration = Duration::from_secs(20);

/// The URL of a database whose user may create databases and roles.
///
/// # Panics
/// When there is none and none can be started.
pub fn database_url() -> &'static str {
    static FOUND: OnceLock<Found<Postgres>> = OnceLock::new();
    let service = Service {
        name: "PostgreSQL",
        variable: "CONVENE_TEST_DATABASE_URL",
        standard: "postgres://postgres@127.0.0.1:5432/postgres",
        port: 5432,
    };
    &FOUND
        .get_or_init(|| {
            service.find(connection::may_create_databases, || {
                // Hundreds of tests with pools of four run at the same time.
                let server: Postgres =
                    private("postgres", |options| options.setting("max_connections", "500"))?;
                Ok((server.url("postgres", "postgres"), server))
            })
        })
        .url
}

/// The URL of a Redis server.
///
/// # Panics
/// When there is none and none can be started.
pub fn redis_url() -> &'static str {
    static FOUND: OnceLock<Found<Redis>> = OnceLock::new();
    let service = Service {
        name: "Redis",
        variable: "CONVENE_TEST_REDIS_URL",
        standard: "redis://127.0.0.1:6379/0",
        port: 6379,
    };
    let answers = |_: &str| probe::redis(local(service.port)).is_ok();
    &FOUND
        .get_or_init(|| {
            service.find(answers, || {
                let server: Redis = private("redis", |options| options)?;
                Ok((server.url(), server))
            })
        })
        .url
}

/// The URL of a RabbitMQ server.
///
/// # Panics
/// When there is none and none can be started.
pub fn broker_url() -> &'static str {
    static FOUND: OnceLock<Found<RabbitMq>> = OnceLock::new();
    let service = Service {
        name: "RabbitMQ",
        variable: "CONVENE_TEST_BROKER_URL",
        standard: "amqp://guest:guest@127.0.0.1:5672/%2f",
        port: 5672,
    };
    let answers = |_: &str| probe::rabbitmq(local(service.port)).is_ok();
    &FOUND
        .get_or_init(|| {
            service.find(answers, || {
                let server: RabbitMq = private("rabbitmq", |options| options)?;
                Ok((server.url(), server))
            })
        })
        .url
}

/// What is known about a service before it is looked for.
struct Service {
    name: &'static str,
    variable: &'static str,
    /// Where it usually is on a developer's machine.
    standard: &'static str,
    port: u16,
}

/// A service that was found, and the handle that keeps it running if it is a private one.
struct Found<S> {
    url: String,
    _server: Option<S>,
}

impl Service {
    fn find<S>(
        &self,
        standard_serves: impl FnOnce(&str) -> bool,
        start: impl FnOnce() -> Result<(String, S), Error>,
    ) -> Found<S> {
        if let Ok(url) = env::var(self.variable) {
            self.check_named(&url).unwrap_or_else(|error| panic!("{error}"));
            return Found { url, _server: None };
        }
        if standard_serves(self.standard) {
            return Found { url: self.standard.to_owned(), _server: None };
        }
        let (url, server) = start().unwrap_or_else(|error| panic!("{}", self.missing(&error)));
        Found { url, _server: Some(server) }
    }

    /// Whether somebody listens where the environment says. What they speak shows when the test
    /// connects, encrypted or not.
    fn check_named(&self, url: &str) -> Result<(), String> {
        let wrong = |reason: &dyn fmt::Display| {
            format!(
                "{} is set to {}, where this test finds no {}: {reason}. Start that server, or \
                 unset the variable to use a local one.",
                self.variable,
                without_password(url),
                self.name,
            )
        };
        let parsed = Url::parse(url).map_err(|error| wrong(&error))?;
        let host = parsed.host_str().unwrap_or("127.0.0.1");
        let standard = if parsed.scheme() == "amqps" { AMQPS_PORT } else { self.port };
        let port = parsed.port().unwrap_or(standard);
        connect(host, port).map_err(|error| wrong(&error))
    }

    fn missing(&self, error: &Error) -> String {
        let Self { name, variable, standard, port } = self;
        let mut reasons = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(error) = source {
            reasons += &format!(": {error}");
            source = error.source();
        }
        format!(
            "This test needs {name}. Do one of these:\n\
             - `make setup`, which installs it; tests then start a private one themselves\n\
             - start one on port {port} of this machine ({standard})\n\
             - set {variable} to the URL of one\n\
             What was tried last, a private one, failed: {reasons}"
        )
    }
}

/// A private server that the test processes share.
fn private<E: Engine>(
    name: &str,
    adjust: impl FnOnce(ServerOptions) -> ServerOptions,
) -> Result<Server<E>, Error> {
    let options = ServerOptions {
        durable: false,
        data_dir: Some(private_folder().join(name)),
        ..ServerOptions::temporary()
    };
    Server::start_shared(adjust(options), LINGER)
}

/// One folder per user, since one may not write the other's; outside `target`, which `cargo clean`
/// would pull from under the servers.
fn private_folder() -> PathBuf {
    let user = std::fs::metadata("/proc/self").map_or(0, |metadata| metadata.uid());
    env::temp_dir().join(format!("convene-test-services-{user}"))
}

fn connect(host: &str, port: u16) -> io::Result<()> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host.trim_matches(['[', ']']), port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_WITHIN) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn without_password(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut parsed) => {
            // Fails for URLs without a host, which have no password either.
            let _ = parsed.set_password(None);
            parsed.into()
        }
        Err(_) => "a value that is no URL".to_owned(),
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOWHERE: Service = Service {
        name: "Redis",
        variable: "CONVENE_TEST_REDIS_URL_OF_NOBODY",
        standard: "redis://127.0.0.1:6379/0",
        port: 6379,
    };

    #[test]
    fn a_private_server_is_shared_and_ends_when_unused() {
        let folder = tempfile::tempdir().unwrap();
        let options = ServerOptions::persistent(folder.path());
        let share = || Redis::start_shared(options.clone(), Duration::from_millis(100)).unwrap();
        let found = NOWHERE.find(
            |_| false,
            || {
                let server = share();
                Ok((server.url(), server))
            },
        );
        let again = share();
        assert_eq!(found.url, again.url());
        assert!(again.attached());
    }

    #[test]
    fn the_standard_one_comes_before_a_private_one() {
        let found: Found<()> = NOWHERE.find(|_| true, || panic!("not to be started"));
        assert_eq!(found.url, NOWHERE.standard);
    }

    #[test]
    fn a_named_server_that_is_not_there_is_reported_without_its_password() {
        let port = convene_embedded::port::free().unwrap();
        let url = format!("redis://me:secret@127.0.0.1:{port}/0");
        let error = NOWHERE.check_named(&url).unwrap_err();
        assert!(
            error.contains("CONVENE_TEST_REDIS_URL_OF_NOBODY is set to redis://me@"),
            "{error}"
        );
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn what_is_missing_is_said_with_every_remedy() {
        let missing = NOWHERE.missing(&Error::ProgramsMissing {
            server: "Redis",
            programs: "redis-server",
            package: "redis-server",
            variable: "CONVENE_REDIS_BIN",
        });
        for part in ["needs Redis", "make setup", "port 6379", NOWHERE.variable, "not found"] {
            assert!(missing.contains(part), "{missing}");
        }
    }
}
