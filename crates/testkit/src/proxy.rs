//! A TCP proxy that does to connections what networks do.
//!
//! ```no_run
//! use std::time::Duration;
//! use convene_testkit::proxy::{Fault, FaultProxy};
//!
//! # fn main() -> std::io::Result<()> {
//! let proxy = FaultProxy::start("127.0.0.1:5432")?;
//! // … the system under test connects to proxy.addr() …
//! proxy.set(Fault::Delay(Duration::from_millis(200)));
//! proxy.set(Fault::Cut);
//! proxy.set(Fault::Pass);
//! # Ok(())
//! # }
//! ```

mod relay;

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc as blocking,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    runtime,
    sync::{mpsc, watch},
    task::JoinSet,
    time::sleep,
};

const REBIND_EVERY: Duration = Duration::from_millis(10);

/// What happens to connections, those that exist and new ones, from when it is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: bytes are forwarded as they come.
    Pass,
    /// Each byte arrives that much later, in either direction. Bandwidth is not limited.
    Delay(Duration),
    /// At most so many bytes a second for each connection and direction.
    Throttle {
        /// At least 1.
        bytes_per_second: u32,
    },
    /// The host is up and the service is not: connections are closed (FIN), new ones refused.
    Cut,
    /// The network is partitioned: connections stay open and new ones are accepted, nothing is
    /// forwarded, closing included. What was sent meanwhile arrives when this ends, as TCP would
    /// have it.
    HalfOpen,
    /// Connections are reset (RST), new ones too once they are accepted.
    Reset,
}

impl Fault {
    /// Whether connections live on under it.
    fn severs(self) -> bool {
        matches!(self, Self::Cut | Self::Reset)
    }
}

/// A listener on a port that is free again after it was closed. Somebody else may be faster: then another is tried.
fn listen() -> io::Result<std::net::TcpListener> {
    let listen = || std::net::TcpListener::bind(("127.0.0.1", convene_embedded::port::free()?));
    let taken = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
    listen().or_else(|error| if taken(&error) { listen() } else { Err(error) })
}

/// A fault, and whom to tell when it is in force.
type Command = (Fault, blocking::Sender<()>);

/// A TCP proxy before one upstream address. It runs on a thread of its own, so it works on while a
/// test blocks its runtime; dropping it closes all connections.
#[derive(Debug)]
pub struct FaultProxy {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// Dropped first: that ends the thread.
    commands: Option<mpsc::UnboundedSender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl FaultProxy {
    /// Starts a proxy that passes connections on to `upstream`, which need not be there yet.
    ///
    /// # Errors
    /// When `upstream` has no address or no local port is free.
    pub fn start(upstream: impl ToSocketAddrs) -> io::Result<Self> {
        let upstream = upstream
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "upstream has no address"))?;
        // Not one of the kernel's choice: it has to be free again after a cut.
        let listener = listen()?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;

        let (commands, inbox) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let proxy = Proxy { addr, upstream, connections: Arc::clone(&connections) };
        let thread = thread::spawn(move || runtime.block_on(proxy.run(listener, inbox)));
        Ok(Self { addr, connections, commands: Some(commands), thread: Some(thread) })
    }

    /// Where to connect instead of upstream.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes what happens to connections, and returns when it does.
    pub fn set(&self, fault: Fault) {
        let (in_force, wait) = blocking::channel();
        let sent = self.commands.as_ref().is_some_and(|c| c.send((fault, in_force)).is_ok());
        assert!(sent && wait.recv().is_ok(), "the proxy's thread has panicked");
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        drop(self.commands.take());
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

struct Proxy {
    addr: SocketAddr,
    upstream: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    /// Serves until the sender of commands is dropped.
    async fn run(self, listener: TcpListener, mut commands: mpsc::UnboundedReceiver<Command>) {
        let (faults, _) = watch::channel(Fault::Pass);
        let mut open = JoinSet::new();
        let mut listener = Some(listener);
        loop {
            tokio::select! {
                command = commands.recv() => {
                    let Some((fault, in_force)) = command else { return };
                    faults.send_replace(fault);
                    if fault == Fault::Cut {
                        // Without a listener it is the kernel that refuses.
                        listener = None;
                    } else if listener.is_none() {
                        listener = Some(self.listen_again().await);
                    }
                    if fault.severs() {
                        std::mem::take(&mut open).join_all().await;
                    }
                    // Whoever set it may have been dropped while waiting.
                    let _ = in_force.send(());
                }
                client = accept(listener.as_ref()) => {
                    let faults = faults.subscribe();
                    let counted = Counted::new(&self.connections);
                    let upstream = self.upstream;
                    open.spawn(async move {
                        relay::relay(client, upstream, faults).await;
                        drop(counted);
                    });
                }
                Some(ended) = open.join_next() => {
                    if let Err(error) = ended {
                        std::panic::resume_unwind(error.into_panic());
                    }
                }
            }
        }
    }

    async fn listen_again(&self) -> TcpListener {
        loop {
            match TcpListener::bind(self.addr).await {
                Ok(listener) => return listener,
                // Somebody took the port for a moment.
                Err(_) => sleep(REBIND_EVERY).await,
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((client, _)) => return client,
            // The client gave up, or file descriptors ran short: neither is for good.
            Err(_) => sleep(REBIND_EVERY).await,
        }
    }
}

/// Counts a connection for as long as it exists.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counter))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
