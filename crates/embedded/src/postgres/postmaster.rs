//! The postmaster of a cluster: is it alive, and what is left of it if not.

use std::{
    fs, io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{Error, engine::private::Running, error::Attempt, process::ProcessId};

/// How long the children of a killed postmaster may take to notice.
const NOTICE_WITHIN: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// What `postmaster.pid` says.
struct Record {
    /// `None`: no process has that number.
    process: Option<ProcessId>,
    port: Option<u16>,
}

/// The postmaster that runs this cluster; `port` is for the moment in which its record lacks one.
pub(super) fn running(cluster: &Path, port: Option<u16>) -> Result<Option<Running>, Error> {
    let Some(record) = read(cluster)? else { return Ok(None) };
    let process = record.process.filter(|process| works_in(*process, cluster));
    Ok(process.zip(record.port.or(port)).map(|(process, port)| Running { process, port }))
}

/// Removes what a killed postmaster leaves behind and a new one would stumble over.
pub(super) fn clear_away_dead(cluster: &Path) -> Result<(), Error> {
    let Some(record) = read(cluster)? else { return Ok(()) };
    end_orphans(cluster).attempt(|| "end the sessions of a killed PostgreSQL".to_owned())?;
    // PostgreSQL itself recognises a dead one only if nobody has its number: not if it is a
    // zombie, or the number was given to another process.
    if record.process.is_none() {
        return Ok(());
    }
    let path = cluster.join("postmaster.pid");
    tracing::warn!(path = %path.display(), "removing the record of a dead server");
    fs::remove_file(&path).attempt(|| format!("remove {}", path.display()))
}

fn read(cluster: &Path) -> Result<Option<Record>, Error> {
    let path = cluster.join("postmaster.pid");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).attempt(|| format!("read {}", path.display())),
    };
    // pid, folder, start time, port, …: PostgreSQL's src/include/utils/pidfile.h
    let mut lines = text.lines();
    let process = lines.next().and_then(|pid| pid.trim().parse().ok()).and_then(ProcessId::of);
    let port = lines.nth(2).and_then(|port| port.trim().parse().ok());
    Ok(Some(Record { process, port }))
}

/// Waits for the children of a killed postmaster, which hold its shared memory. Most notice at
/// once; one that is busy with a query, or stopped, has to be killed.
fn end_orphans(cluster: &Path) -> io::Result<()> {
    let deadline = Instant::now() + NOTICE_WITHIN;
    loop {
        let orphans = workers_in(cluster)?;
        if orphans.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            orphans.into_iter().try_for_each(|orphan| orphan.signal(Signal::KILL))?;
        }
        thread::sleep(POLL);
    }
}

/// The living processes of PostgreSQL that work on this cluster.
fn workers_in(cluster: &Path) -> io::Result<Vec<ProcessId>> {
    let mut workers = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        workers.extend(pid.and_then(ProcessId::of).filter(|process| works_in(*process, cluster)));
    }
    Ok(workers)
}

/// Whether it is one of PostgreSQL's processes for this cluster, whose folder is where they all
/// work. One that is being ended has no program any more while it lets go of the shared memory,
/// and leaves the folder after that.
fn works_in(process: ProcessId, cluster: &Path) -> bool {
    let link = |name: &str| fs::read_link(format!("/proc/{}/{name}", process.pid));
    process.is_alive()
        && link("cwd").is_ok_and(|folder| folder == cluster)
        && link("exe").map_or(true, |program| program.ends_with("postgres"))
}
