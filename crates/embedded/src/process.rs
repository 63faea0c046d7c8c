//! Processes: started apart from ours, told apart from others with the same number, signalled
//! together with their children.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{LazyLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::programs;

const POLL: Duration = Duration::from_millis(10);
const FREEZE_WITHIN: Duration = Duration::from_secs(5);

/// A process number together with the time at which it started, which tells the process from a
/// later one that was given the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pub(crate) pid: u32,
    /// Clock ticks between the machine's boot and the process's start.
    pub(crate) started: u64,
}

/// The fields of `/proc/<pid>/stat` that matter here.
struct Stat {
    state: char,
    parent: u32,
    threads: u32,
    started: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The second field is the program's name in parentheses and may itself hold spaces and
    /// parentheses, so the fields are counted from the last closing one (`man 5 proc_pid_stat`).
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.rsplit_once(')')?.1.split_ascii_whitespace();
        Some(Self {
            state: fields.next()?.chars().next()?,
            parent: fields.next()?.parse().ok()?,
            threads: fields.nth(15)?.parse().ok()?,
            started: fields.nth(1)?.parse().ok()?,
        })
    }

    /// Dead to the last thread. The first thread of a killed process may be a zombie while others
    /// still hold its files and listening ports.
    fn is_gone(&self) -> bool {
        matches!(self.state, 'Z' | 'X') && self.threads <= 1
    }

    /// Neither stopped (by a signal, by a debugger) nor dead.
    fn runs(&self) -> bool {
        !matches!(self.state, 'T' | 't' | 'Z' | 'X')
    }
}

impl ProcessId {
    /// The process that has this number now, dead but unreaped ones included.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Stat::read(pid).map(|stat| Self { pid, started: stat.started })
    }

    /// Whether this very process still runs (or is stopped by a signal).
    pub(crate) fn is_alive(self) -> bool {
        Stat::read(self.pid).is_some_and(|stat| stat.started == self.started && !stat.is_gone())
    }

    /// Sends a signal. A process that is gone is no error: whoever sends one has to wait for the
    /// effect anyhow.
    pub(crate) fn signal(self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let Some(pid) = pid.filter(|_| self.is_alive()) else { return Ok(()) };
        match kill_process(pid, signal) {
            Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// All living descendants, parents before children. Process groups would miss some: each
    /// Postgres backend makes itself the leader of its own.
    fn descendants(self) -> io::Result<Vec<Self>> {
        let mut others = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            if let Some(stat) = Stat::read(pid) {
                others.push((stat.parent, Self { pid, started: stat.started }));
            }
        }
        let mut found = vec![self];
        let mut next = 0;
        while let Some(parent) = found.get(next).copied() {
            found.extend(others.iter().filter(|(of, _)| *of == parent.pid).map(|(_, id)| *id));
            next += 1;
        }
        found.retain(|id| *id != self && id.is_alive());
        Ok(found)
    }

    /// Stops the process in its tracks (SIGSTOP), and returns when it stands still or is gone.
    fn freeze(self) -> io::Result<()> {
        self.signal(Signal::STOP)?;
        let deadline = Instant::now() + FREEZE_WITHIN;
        while Stat::read(self.pid).is_some_and(|stat| stat.started == self.started && stat.runs()) {
            if Instant::now() >= deadline {
                let message = format!("process {} does not react to SIGSTOP", self.pid);
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Freezes the process, which then starts no others, and then its descendants, parents first.
    pub(crate) fn freeze_tree(self) -> io::Result<()> {
        self.freeze()?;
        self.descendants()?.into_iter().try_for_each(Self::freeze)
    }

    /// Lets the process and its descendants go on (SIGCONT).
    pub(crate) fn thaw_tree(self) -> io::Result<()> {
        self.signal(Signal::CONT)?;
        self.descendants()?.into_iter().try_for_each(|id| id.signal(Signal::CONT))
    }
}

/// A server's process, whether started by this one or found running.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) id: ProcessId,
    /// Present if it is our child, which has to be reaped.
    child: Option<Child>,
}

impl Process {
    /// Starts `command` in its own process group (a Ctrl-C in the terminal is not for it), with
    /// its output in `log`.
    pub(crate) fn spawn(mut command: Command, log: &Path) -> io::Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        command.process_group(0).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = spawn_on_lasting_thread(command)?;
        let id = ProcessId::of(child.id())
            .ok_or_else(|| io::Error::other("/proc does not list the process just started"))?;
        Ok(Self { id, child: Some(child) })
    }

    /// Takes charge of a process that somebody else started.
    pub(crate) fn attach(id: ProcessId) -> Self {
        Self { id, child: None }
    }

    /// Whether it ended; reaps it if it is our child.
    pub(crate) fn has_ended(&mut self) -> io::Result<bool> {
        match &mut self.child {
            Some(child) => Ok(child.try_wait()?.is_some()),
            None => Ok(!self.id.is_alive()),
        }
    }

    /// Waits for its end; `false` if it still runs after `within`.
    pub(crate) fn wait(&mut self, within: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + within;
        while !self.has_ended()? {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            thread::sleep(POLL);
        }
        Ok(true)
    }

    /// Asks it to end with `signal`; if it does not within `grace`, kills it.
    pub(crate) fn stop(&mut self, signal: Signal, grace: Duration) -> io::Result<()> {
        self.id.thaw_tree()?;
        self.id.signal(signal)?;
        if !self.wait(grace)? {
            tracing::warn!(pid = self.id.pid, ?grace, "server did not stop when asked: killing it");
            self.kill_tree()?;
        }
        Ok(())
    }

    /// Kills it with all its descendants, and returns when all are gone.
    pub(crate) fn kill_tree(&mut self) -> io::Result<()> {
        // Frozen, it starts no others between listing and killing. One that waits for a disk can
        // not be frozen at once, nor start any.
        let _ = self.id.freeze();
        let descendants = self.id.descendants()?;
        for id in descendants.iter().chain([&self.id]) {
            id.signal(Signal::KILL)?;
        }
        while !self.has_ended()? || descendants.iter().any(|id| id.is_alive()) {
            thread::sleep(POLL);
        }
        Ok(())
    }
}

/// A command that runs `program`; if `ends_with_us`, one that the kernel ends by that signal when
/// our process dies, in whatever way.
pub(crate) fn command(program: impl AsRef<OsStr>, ends_with_us: Option<Signal>) -> Command {
    let Some(signal) = ends_with_us else { return Command::new(program) };
    // PR_SET_PDEATHSIG has to be called in the child, which takes unsafe code or this program;
    // it replaces itself by the server, so that the process number is the server's.
    let Some(setpriv) = programs::on_path("setpriv") else {
        tracing::warn!("no setpriv on the PATH: a killed test leaves its servers running");
        return Command::new(program);
    };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", signal_name(signal), "--"]).arg(program);
    command
}

/// The name that shell commands know a stop signal by.
pub(crate) fn signal_name(signal: Signal) -> &'static str {
    if signal == Signal::INT { "INT" } else { "TERM" }
}

/// The parent-death signal is sent when the *thread* ends that started the process. Tests come and
/// go with their threads, so one thread starts all servers and lasts as long as the process.
fn spawn_on_lasting_thread(command: Command) -> io::Result<Child> {
    type Request = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: LazyLock<mpsc::Sender<Request>> = LazyLock::new(|| {
        let (requests, inbox) = mpsc::channel::<Request>();
        thread::spawn(move || {
            for (mut command, reply) in inbox {
                // A requester that is gone has lost its process too; nothing is owed to it.
                let _ = reply.send(command.spawn());
            }
        });
        requests
    });
    let (reply, answer) = mpsc::channel();
    let gone = || io::Error::other("the thread that starts servers is gone");
    SPAWNER.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(ends_with_us: Option<Signal>) -> (Process, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let mut command = command("sh", ends_with_us);
        command.args(["-c", "sleep 100 & sleep 100 & wait"]);
        (Process::spawn(command, &folder.path().join("log")).unwrap(), folder)
    }

    /// Waits until the shell has its two children.
    fn children(process: &Process) -> Vec<ProcessId> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let children = process.id.descendants().unwrap();
            if children.len() == 2 {
                return children;
            }
            assert!(Instant::now() < deadline, "the shell started {} children", children.len());
            thread::sleep(POLL);
        }
    }

    #[test]
    fn a_program_named_like_a_stat_line_is_parsed() {
        let line = "42 (evil) Z 7 (x) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 0 0";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.state, stat.parent, stat.started), ('S', 1, 987_654));
    }

    #[test]
    fn a_process_whose_first_thread_ended_is_not_gone() {
        let line = "42 (beam) Z 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 9 0 987654 0 0";
        let stat = |line: &str| Stat::parse(line).unwrap();
        assert!(!stat(line).is_gone());
        assert!(stat(&line.replace(" 9 0 ", " 1 0 ")).is_gone());
        assert!(!stat(&line.replace(" Z ", " S ")).is_gone());
    }

    #[test]
    fn another_process_with_the_same_number_is_not_ours() {
        let me = ProcessId::of(std::process::id()).unwrap();
        assert!(me.is_alive());
        assert!(!ProcessId { started: me.started + 1, ..me }.is_alive());
    }

    #[test]
    fn kill_takes_the_children_along() {
        let (mut process, _folder) = sleeper(None);
        let children = children(&process);
        process.kill_tree().unwrap();
        assert!(!process.id.is_alive());
        assert!(children.iter().all(|child| !child.is_alive()));
    }

    #[test]
    fn pause_and_resume_reach_the_children() {
        let (mut process, _folder) = sleeper(None);
        let children = children(&process);
        let states = || children.iter().map(|c| Stat::read(c.pid).unwrap().state).collect();
        process.id.freeze_tree().unwrap();
        let stopped: String = states();
        process.id.thaw_tree().unwrap();
        let resumed: String = states();
        process.kill_tree().unwrap();
        assert_eq!(stopped, "TT");
        assert!(!resumed.contains('T'), "{resumed}");
    }

    #[test]
    fn a_process_outlives_the_thread_that_asked_for_it() {
        let (mut process, _folder) = thread::spawn(|| sleeper(Some(Signal::TERM))).join().unwrap();
        children(&process);
        let ended = process.has_ended().unwrap();
        process.kill_tree().unwrap();
        assert!(!ended);
    }
}
