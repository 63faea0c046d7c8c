//! A receiver of webhooks that costs next to nothing.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::Fault;
use crate::client::{content_length, end_of_head};

/// Answers 204 to everything, and tells when it came.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    pub(crate) arrivals: mpsc::UnboundedReceiver<Instant>,
}

impl Receiver {
    pub(crate) async fn start() -> Result<Self, Fault> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (tell, arrivals) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, tell.clone()));
            }
        });
        Ok(Self { address, arrivals })
    }
}

async fn serve(mut stream: TcpStream, tell: mpsc::UnboundedSender<Instant>) -> Result<(), Fault> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(8 * 1024);
    loop {
        while let Some(head) = end_of_head(&buffer) {
            let length = content_length(std::str::from_utf8(&buffer[..head])?);
            if buffer.len() < head + length {
                break;
            }
            buffer.drain(..head + length);
            tell.send(Instant::now())?;
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}
