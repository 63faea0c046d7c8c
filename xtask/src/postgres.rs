//! A PostgreSQL of our own for the time of one task, so that no task depends on what else runs on
//! the machine.
//!
//! The server is held by an example of the `embedded` crate, in a process of its own: xtask links
//! none of the crates that it judges, so that it works while they do not compile.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::{Result, repository};

/// A running server with one empty database. Dropping it ends the server and deletes its data.
#[derive(Debug)]
pub(crate) struct ThrowawayPostgres {
    url: String,
    holder: Child,
}

impl ThrowawayPostgres {
    /// Starts the server; returns once it answers.
    ///
    /// # Errors
    /// The server could not be started; why, its holder has said on standard error.
    pub(crate) fn start(root: &Path) -> Result<Self> {
        let mut holder = repository::cargo(root)
            .args(["run", "--quiet", "--package", "convene-embedded", "--example", "postgres"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut url = String::new();
        if let Some(output) = holder.stdout.take() {
            BufReader::new(output).read_line(&mut url)?;
        }
        let server = Self { url: url.trim_end().to_owned(), holder };
        if server.url.is_empty() {
            return Err("the throwaway PostgreSQL did not start".into());
        }
        Ok(server)
    }

    /// The URL of the database, for the superuser.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The definitions of all objects in the database, without owners and grants, and without
    /// partitions that are named for a day: which of those exist depends on the clock.
    ///
    /// # Errors
    /// What `pg_dump` says.
    pub(crate) fn dump_schema(&self) -> Result<String> {
        let output = Command::new("pg_dump")
            .args(["--schema-only", "--no-owner", "--no-privileges"])
            .arg(format!("--exclude-table=*_{}", "[0-9]".repeat(8)))
            .args(["--dbname", &self.url])
            .output()
            .map_err(|error| format!("cannot run pg_dump: {error}. `make setup` installs it"))?;
        if output.status.success() {
            Ok(String::from_utf8(output.stdout)?)
        } else {
            Err(format!("pg_dump failed:\n{}", String::from_utf8_lossy(&output.stderr)).into())
        }
    }
}

impl Drop for ThrowawayPostgres {
    fn drop(&mut self) {
        // The holder serves until its input ends.
        drop(self.holder.stdin.take());
        if let Err(error) = self.holder.wait() {
            eprintln!("cannot wait for the throwaway PostgreSQL to end: {error}");
        }
    }
}
