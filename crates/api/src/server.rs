//! Listeners and their end: announced first, then no new connections, and every request that was taken is answered.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpServer;
use actix_web::dev::ServerHandle;
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
    threads: usize,
    ending: Ending,
) -> std::io::Result<()> {
    let state = Arc::clone(&http);
    let threads = if threads == 0 { cores() } else { threads };
    let server = HttpServer::new(move || convene_http::app(&state, &services))
        .workers(threads)
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
