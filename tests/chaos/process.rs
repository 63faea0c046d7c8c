//! Processes of Convene that can be killed.
//!
//! A process is this test binary once more, which runs a command as the `convene` binary does: cargo tells a package only
//! where its own binaries are, and builds those of others only if something else asks for them.

use std::fs::{self, File};
use std::io;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use convene_api::cli::{self, Cli};
use convene_testkit::embedded::port;
use convene_testkit::poll::poll_until;
use convene_tests::client::{Client, PATIENCE, text};
use serde_json::Value;
use tempfile::TempDir;

/// Tells the child which command it is to run.
const COMMAND: &str = "COMMAND_OF_THE_FAULT_TESTS";
/// The most lines of its log that a test which fails shows.
const SHOWN_LINES: usize = 40;

/// Settings by the names of their variables.
pub(crate) type Settings = Vec<(String, String)>;

/// A process of Convene, and a client of it. It ends with this value, and with the test's process.
pub(crate) struct Process {
    command: &'static str,
    settings: Settings,
    child: Child,
    client: Client,
    folder: TempDir,
}

impl Process {
    /// Starts `serve`, `worker` or `run`, and waits until it answers.
    pub(crate) async fn start(command: &'static str, mut settings: Settings) -> Self {
        let address = format!("127.0.0.1:{}", port::free().expect("a free port"));
        let client = Client::new(format!("http://{address}"));
        let bind = if command == "worker" { "WORKER" } else { "HTTP" };
        settings.push((format!("CONVENE__{bind}__BIND"), address));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let child = spawn(command, &settings, &folder);
        let mut process = Self { command, settings, child, client, folder };
        process.answers().await;
        process
    }

    /// Kills it with SIGKILL, and returns when it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it may be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// Starts it again after a kill, at the same address.
    pub(crate) async fn restart(&mut self) {
        self.child = spawn(self.command, &self.settings, &self.folder);
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
    pub(crate) async fn becomes(&self, status: u16, readiness: &str) {
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

    fn log(&self) -> PathBuf {
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
        .args(["--exact", "process::convene", "--ignored", "--nocapture"])
        .env(COMMAND, command)
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(log.try_clone().expect("a file can be shared"))
        .stderr(log)
        .spawn()
        .expect("this program can be started")
}

#[test]
#[ignore = "run as a process of its own by the other tests"]
fn convene() {
    let command = match std::env::var(COMMAND).as_deref() {
        Ok("serve") => cli::Command::Serve,
        Ok("worker") => cli::Command::Worker,
        Ok("run") => cli::Command::Run,
        _ => panic!("this is no test by itself: the other tests run it with {COMMAND}"),
    };
    // The other end of standard input closes when the test's process ends, in whatever way.
    std::thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(1);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = runtime
        .expect("a runtime can be built")
        .block_on(convene_api::commands::run(Cli { json: false, command }));
    if let Err(error) = ended {
        panic!("{}", error.report());
    }
}
