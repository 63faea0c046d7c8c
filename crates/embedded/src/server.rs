//! The life of a server, the same for all three.

use std::{
    fs::{self, File},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    Engine, Error, ServerOptions,
    engine::private::Running,
    error::Attempt,
    port,
    process::{Process, ProcessId},
    reaper, state,
    state::State,
    temporary,
};

const PROBE_EVERY: Duration = Duration::from_millis(20);
/// How long a server may take to end when asked, before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(30);
/// How often another port is tried when somebody took the chosen one in the meantime.
const PORT_ATTEMPTS: usize = 5;

/// A handle on a private server. What happens when it is dropped is
/// [`ServerOptions::stop_on_drop`].
#[derive(Debug)]
pub struct Server<E: Engine> {
    engine: E,
    options: ServerOptions,
    folder: PathBuf,
    /// The port for clients first.
    ports: Vec<u16>,
    process: Process,
    companion: Option<Process>,
    attached: bool,
    /// Held by every user of a shared server.
    _usage: Option<File>,
    /// Removed after `drop` has stopped the server.
    _temporary: Option<TempDir>,
}

impl<E: Engine> Server<E> {
    /// Starts the server, or attaches to the one that already runs from this folder, and returns
    /// when it is ready for clients.
    ///
    /// # Errors
    /// Programs that are missing, a folder that can not be used, a port that is taken, a server
    /// that ends or does not get ready: each says what to do.
    pub fn start(options: ServerOptions) -> Result<Self, Error> {
        let (folder, temporary) = folder_for::<E>(&options)?;
        let _start = state::lock(&folder)?;
        let engine = E::locate(&folder)?;
        let state = State::load(&folder)?;
        let mut server = match E::running(&folder, state.running())? {
            Some(running) => Self::attach(engine, options, folder, &state, running)?,
            None => Self::launch(engine, options, folder, state)?,
        };
        server._temporary = temporary;
        Ok(server)
    }

    /// Attaches to the server that runs from the folder of the options; `None` where none does, and nothing is started or
    /// created then.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn running(options: ServerOptions) -> Result<Option<Self>, Error> {
        if !options.data_dir.as_ref().is_some_and(|folder| folder.is_dir()) {
            return Ok(None);
        }
        let (folder, _) = folder_for::<E>(&options)?;
        let _start = state::lock(&folder)?;
        let engine = E::locate(&folder)?;
        let state = State::load(&folder)?;
        let Some(running) = E::running(&folder, state.running())? else { return Ok(None) };
        Self::attach(engine, options, folder, &state, running).map(Some)
    }

    /// Like [`start`](Self::start), for a server that several processes use one after another and
    /// at the same time: it runs until none of them has used it for `linger`. Each handle counts
    /// as a use for as long as it, and its process, exist. [`ServerOptions::stop_on_drop`] is
    /// ignored.
    ///
    /// # Errors
    /// As [`start`](Self::start); also if the program `flock` (util-linux) is missing.
    pub fn start_shared(options: ServerOptions, linger: Duration) -> Result<Self, Error> {
        let options = ServerOptions { stop_on_drop: false, ..options };
        let (folder, _) = folder_for::<E>(&options)?;
        // Taken first: the reaper holds it while it stops the server.
        let usage = reaper::register_use(&folder)?;
        let mut server = Self::start(options)?;
        server._usage = Some(usage);
        let _start = state::lock(&server.folder)?;
        let targets = server.processes();
        reaper::ensure(&server.folder, &targets, E::STOP, linger)?;
        Ok(server)
    }

    /// The port for clients, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        local(self.port())
    }

    /// The number of the server's process (of the last one, if it does not run).
    pub fn pid(&self) -> u32 {
        self.process.id.pid
    }

    /// Whether this handle found the server running rather than started it.
    pub fn attached(&self) -> bool {
        self.attached
    }

    /// Whether the server's process exists (it may be paused).
    pub fn is_running(&self) -> bool {
        self.process.id.is_alive()
    }

    /// The server's output since it was last started.
    pub fn log(&self) -> PathBuf {
        log_of::<E>(&self.folder)
    }

    /// Ends the server orderly; if that takes more than 30 s, it is killed. Clients are
    /// disconnected. Without effect on a server that does not run.
    ///
    /// # Errors
    /// When it may not be signalled.
    pub fn stop(&mut self) -> Result<(), Error> {
        let _start = state::lock(&self.folder)?;
        self.stop_locked()
    }

    /// Kills the server and all its children at once (SIGKILL), as a crash would.
    ///
    /// # Errors
    /// When it may not be signalled.
    pub fn kill(&mut self) -> Result<(), Error> {
        self.process.kill_tree().attempt(|| format!("kill {}", E::NAME))?;
        if let Some(companion) = &mut self.companion {
            companion.kill_tree().attempt(|| format!("kill what runs beside {}", E::NAME))?;
        }
        Ok(())
    }

    /// Freezes the server and its children (SIGSTOP): when this returns, connections stay open and new
    /// ones are accepted by the kernel, but nothing answers.
    ///
    /// # Errors
    /// When it may not be signalled.
    pub fn pause(&self) -> Result<(), Error> {
        self.process.id.freeze_tree().attempt(|| format!("pause {}", E::NAME))
    }

    /// Lets a paused server go on (SIGCONT).
    ///
    /// # Errors
    /// When it may not be signalled.
    pub fn resume(&self) -> Result<(), Error> {
        self.process.id.thaw_tree().attempt(|| format!("resume {}", E::NAME))
    }

    /// Ends the server if it runs, and starts it anew on the same data and port.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart(&mut self) -> Result<(), Error> {
        let _start = state::lock(&self.folder)?;
        self.stop_locked()?;
        self.engine.prepare(&self.folder, &self.options)?;
        let (process, companion) = run(&self.engine, &self.options, &self.folder, &self.ports)?;
        self.process = process;
        self.companion = companion;
        self.attached = false;
        Ok(())
    }

    fn stop_locked(&mut self) -> Result<(), Error> {
        self.process.stop(E::STOP, STOP_GRACE).attempt(|| format!("stop {}", E::NAME))?;
        if let Some(companion) = &mut self.companion {
            companion
                .stop(Signal::TERM, STOP_GRACE)
                .attempt(|| format!("stop what runs beside {}", E::NAME))?;
        }
        let remembered = State::load(&self.folder)?;
        State { process: None, companion: None, ..remembered }.save(&self.folder)
    }

    fn attach(
        engine: E,
        options: ServerOptions,
        folder: PathBuf,
        state: &State,
        running: Running,
    ) -> Result<Self, Error> {
        if let Some(asked) = options.port.filter(|asked| *asked != running.port) {
            let port = running.port;
            return Err(Error::RunsElsewhere { server: E::NAME, folder, port, asked });
        }
        let mut process = Process::attach(running.process);
        // Whoever paused it may have died before resuming it.
        process.id.thaw_tree().attempt(|| format!("resume {}", E::NAME))?;
        match wait_until_ready::<E>(&mut process, running.port, &folder, options.ready_within) {
            // It was about to stop when it was found.
            Err(Error::EndedEarly { .. }) => Self::launch(engine, options, folder, state.clone()),
            Err(error) => Err(error),
            Ok(()) => {
                tracing::info!(
                    pid = running.process.pid,
                    port = running.port,
                    "attached to {}",
                    E::NAME
                );
                let inner = state.ports.iter().skip(1).copied();
                let ports = std::iter::once(running.port).chain(inner).collect();
                let companion = state.companion.map(Process::attach);
                Ok(Self {
                    engine,
                    options,
                    folder,
                    ports,
                    process,
                    companion,
                    attached: true,
                    _usage: None,
                    _temporary: None,
                })
            }
        }
    }

    fn launch(
        engine: E,
        options: ServerOptions,
        folder: PathBuf,
        state: State,
    ) -> Result<Self, Error> {
        engine.prepare(&folder, &options)?;
        let mut remembered = state.ports;
        let mut attempt = 1;
        loop {
            let ports = choose_ports::<E>(options.port, &remembered)?;
            match run(&engine, &options, &folder, &ports) {
                Ok((process, companion)) => {
                    tracing::info!(pid = process.id.pid, port = ports[0], "started {}", E::NAME);
                    return Ok(Self {
                        engine,
                        options,
                        folder,
                        ports,
                        process,
                        companion,
                        attached: false,
                        _usage: None,
                        _temporary: None,
                    });
                }
                Err(Error::EndedEarly { .. } | Error::PortTaken { .. })
                    if options.port.is_none()
                        && attempt < PORT_ATTEMPTS
                        && !ports.iter().all(|port| port::is_free(*port)) =>
                {
                    tracing::warn!(?ports, "a port was taken meanwhile: choosing others");
                    remembered.clear();
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn processes(&self) -> Vec<ProcessId> {
        let companion = self.companion.as_ref().map(|companion| companion.id);
        std::iter::once(self.process.id).chain(companion).collect()
    }
}

impl<E: Engine> Drop for Server<E> {
    fn drop(&mut self) {
        if self.options.stop_on_drop
            && let Err(error) = self.stop()
        {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, pid = self.pid(), "{} could not be stopped", E::NAME);
        }
    }
}

/// Starts the processes and waits until the server is ready; ends what it started if it fails.
fn run<E: Engine>(
    engine: &E,
    options: &ServerOptions,
    folder: &Path,
    ports: &[u16],
) -> Result<(Process, Option<Process>), Error> {
    let log = log_of::<E>(folder);
    keep_last_log(&log)?;
    if let Some(port) = ports.iter().find(|port| !port::is_free(**port)) {
        return Err(Error::PortTaken { port: *port });
    }
    let spawn = |command| Process::spawn(command, &log).attempt(|| format!("start {}", E::NAME));
    let mut companion = engine.companion(ports, options).map(spawn).transpose()?;
    let mut command = engine.command(folder, ports, options);
    command.envs(options.environment.iter().map(|(name, value)| (name, value)));
    let ready = spawn(command).and_then(|mut process| {
        // Before it is ready: whoever comes after a kill -9 of ours must find it.
        let now = State {
            ports: ports.to_vec(),
            process: Some(process.id),
            companion: companion.as_ref().map(|companion| companion.id),
            // The old one watches over processes that are gone, and ends.
            reaper: None,
            owner: State::load(folder)?.owner,
        };
        let ready = now.save(folder).and_then(|()| {
            wait_until_ready::<E>(&mut process, ports[0], folder, options.ready_within)
        });
        match ready {
            Ok(()) => Ok(process),
            Err(error) => {
                process.kill_tree().attempt(|| format!("kill {}", E::NAME))?;
                Err(error)
            }
        }
    });
    match (ready, &mut companion) {
        (Err(error), Some(companion)) => {
            companion.kill_tree().attempt(|| format!("kill what runs beside {}", E::NAME))?;
            Err(error)
        }
        (ready, _) => ready.map(|process| (process, companion)),
    }
}

fn wait_until_ready<E: Engine>(
    process: &mut Process,
    port: u16,
    folder: &Path,
    within: Duration,
) -> Result<(), Error> {
    let log = log_of::<E>(folder);
    let deadline = Instant::now() + within;
    loop {
        let answer = E::probe(local(port));
        // Asked after the probe: if it is alive now, it was not another server that answered.
        if process.has_ended().attempt(|| format!("watch {}", E::NAME))? {
            let tail = state::tail(&log);
            return Err(Error::EndedEarly { server: E::NAME, log, tail });
        }
        let Err(last) = answer else { return Ok(()) };
        if Instant::now() >= deadline {
            let (last, tail) = (last.to_string(), state::tail(&log));
            return Err(Error::NotReady { server: E::NAME, within, last, log, tail });
        }
        thread::sleep(PROBE_EVERY);
    }
}

/// The ports to listen on: what was asked for or remembered, as far as it is free, else others.
fn choose_ports<E: Engine>(asked: Option<u16>, remembered: &[u16]) -> Result<Vec<u16>, Error> {
    let mut ports = Vec::with_capacity(1 + E::INNER_PORTS);
    for index in 0..=E::INNER_PORTS {
        let fixed = asked.filter(|_| index == 0);
        let before = remembered.get(index).copied();
        let port = match (fixed, before) {
            (Some(port), _) => port,
            (None, Some(port)) if port::is_free(port) => port,
            (None, before) => {
                let free = port::free().attempt(|| "find a free port".to_owned())?;
                if let Some(before) = before {
                    tracing::warn!(before, now = free, "{}'s port is taken: it moves", E::NAME);
                }
                free
            }
        };
        ports.push(port);
    }
    Ok(ports)
}

fn folder_for<E: Engine>(options: &ServerOptions) -> Result<(PathBuf, Option<TempDir>), Error> {
    let Some(folder) = &options.data_dir else {
        let temporary = temporary::create(E::SLUG)?;
        return Ok((temporary.path().to_owned(), Some(temporary)));
    };
    fs::create_dir_all(folder).attempt(|| format!("create {}", folder.display()))?;
    let folder = folder.canonicalize().attempt(|| format!("resolve {}", folder.display()))?;
    Ok((folder, None))
}

fn log_of<E: Engine>(folder: &Path) -> PathBuf {
    folder.join(format!("{}.log", E::SLUG))
}

/// Begins a new log, keeping the one before it: after a crash, that is the one to read.
fn keep_last_log(log: &Path) -> Result<(), Error> {
    match fs::rename(log, log.with_extension("log.1")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).attempt(|| format!("rename {}", log.display()))
        }
        _ => Ok(()),
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
