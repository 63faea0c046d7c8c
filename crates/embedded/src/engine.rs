//! The seam between a server's life, the same for all, and how each server is run.

/// What differs between the servers.
///
/// Not for implementation elsewhere: its methods speak in private types.
pub trait Engine: Sized + private::Engine {}

pub(crate) mod private {
    use std::{io, net::SocketAddr, path::Path, process::Command};

    use rustix::process::Signal;

    use crate::{Error, ServerOptions, process::ProcessId};

    /// A server that was found running.
    #[derive(Debug, Clone, Copy)]
    pub struct Running {
        pub(crate) process: ProcessId,
        pub(crate) port: u16,
    }

    pub trait Engine: Sized {
        /// As its makers write it.
        const NAME: &'static str;
        /// For file names.
        const SLUG: &'static str;
        /// How many ports it needs besides the one for clients.
        const INNER_PORTS: usize;
        /// The signal that makes it end orderly and soon.
        const STOP: Signal;

        /// Finds the programs that can run what is in the folder.
        fn locate(folder: &Path) -> Result<Self, Error>;
        /// Brings the folder of a server that does not run into the state that a start needs.
        fn prepare(&self, folder: &Path, options: &ServerOptions) -> Result<(), Error>;
        /// The server's command; it must run in the foreground.
        fn command(&self, folder: &Path, ports: &[u16], options: &ServerOptions) -> Command;
        /// The command of a process that must run before the server and as long.
        fn companion(&self, _ports: &[u16], _options: &ServerOptions) -> Option<Command> {
            None
        }
        /// Whether the server at this address is ready for clients.
        fn probe(address: SocketAddr) -> io::Result<()>;
        /// The server that runs from this folder, given the living one that is remembered.
        fn running(_folder: &Path, remembered: Option<Running>) -> Result<Option<Running>, Error> {
            Ok(remembered)
        }
    }
}
