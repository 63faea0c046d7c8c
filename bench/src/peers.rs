//! Other job queues on the same servers: `bench/peers/peers.mjs` has them do what ours do.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Fault;
use crate::scene::Scene;

/// Jobs per second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    /// Stored one by one, by 16 callers.
    pub(crate) single: f64,
    /// Stored by 1,000.
    pub(crate) bulk: f64,
    /// Run without doing anything.
    pub(crate) run: f64,
}

/// The other queues, installed.
pub(crate) struct Peers(PathBuf);

impl Peers {
    /// Installs them, which takes a download the first time.
    pub(crate) fn prepare() -> Result<Self, Fault> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/peers.sh");
        let prepared =
            Command::new(script).stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
        if !prepared.status.success() {
            return Err("the other queues cannot be installed".into());
        }
        Ok(Self(String::from_utf8(prepared.stdout)?.trim_end().into()))
    }

    /// graphile-worker as one of its configurations has it, in a database of its own.
    pub(crate) async fn graphile(&self, scene: &Scene, peer: &str) -> Result<Rates, Fault> {
        let database = peer.replace('-', "_");
        let admin = scene.connect("postgres").await?;
        admin.batch_execute(&format!("CREATE DATABASE {database}")).await?;
        let rates = self.run(peer, &scene.url(&database));
        admin.batch_execute(&format!("DROP DATABASE {database} WITH (FORCE)")).await?;
        rates
    }

    /// BullMQ. Redis answers a write behind its fsync.
    pub(crate) fn bullmq(&self, scene: &Scene) -> Result<Rates, Fault> {
        self.run("bullmq", &scene.redis)
    }

    fn run(&self, peer: &str, url: &str) -> Result<Rates, Fault> {
        let output = Command::new("node")
            .arg(&self.0)
            .args([peer, url])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            return Err(format!("{peer} failed").into());
        }
        let rates: Value = serde_json::from_slice(&output.stdout)?;
        let rate = |name: &str| rates[name].as_f64().ok_or_else(|| format!("no rate {name}"));
        Ok(Rates { single: rate("single")?, bulk: rate("bulk")?, run: rate("run")? })
    }
}
