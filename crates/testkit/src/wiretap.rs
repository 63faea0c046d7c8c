//! Listens to what a client says to Postgres: how many flights it makes, and how many statements it prepares.
//!
//! A flight is everything that a client sends without waiting for an answer in between. The tap stands between client and
//! server, so it sees what really travels, whatever the driver claims.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Long enough for everything of one flight to pass the tap.
const ANSWER_DELAY: Duration = Duration::from_millis(15);

/// A tap on connections without TLS. Counts over all connections since the last [`Wiretap::take`].
pub struct Wiretap {
    address: SocketAddr,
    heard: Arc<Heard>,
}

/// What was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Times that a client spoke after the server had answered.
    pub flights: usize,
    /// Statements that were sent to be prepared.
    pub prepared: usize,
}

#[derive(Default)]
struct Heard {
    flights: AtomicUsize,
    prepared: AtomicUsize,
}

impl Wiretap {
    /// Stands in front of a server.
    ///
    /// # Panics
    /// If no port can be opened.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let heard = Arc::new(Heard::default());
        let ears = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(upstream) = TcpStream::connect(server).await else { continue };
                tap(client, upstream, Arc::clone(&ears));
            }
        });
        Self { address, heard }
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was heard since the last call.
    #[must_use]
    pub fn take(&self) -> Count {
        Count {
            flights: self.heard.flights.swap(0, Ordering::SeqCst),
            prepared: self.heard.prepared.swap(0, Ordering::SeqCst),
        }
    }
}

fn tap(client: TcpStream, server: TcpStream, heard: Arc<Heard>) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let answered = Arc::new(AtomicBool::new(true));
    tokio::spawn(listen(from_client, to_server, heard, Arc::clone(&answered)));
    tokio::spawn(pass(from_server, to_client, answered));
}

/// Passes messages of the client on, one by one: the first has no type, every other is a type and a length.
async fn listen(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    heard: Arc<Heard>,
    answered: Arc<AtomicBool>,
) -> std::io::Result<()> {
    let mut head = vec![0; 4];
    loop {
        from.read_exact(&mut head).await?;
        let length = &head[head.len() - 4..];
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let mut message = head.clone();
        message.resize(head.len() + length - 4, 0);
        from.read_exact(&mut message[head.len()..]).await?;
        if answered.swap(false, Ordering::SeqCst) {
            heard.flights.fetch_add(1, Ordering::SeqCst);
        }
        if head.len() == 5 && head[0] == b'P' {
            heard.prepared.fetch_add(1, Ordering::SeqCst);
        }
        to.write_all(&message).await?;
        head.resize(5, 0);
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    answered: Arc<AtomicBool>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        // What the client has sent already must not look like its answer to this.
        tokio::time::sleep(ANSWER_DELAY).await;
        answered.store(true, Ordering::SeqCst);
        to.write_all(&buffer[..read]).await?;
    }
}
