//! What can go wrong, each with what to do next.

use std::{io, path::PathBuf, process::ExitStatus, time::Duration};

/// Why a server could not be started, signalled or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server is not installed, or not where it was looked for.
    #[error(
        "{server}'s programs ({programs}) were not found: install the package `{package}` \
         (`make setup` does) or set {variable} to the folder that holds them"
    )]
    ProgramsMissing {
        /// The server, as its makers write it.
        server: &'static str,
        /// The executables that were looked for.
        programs: &'static str,
        /// Debian's package that has them.
        package: &'static str,
        /// The environment variable that names another folder.
        variable: &'static str,
    },

    /// The environment names a folder that does not hold the programs.
    #[error("{variable} is set to {folder}, which holds no `{program}`: correct or unset it")]
    OverrideWithoutProgram {
        /// The environment variable.
        variable: &'static str,
        /// Its value.
        folder: PathBuf,
        /// The executable that is not there.
        program: &'static str,
    },

    /// The data was written by another major version of PostgreSQL than any that is installed.
    #[error(
        "the database in {folder} was made by PostgreSQL {wanted}, but only {found} is installed: \
         install `postgresql-{wanted}`, or move the folder away to begin with an empty database"
    )]
    ClusterVersion {
        /// The cluster.
        folder: PathBuf,
        /// The major version that it needs.
        wanted: String,
        /// The major versions that were found.
        found: String,
    },

    /// The folder meant for the database holds something else.
    #[error("{folder} is not empty and is no PostgreSQL database: choose another folder")]
    NotACluster {
        /// The folder.
        folder: PathBuf,
    },

    /// The data belongs to a user as whom this process can not run the server.
    #[error("{folder} belongs to {owner}: start as that user or as root, or choose another folder")]
    ForeignOwner {
        /// The folder.
        folder: PathBuf,
        /// Name or number of its owner.
        owner: String,
    },

    /// PostgreSQL refuses to run as root, and there is nobody else to run it as.
    #[error(
        "PostgreSQL does not run as root, and /etc/passwd lists neither `postgres` nor `nobody`: \
         run as an ordinary user"
    )]
    NoUnprivilegedUser,

    /// The unprivileged user that runs the server may not enter a folder on the way to its data.
    #[error(
        "{user}, as whom PostgreSQL runs because it refuses to run as root, may not enter \
         {folder}: choose a place outside it, run as an ordinary user, or `chmod o+x {folder}`"
    )]
    Untraversable {
        /// The folder that is closed.
        folder: PathBuf,
        /// The unprivileged user.
        user: String,
    },

    /// `initdb` failed.
    #[error("PostgreSQL's initdb failed ({status}):\n{output}")]
    Initdb {
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        output: String,
    },

    /// Another program listens on the port that was asked for.
    #[error("port {port} is taken by another program: stop it, or choose another port")]
    PortTaken {
        /// The TCP port.
        port: u16,
    },

    /// The server already runs, on another port than the one asked for.
    #[error(
        "{server} already runs from {folder} on port {port}, not on {asked}: stop it first, or \
         leave the port open"
    )]
    RunsElsewhere {
        /// The server.
        server: &'static str,
        /// Its folder.
        folder: PathBuf,
        /// Where it listens.
        port: u16,
        /// Where it should listen.
        asked: u16,
    },

    /// The server ended before it was ready.
    #[error("{server} ended while starting; the end of {log}:\n{tail}")]
    EndedEarly {
        /// The server.
        server: &'static str,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },

    /// The server runs, but does not answer in time.
    #[error(
        "{server} runs but was not ready within {} s ({last}); the end of {log}:\n{tail}",
        within.as_secs()
    )]
    NotReady {
        /// The server.
        server: &'static str,
        /// How long was waited.
        within: Duration,
        /// Why the last probe failed.
        last: String,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },

    /// An operating-system call failed.
    #[error("could not {action}")]
    Io {
        /// What was attempted, as it follows "could not".
        action: String,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
}

/// Names the attempt that an I/O error belongs to.
pub(crate) trait Attempt<T> {
    /// Turns the error into [`Error::Io`]; `action` completes "could not …".
    fn attempt(self, action: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Attempt<T> for io::Result<T> {
    fn attempt(self, action: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Io { action: action(), source })
    }
}
