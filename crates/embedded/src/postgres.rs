//! PostgreSQL.

mod postmaster;

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;

use crate::{
    Engine, Error, Server, ServerOptions,
    account::Account,
    engine::private::{self, Running},
    error::Attempt,
    probe, process,
    programs::Programs,
};

const PROGRAMS: Programs = Programs {
    server: "PostgreSQL",
    names: &["initdb", "postgres"],
    listed: "initdb, postgres",
    package: "postgresql",
    variable: "CONVENE_POSTGRES_BIN",
    folders: &[
        "/usr/lib/postgresql/*/bin",
        "/usr/lib/postgresql-*/bin",
        "/usr/pgsql-*/bin",
        "/usr/local/pgsql/bin",
        "/usr/libexec/postgresql*",
    ],
    path_last: false,
};
const CLUSTER: &str = "cluster";
const UNFINISHED_CLUSTER: &str = "cluster.new";

/// A private PostgreSQL server: superuser `postgres`, no passwords, UTF-8, locale C, UTC.
pub type Postgres = Server<PostgresEngine>;

/// How to run PostgreSQL.
#[derive(Debug)]
pub struct PostgresEngine {
    bin: PathBuf,
    /// `None`: as ourselves.
    account: Option<Account>,
}

impl Server<PostgresEngine> {
    /// The URL for connections as `user` to `database`.
    pub fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@{}/{database}", self.address())
    }
}

impl Engine for PostgresEngine {}

impl private::Engine for PostgresEngine {
    const NAME: &'static str = "PostgreSQL";
    const SLUG: &'static str = "postgres";
    const INNER_PORTS: usize = 0;
    /// "Fast shutdown": sessions are ended, nothing is lost.
    const STOP: Signal = Signal::INT;

    fn locate(folder: &Path) -> Result<Self, Error> {
        let cluster = folder.join(CLUSTER);
        let account = Account::for_unprivileged(&cluster)?;
        let bin = matching(&cluster, PROGRAMS.locate()?)?;
        Ok(Self { bin, account })
    }

    fn prepare(&self, folder: &Path, options: &ServerOptions) -> Result<(), Error> {
        let cluster = folder.join(CLUSTER);
        if let Some(account) = &self.account {
            if account.may_enter(folder).is_err() {
                account.give(folder)?;
            }
            account.may_enter(folder)?;
            account.may_enter(&self.bin)?;
        }
        if cluster.join("PG_VERSION").exists() {
            return postmaster::clear_away_dead(&cluster);
        }
        if !is_absent_or_empty(&cluster)? {
            return Err(Error::NotACluster { folder: cluster });
        }
        self.create(folder, options)
    }

    fn command(&self, folder: &Path, ports: &[u16], options: &ServerOptions) -> Command {
        let ends_with_us = options.stop_on_drop.then_some(Self::STOP);
        let mut command = process::command(self.bin.join("postgres"), ends_with_us);
        self.in_clean_environment(&mut command, folder);
        command.arg("-D").arg(folder.join(CLUSTER));
        let own = [
            ("port", ports[0].to_string()),
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("unix_socket_directories", String::new()),
            ("timezone", "UTC".to_owned()),
            ("log_timezone", "UTC".to_owned()),
            ("logging_collector", "off".to_owned()),
            ("log_destination", "stderr".to_owned()),
        ];
        // Commits are still handed to the kernel before they are acknowledged.
        let fast = [("fsync", "off"), ("full_page_writes", "off")];
        let fast = fast.iter().filter(|_| !options.durable).map(|(k, v)| (*k, (*v).to_owned()));
        let asked = options.settings.iter().map(|(key, value)| (key.as_str(), value.clone()));
        for (key, value) in own.into_iter().chain(fast).chain(asked) {
            command.arg("-c").arg(format!("{key}={value}"));
        }
        command
    }

    fn probe(address: SocketAddr) -> io::Result<()> {
        probe::postgres(address)
    }

    /// Asks PostgreSQL's own record, so that a server started by hand (`pg_ctl`) is found too.
    fn running(folder: &Path, remembered: Option<Running>) -> Result<Option<Running>, Error> {
        let cluster = folder.join(CLUSTER);
        let port = remembered.map(|running| running.port);
        postmaster::running(&cluster, port)
    }
}

impl PostgresEngine {
    /// Runs `initdb` beside the final place, so that an interrupted one leaves no half cluster.
    fn create(&self, folder: &Path, options: &ServerOptions) -> Result<(), Error> {
        let unfinished = folder.join(UNFINISHED_CLUSTER);
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)
                .attempt(|| format!("remove {}", unfinished.display()))?;
        }
        fs::create_dir(&unfinished).attempt(|| format!("create {}", unfinished.display()))?;
        if let Some(account) = &self.account {
            account.give(&unfinished)?;
        }

        let mut initdb = Command::new(self.bin.join("initdb"));
        self.in_clean_environment(&mut initdb, folder);
        if let Some(account) = &self.account {
            account.run(&mut initdb);
        }
        initdb.arg("--pgdata").arg(&unfinished);
        initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]);
        if !options.durable {
            initdb.arg("--no-sync");
        }
        let output = initdb.output().attempt(|| "run initdb".to_owned())?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            let output_text = String::from_utf8_lossy(&said).trim().to_owned();
            return Err(Error::Initdb { status: output.status, output: output_text });
        }

        let cluster = folder.join(CLUSTER);
        fs::rename(&unfinished, &cluster).attempt(|| format!("create {}", cluster.display()))
    }

    /// The user, the working folder and the variables that PostgreSQL's programs are to see.
    fn in_clean_environment(&self, command: &mut Command, folder: &Path) {
        if let Some(account) = &self.account {
            account.run(command);
        }
        // Ours may be closed to that user.
        command.current_dir(folder);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("PG") || text.starts_with("LC_") || text == "LANG" {
                command.env_remove(&name);
            }
        }
        command.env("LC_ALL", "C");
    }
}

fn is_absent_or_empty(folder: &Path) -> Result<bool, Error> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error).attempt(|| format!("list {}", folder.display())),
    }
}

/// The installation that can run the cluster: the one that made it, else (no cluster yet) the
/// first.
fn matching(cluster: &Path, mut installed: Vec<PathBuf>) -> Result<PathBuf, Error> {
    let Ok(wanted) = fs::read_to_string(cluster.join("PG_VERSION")) else {
        return Ok(installed.remove(0));
    };
    let wanted = wanted.trim().to_owned();
    let mut found = Vec::new();
    for bin in installed {
        let version = major_version(&bin)?;
        if version == wanted {
            return Ok(bin);
        }
        found.push(version);
    }
    Err(Error::ClusterVersion { folder: cluster.to_owned(), wanted, found: found.join(", ") })
}

/// `15` from "postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)".
fn major_version(bin: &Path) -> Result<String, Error> {
    let postgres = bin.join("postgres");
    let output = Command::new(&postgres)
        .arg("--version")
        .output()
        .attempt(|| format!("run {}", postgres.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_whitespace().nth(2).unwrap_or_default();
    Ok(version.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default().to_owned())
}
