//! Listeners and their end: announced first, then no new connections, and every request that was taken is answered.

use std::any::Any;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpServer;
use actix_web::dev::ServerHandle;
use actix_web::rt::net::TcpStream;
use convene_http::admin::{AdminServices, admin_app};
use convene_http::settings::SERVER_LIMITS;
use convene_http::{Http, Services};
use tokio_util::sync::CancellationToken;

use crate::error::StartError;

/// When a server ends.
#[derive(Clone)]
pub struct Ending {
    /// Announces the end.
    pub shutdown: CancellationToken,
    /// How long requests are still taken after the announcement.
    pub delay: Duration,
    /// How long those that were taken may go on.
    pub timeout: Duration,
}

/// How much a server takes on.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Threads; 0 means one a core.
    pub threads: usize,
    /// Connections over all threads; more wait to be accepted.
    pub connections: usize,
    /// How long a reply waits for a client that does not read it.
    pub unread: Duration,
}

/// Opens a port now, so that a port that is taken is a mistake at the start.
///
/// # Errors
/// [`StartError::Listen`] with the address.
pub fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|source| StartError::Listen { address, source })
}

/// Serves the API until the end.
///
/// # Errors
/// The server's.
pub async fn serve_api(
    listener: TcpListener,
    http: Arc<Http>,
    services: Services,
    size: Size,
    ending: Ending,
) -> std::io::Result<()> {
    let (state, connected) = (Arc::clone(&http), Arc::clone(&http));
    let threads = if size.threads == 0 { cores() } else { size.threads };
    let server = HttpServer::new(move || convene_http::app(&state, &services))
        .workers(threads)
        .max_connections(size.connections.div_ceil(threads))
        .on_connect(move |connection, extensions| {
            give_up_on_unread(connection, size.unread);
            extensions.insert(connected.connected());
        })
        .client_request_timeout(SERVER_LIMITS.head_timeout)
        .client_disconnect_timeout(SERVER_LIMITS.disconnect_timeout)
        .keep_alive(SERVER_LIMITS.keep_alive)
        .shutdown_timeout(ending.timeout.as_secs())
        .disable_signals()
        .listen(listener)?
        .run();
    end_gracefully(server.handle(), Arc::clone(&http), ending);
    server.await?;
    // Use cases go on when their client has gone.
    http.finish().await;
    Ok(())
}

/// Has the kernel close a connection whose client has taken nothing for so long (RFC 5482): actix waits for ever, with the
/// reply in memory.
fn give_up_on_unread(connection: &dyn Any, unread: Duration) {
    let Some(stream) = connection.downcast_ref::<TcpStream>() else { return };
    let milliseconds = u32::try_from(unread.as_millis()).unwrap_or(u32::MAX);
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(stream, milliseconds) {
        tracing::debug!(%error, "a connection has no time limit for what its client does not read");
    }
}

/// Serves probes and metrics until the end.
///
/// # Errors
/// The server's.
pub async fn serve_operations(
    listener: TcpListener,
    http: Arc<Http>,
    ending: Ending,
) -> std::io::Result<()> {
    let state = Arc::clone(&http);
    let server = HttpServer::new(move || convene_http::operations_app(&state))
        .workers(1)
        .shutdown_timeout(ending.timeout.as_secs())
        .disable_signals()
        .listen(listener)?
        .run();
    end_gracefully(server.handle(), http, ending);
    server.await
}

/// Serves administrators of the platform until the end.
///
/// # Errors
/// The server's.
pub async fn serve_admin(
    listener: TcpListener,
    http: Arc<Http>,
    services: AdminServices,
    ending: Ending,
) -> std::io::Result<()> {
    let state = Arc::clone(&http);
    let server = HttpServer::new(move || admin_app(&state, &services))
        .workers(1)
        .client_request_timeout(SERVER_LIMITS.head_timeout)
        .client_disconnect_timeout(SERVER_LIMITS.disconnect_timeout)
        .keep_alive(SERVER_LIMITS.keep_alive)
        .shutdown_timeout(ending.timeout.as_secs())
        .disable_signals()
        .listen(listener)?
        .run();
    end_gracefully(server.handle(), Arc::clone(&http), ending);
    server.await?;
    http.finish().await;
    Ok(())
}

fn end_gracefully(server: ServerHandle, http: Arc<Http>, ending: Ending) {
    tokio::spawn(async move {
        ending.shutdown.cancelled().await;
        http.drain();
        tokio::time::sleep(ending.delay).await;
        server.stop(true).await;
    });
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get)
}
