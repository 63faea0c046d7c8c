//! The byte stream below a connection: TCP or TLS, and a tether to cut it by.
//!
//! lapin reads and writes on a thread of its own, which ends only by the protocol or with the stream. A handshake that the
//! broker never answers, or a connection that it blocks, would keep that thread and its buffers for good; so whoever opens a
//! stream holds a [`Tether`], and the stream ends with it.
//!
//! TLS is set up here because lapin's own brings a second, older generation of cryptography along for client certificates.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures::io::{AsyncRead, AsyncWrite};
use lapin::uri::{AMQPScheme, AMQPUri};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::ConfigVerifierExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};
use tokio_util::either::Either;

/// A stream as lapin takes it.
pub(super) type Stream = Compat<Either<TcpStream, Box<TlsStream<TcpStream>>>>;

/// Ends the stream that it holds when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Tether(Mutex<Option<std::net::TcpStream>>);

impl Tether {
    fn hold(&self, stream: &TcpStream) -> io::Result<()> {
        let handle = stream.as_fd().try_clone_to_owned()?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle.into());
        Ok(())
    }
}

impl Drop for Tether {
    fn drop(&mut self) {
        if let Some(stream) = self.0.get_mut().unwrap_or_else(PoisonError::into_inner) {
            // It fails only where the peer has closed the stream already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Opens a stream to the broker; `tether` cuts it, also when it has gone before the stream is there.
pub(super) async fn open(uri: &AMQPUri, tether: &Weak<Tether>) -> io::Result<Stream> {
    let host = uri.authority.host.as_str();
    let tcp = TcpStream::connect((host, uri.authority.port)).await?;
    tcp.set_nodelay(true)?;
    let abandoned = || io::Error::from(io::ErrorKind::ConnectionAborted);
    tether.upgrade().ok_or_else(abandoned)?.hold(&tcp)?;
    let stream = match uri.scheme {
        AMQPScheme::AMQP => Either::Left(tcp),
        AMQPScheme::AMQPS => {
            let config = ClientConfig::with_platform_verifier().map_err(io::Error::other)?;
            let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
            let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
            Either::Right(Box::new(tls))
        }
    };
    Ok(stream.compat())
}

/// The runtime that this is called in, with streams of the kind above.
pub(super) fn runtime() -> Runtime<RuntimeParts<Tokio, Network>> {
    Runtime::new(RuntimeParts::new(Tokio::current(), Network(Tokio::current())))
}

/// Tokio's reactor but for the type of its streams.
#[derive(Clone, Debug)]
pub(super) struct Network(Tokio);

impl Reactor for Network {
    type TcpStream = Stream;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.0.register(socket)
    }

    fn sleep(&self, duration: std::time::Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(
        &self,
        period: std::time::Duration,
    ) -> impl futures::Stream<Item = Instant> + Send + 'static {
        self.0.interval(period)
    }

    #[expect(clippy::manual_async_fn, reason = "an async fn would borrow the reactor")]
    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Stream>> + Send + 'static {
        async move { Ok(Either::Left(TcpStream::connect(address).await?).compat()) }
    }
}
