//! Connections to Postgres, with TLS as the URL's `sslmode` says and the system's trust anchors.
//!
//! `disable` speaks in clear and `require` only over verified TLS. `prefer`, the default, prefers verified TLS and takes
//! what it gets otherwise, like other clients of Postgres: a server of one's own machine has a certificate of its own.

use std::sync::OnceLock;

use diesel::{ConnectionError, ConnectionResult};
use rustls::ClientConfig;
use rustls_platform_verifier::ConfigVerifierExt as _;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{MakeTlsConnect, NoTlsStream};
use tokio_postgres::{Client, Config, Connection, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

type TlsStream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// A client, and the connection that has to be driven for it.
pub(super) enum Dialled {
    Clear(Client, Box<Connection<Socket, NoTlsStream>>),
    Encrypted(Client, Box<Connection<Socket, TlsStream>>),
}

/// Connects.
pub(super) async fn dial(config: &Config) -> ConnectionResult<Dialled> {
    match config.get_ssl_mode() {
        SslMode::Disable => in_clear(config).await,
        SslMode::Prefer => match config.connect(connector()?).await {
            Ok((client, connection)) => Ok(Dialled::Encrypted(client, Box::new(connection))),
            Err(error) if failed_handshake(&error) => in_clear(config).await,
            Err(error) => Err(bad(&error)),
        },
        _ => {
            let (client, connection) =
                config.connect(connector()?).await.map_err(|error| bad(&error))?;
            Ok(Dialled::Encrypted(client, Box::new(connection)))
        }
    }
}

async fn in_clear(config: &Config) -> ConnectionResult<Dialled> {
    // Told not to ask for TLS: the answer would be the same.
    let mut config = config.clone();
    config.ssl_mode(SslMode::Disable);
    let (client, connection) = config.connect(NoTls).await.map_err(|error| bad(&error))?;
    Ok(Dialled::Clear(client, Box::new(connection)))
}

/// A connector that verifies the server's certificate and name. Made once: it reads all trust anchors of the system.
fn connector() -> ConnectionResult<MakeRustlsConnect> {
    static CONNECTOR: OnceLock<MakeRustlsConnect> = OnceLock::new();
    if let Some(connector) = CONNECTOR.get() {
        return Ok(connector.clone());
    }
    let config = ClientConfig::with_platform_verifier().map_err(|error| {
        ConnectionError::BadConnection(format!("TLS cannot be set up: {error}"))
    })?;
    Ok(CONNECTOR.get_or_init(|| MakeRustlsConnect::new(config)).clone())
}

/// The kind of the error is private to the driver; its text is not.
fn failed_handshake(error: &tokio_postgres::Error) -> bool {
    error.to_string().starts_with("error performing TLS handshake")
}

fn bad(error: &tokio_postgres::Error) -> ConnectionError {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    ConnectionError::BadConnection(text)
}
