//! What the tests of all three servers need.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const DEADLINE: Duration = Duration::from_secs(60);

/// Polls until `condition` holds; panics with `what` when it does not within a minute.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the process exists and is not a zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(')').expect("a stat line").1.starts_with(" Z"))
}

/// Runs the ignored test `name` (with its module) of this test binary as a process of its own, with `CONVENE_FOLDER`
/// set, and returns it with the number that it wrote to the file `pid` in that folder.
pub(crate) fn run_in_another_process(name: &str, folder: &Path) -> (Child, u32) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored"])
        .env("CONVENE_FOLDER", folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut pid = None;
    eventually("the other process starts its server", || {
        assert_eq!(child.try_wait().unwrap(), None, "it ended");
        pid = fs::read_to_string(folder.join("pid")).ok().and_then(|pid| pid.parse().ok());
        pid.is_some()
    });
    (child, pid.unwrap())
}

/// The other end of [`run_in_another_process`]: tells the number and waits to be killed.
pub(crate) fn report_and_wait(pid: u32) -> ! {
    let folder = std::env::var_os("CONVENE_FOLDER").expect("run by another test");
    let folder = Path::new(&folder);
    fs::write(folder.join("pid.new"), pid.to_string()).unwrap();
    fs::rename(folder.join("pid.new"), folder.join("pid")).unwrap();
    loop {
        thread::sleep(Duration::from_secs(60));
    }
}
