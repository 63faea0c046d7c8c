//! Stops a shared server that nobody uses any more.
//!
//! Every process that uses the server holds a shared lock on one file, which the kernel releases
//! however the process ends. A small shell script, a process of its own, waits for the exclusive
//! lock, which means that nobody is left.

use std::{fs::File, path::Path, process::Command, time::Duration};

use rustix::process::Signal;

use crate::{
    Error,
    error::Attempt,
    process::{self, Process, ProcessId},
    programs,
    state::State,
};

const USERS: &str = "users.lock";

/// Arguments: the lock file, the seconds to linger, the signal, `pid:started` of each process.
/// The lock is held until they are gone, so that whoever waits for it finds a clean folder.
const SCRIPT: &str = r#"
users=$1; linger=$2; signal=$3; shift 3
exec 9>>"$users" || exit 1
while :; do
  flock -x 9 || exit 1
  flock -u 9
  sleep "$linger"
  flock -n -x 9 && break
done
is_alive() {
  stat=$(cat "/proc/${1%%:*}/stat" 2>/dev/null) || return 1
  set -- "${1#*:}" ${stat##*) }
  [ "$2" != Z ] && [ "${21}" = "$1" ]
}
for id in "$@"; do
  if is_alive "$id"; then kill -s "$signal" "${id%%:*}"; fi
  tries=300
  while is_alive "$id"; do
    sleep 0.1
    tries=$((tries - 1))
    if [ "$tries" = 0 ]; then kill -s KILL "${id%%:*}"; fi
  done
done
"#;

/// Counts this process among the users until the file is closed. Waits for a reaper that is just
/// stopping the server.
pub(crate) fn register_use(folder: &Path) -> Result<File, Error> {
    let path = folder.join(USERS);
    let take = || {
        let file = File::options().create(true).append(true).open(&path)?;
        file.lock_shared()?;
        Ok(file)
    };
    take().attempt(|| format!("lock {}", path.display()))
}

/// Sees to it that a reaper watches over these processes. The caller holds the start lock.
pub(crate) fn ensure(
    folder: &Path,
    processes: &[ProcessId],
    signal: Signal,
    linger: Duration,
) -> Result<(), Error> {
    let state = State::load(folder)?;
    if state.reaper.is_some_and(ProcessId::is_alive) {
        return Ok(());
    }
    if programs::on_path("flock").is_none() {
        return Err(Error::ProgramsMissing {
            server: "util-linux",
            programs: "flock",
            package: "util-linux",
            variable: "PATH",
        });
    }
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, "convene-reaper"]).arg(folder.join(USERS));
    command.arg(linger.as_secs_f64().to_string());
    command.arg(process::signal_name(signal));
    command.args(processes.iter().map(|id| format!("{}:{}", id.pid, id.started)));
    let reaper = Process::spawn(command, &folder.join("reaper.log"))
        .attempt(|| "start the process that stops an unused server".to_owned())?;
    State { reaper: Some(reaper.id), ..state }.save(folder)
}
