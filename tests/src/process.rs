//! Processes of Convene that can be killed.
//!
//! A process is this program once more, which runs a command as the `convene` binary does: cargo tells a package only where
//! its own binaries are, and builds those of others only if something else asks for them. Other than that binary, it can be
//! told to die at a [failpoint].

use std::fs::{self, File};
use std::io;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;

use clap::Parser as _;
use convene_api::cli::Cli;
use convene_application::kernel::failpoint;
use convene_testkit::embedded::port;
use convene_testkit::poll::poll_until;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Client, PATIENCE, text};

/// Tells the child which command it is to run.
const COMMAND: &str = "COMMAND_OF_THE_FAULT_TESTS";
/// The failpoints that a process is armed with, as one of its settings.
pub const FAILPOINTS: &str = "FAILPOINTS";
/// What makes a test binary run [`convene`], from a test that does nothing else.
const TEST: &[&str] = &["--exact", "process::convene", "--ignored", "--nocapture"];
/// What makes this program run it.
static ARGUMENTS: OnceLock<&'static [&'static str]> = OnceLock::new();
/// The most lines of its log that a test which fails shows.
const SHOWN_LINES: usize = 40;

/// Settings by the names of their variables.
pub type Settings = Vec<(String, String)>;

/// A process of Convene, and a client of it. It ends with this value, and with the test's process.
pub struct Process {
    command: &'static str,
    settings: Settings,
    child: Child,
    client: Client,
    folder: TempDir,
}

impl Process {
    /// Starts `serve`, `worker` or `run`, and waits until it answers.
    pub async fn start(command: &'static str, settings: Settings) -> Self {
        let mut process = Self::launch(command, settings);
        process.answers().await;
        process
    }

    /// Starts it and waits for nothing.
    #[must_use]
    pub fn launch(command: &'static str, mut settings: Settings) -> Self {
        let address = format!("127.0.0.1:{}", port::free().expect("a free port"));
        let client = Client::new(format!("http://{address}"));
        let bind = if command == "worker" { "WORKER" } else { "HTTP" };
        settings.push((format!("CONVENE__{bind}__BIND"), address));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let child = spawn(command, &settings, &folder);
        Self { command, settings, child, client, folder }
    }

    /// Changes a setting, or adds it, from the next start on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it can be waited for")
    }

    /// Stops it in its tracks with SIGSTOP, or lets it go on with SIGCONT. One that has ended stays so.
    pub fn pause(&mut self, pause: bool) {
        if self.ended().is_none() {
            let signal = if pause { Signal::STOP } else { Signal::CONT };
            kill_process(Pid::from_child(&self.child), signal).expect("it may be signalled");
        }
    }

    /// Starts it again after its end, at the same address, and waits for nothing.
    pub fn launch_again(&mut self) {
        self.child = spawn(self.command, &self.settings, &self.folder);
    }

    /// Kills it with SIGKILL, and returns when it is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("it may be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// Starts it again after a kill, at the same address.
    pub async fn restart(&mut self) {
        self.launch_again();
        self.answers().await;
    }

    /// What `/readyz` answers: the status, and `ready`, `degraded` or `unavailable`.
    async fn readiness(&self) -> (u16, String) {
        let answer = self.get("/readyz").await;
        // A failure is a problem here, too.
        let told = if answer.status == 200 { "status" } else { "code" };
        (answer.status, text(&answer.json()[told]))
    }

    /// Waits until `/readyz` answers this.
    pub async fn becomes(&self, status: u16, readiness: &str) {
        let what = format!("`{}` becomes {readiness}", self.command);
        poll_until(PATIENCE, &what, async || {
            (self.readiness().await == (status, readiness.to_owned())).then_some(())
        })
        .await;
    }

    async fn answers(&mut self) {
        let (child, client) = (&mut self.child, &self.client);
        let what = format!("`{}` answers", self.command);
        poll_until(PATIENCE, &what, async || {
            let ended = child.try_wait().expect("it can be waited for");
            assert_eq!(ended, None, "`{}` ended", self.command);
            client.get("/livez").try_send().await.ok().map(drop)
        })
        .await;
    }

    /// Where it logs to.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// The end of what it logged, without what is of no interest.
    #[expect(clippy::print_stderr, reason = "a test's output is read there")]
    fn show_log(&self) {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().filter(|line| !is_routine(line)).collect();
        eprintln!("--- the last of `{}`:", self.command);
        for line in &lines[lines.len().saturating_sub(SHOWN_LINES)..] {
            eprintln!("{line}");
        }
    }
}

/// Runs a command to its end, which must be a good one; returns what it printed.
pub fn run(command: &str, settings: &Settings) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut child = spawn(command, settings, &folder);
    // It ends when this closes, which waiting for it would do.
    let stdin = child.stdin.take();
    let ended = child.wait().expect("it can be waited for");
    drop(stdin);
    let log = fs::read_to_string(folder.path().join("log")).expect("it has a log");
    assert!(ended.success(), "`{command}`: {log}");
    log
}

impl Deref for Process {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            self.show_log();
        }
    }
}

/// Requests make up most of a log.
fn is_routine(line: &str) -> bool {
    serde_json::from_str::<Value>(line)
        .is_ok_and(|line| line["level"] == "INFO" && line["span"]["name"] == "http.request")
}

fn spawn(command: &str, settings: &Settings, folder: &TempDir) -> Child {
    let log = folder.path().join("log");
    let log = File::options().create(true).append(true).open(log).expect("a log can be opened");
    let mut process = Command::new(std::env::current_exe().expect("this program has a path"));
    // The settings of whoever runs the tests are not for it.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CONVENE") {
            process.env_remove(name);
        }
    }
    process
        .args(ARGUMENTS.get().copied().unwrap_or(TEST))
        .env(COMMAND, command)
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(log.try_clone().expect("a file can be shared"))
        .stderr(log)
        .spawn()
        .expect("this program can be started")
}

/// Says that this program is no test binary: it calls [`convene`] first, whatever its arguments.
pub fn started_plainly() {
    ARGUMENTS.get_or_init(|| &[]);
}

/// Whether this process is one that another one started.
#[must_use]
pub fn is_started_as_convene() -> bool {
    std::env::var_os(COMMAND).is_some()
}

/// Is Convene, in a process that another one started.
///
/// # Panics
/// With the report of a command that fails, and where nobody has started this process for it.
pub fn convene() {
    let Ok(command) = std::env::var(COMMAND) else {
        panic!("this is no test by itself: the other tests run it with {COMMAND}")
    };
    failpoint::arm(&std::env::var(FAILPOINTS).unwrap_or_default()).expect("points that there are");
    let cli = Cli::parse_from(std::iter::once("convene").chain(command.split(' ')));
    // The other end of standard input closes when the test's process ends, in whatever way.
    std::thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(1);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = runtime.expect("a runtime can be built").block_on(convene_api::commands::run(cli));
    if let Err(error) = ended {
        panic!("{}", error.report());
    }
}
