//! One connection through the proxy.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use super::Fault;

const READ_BYTES: usize = 16 * 1024;
/// What is on its way through a delay; a sender has to wait beyond that, as with a full pipe.
const CHUNKS_UNDERWAY: usize = 1024;
/// A throttled second is cut in so many slices.
const SLICES_PER_SECOND: u32 = 50;

/// A piece of the stream, and when it came.
struct Chunk {
    arrived: Instant,
    bytes: Vec<u8>,
}

/// Connects `client` with `upstream` until one of them, or a fault, ends the connection.
pub(super) async fn relay(
    mut client: TcpStream,
    upstream: SocketAddr,
    faults: watch::Receiver<Fault>,
) {
    let mut server = None;
    let mut severing = faults.clone();
    let severed = tokio::select! {
        biased;
        fault = severing.wait_for(|fault| fault.severs()) => fault.ok().map(|fault| *fault),
        // Whatever error ended it, both sides see a closed connection.
        _ = converse(&mut client, &mut server, upstream, faults) => None,
    };
    if severed == Some(Fault::Reset) {
        for stream in [Some(client), server].into_iter().flatten() {
            // Closing now sends RST. It fails only on a socket that is closed already.
            let _ = stream.set_zero_linger();
        }
    }
}

async fn converse(
    client: &mut TcpStream,
    server: &mut Option<TcpStream>,
    upstream: SocketAddr,
    mut faults: watch::Receiver<Fault>,
) -> io::Result<()> {
    until_connected(&mut faults).await?;
    let server = server.insert(TcpStream::connect(upstream).await?);
    // Nagle's algorithm would add delays of its own.
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::try_join!(
        pump(from_client, to_server, faults.clone()),
        pump(from_server, to_client, faults),
    )?;
    Ok(())
}

/// Forwards one direction to its end, under whatever fault is set at each moment.
async fn pump(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    faults: watch::Receiver<Fault>,
) -> io::Result<()> {
    let (chunks, underway) = mpsc::channel(CHUNKS_UNDERWAY);
    tokio::try_join!(receive(from, chunks, faults.clone()), deliver(to, underway, faults))?;
    Ok(())
}

/// Takes bytes from the sender, but none across a partition: there the sender's buffer fills.
async fn receive(
    mut from: ReadHalf<'_>,
    chunks: mpsc::Sender<Chunk>,
    mut faults: watch::Receiver<Fault>,
) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        until_connected(&mut faults).await?;
        let length = tokio::select! {
            length = from.read(&mut buffer) => length?,
            changed = faults.changed() => {
                changed.map_err(io::Error::other)?;
                continue;
            }
        };
        if length == 0 {
            return Ok(());
        }
        let chunk = Chunk { arrived: Instant::now(), bytes: buffer[..length].to_vec() };
        chunks.send(chunk).await.map_err(io::Error::other)?;
    }
}

/// Hands bytes to the receiver when they are due, and then the end of the stream.
async fn deliver(
    mut to: WriteHalf<'_>,
    mut underway: mpsc::Receiver<Chunk>,
    mut faults: watch::Receiver<Fault>,
) -> io::Result<()> {
    while let Some(chunk) = underway.recv().await {
        until_due(chunk.arrived, &mut faults).await?;
        let mut rest = &chunk.bytes[..];
        while !rest.is_empty() {
            until_connected(&mut faults).await?;
            let fault = *faults.borrow();
            match fault {
                Fault::Throttle { bytes_per_second } => {
                    let rate = bytes_per_second.max(1);
                    let slice = usize::try_from((rate / SLICES_PER_SECOND).max(1));
                    let length = slice.map_or(rest.len(), |slice| slice.min(rest.len()));
                    to.write_all(&rest[..length]).await?;
                    rest = &rest[length..];
                    let bytes = u32::try_from(length).map_err(io::Error::other)?;
                    sleep(Duration::from_secs(1) * bytes / rate).await;
                }
                _ => {
                    to.write_all(rest).await?;
                    rest = &[];
                }
            }
        }
    }
    until_connected(&mut faults).await?;
    to.shutdown().await
}

/// Waits until there is no partition.
async fn until_connected(faults: &mut watch::Receiver<Fault>) -> io::Result<()> {
    faults.wait_for(|fault| *fault != Fault::HalfOpen).await.map_err(io::Error::other)?;
    Ok(())
}

/// Waits until what arrived then is due, by the delay that is set now: a delay that ends, ends for
/// what is on its way too.
async fn until_due(arrived: Instant, faults: &mut watch::Receiver<Fault>) -> io::Result<()> {
    loop {
        let fault = *faults.borrow_and_update();
        let Fault::Delay(delay) = fault else { return Ok(()) };
        tokio::select! {
            () = sleep_until(arrived + delay) => return Ok(()),
            changed = faults.changed() => changed.map_err(io::Error::other)?,
        }
    }
}
