//! What is remembered about a server in its folder: its ports, and the processes that run it.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{Error, account, engine::private::Running, error::Attempt, process::ProcessId};

const FILE: &str = "server.json";
const LOCK: &str = "start.lock";
const TAIL_BYTES: u64 = 2_000;

/// A server's memory of itself.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    /// The port for clients, then those that the server needs for itself.
    #[serde(default)]
    pub(crate) ports: Vec<u16>,
    #[serde(default)]
    pub(crate) process: Option<ProcessId>,
    /// A process that the server needs beside it.
    #[serde(default)]
    pub(crate) companion: Option<ProcessId>,
    /// Who created this temporary folder; it goes with that process.
    #[serde(default)]
    pub(crate) owner: Option<ProcessId>,
    /// The process that stops a shared server when nobody uses it.
    #[serde(default)]
    pub(crate) reaper: Option<ProcessId>,
}

impl State {
    /// Reads it; a folder without one has the empty state.
    pub(crate) fn load(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE);
        let read = || match fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        };
        read().attempt(|| format!("read {}", path.display()))
    }

    /// The server, if the remembered process still is one.
    pub(crate) fn running(&self) -> Option<Running> {
        let process = self.process.filter(|process| process.is_alive())?;
        Some(Running { process, port: *self.ports.first()? })
    }

    /// Replaces what is remembered; a crash leaves the old or the new.
    pub(crate) fn save(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(FILE);
        let unfinished = folder.join("server.json.new");
        let write = || {
            fs::write(&unfinished, serde_json::to_vec_pretty(self)?)?;
            fs::rename(&unfinished, &path)
        };
        write().attempt(|| format!("write {}", path.display()))
    }
}

/// Waits until nobody else starts or stops the server of this folder; the lock ends with the file.
pub(crate) fn lock(folder: &Path) -> Result<File, Error> {
    let path = folder.join(LOCK);
    let take = || {
        let file = File::options().create(true).truncate(false).write(true).open(&path)?;
        file.lock()?;
        io::Result::Ok(file)
    };
    match take() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(Error::ForeignOwner { folder: folder.to_owned(), owner: account::owner(folder)? })
        }
        taken => taken.attempt(|| format!("lock {}", path.display())),
    }
}

/// The end of a log, for an error message.
pub(crate) fn tail(log: &Path) -> String {
    let read = || {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        io::Result::Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    read().unwrap_or_else(|error| format!("(the log can not be read: {error})"))
}
