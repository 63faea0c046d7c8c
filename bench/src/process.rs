//! The `convene` binary as a process of its own, and what starting it costs.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Fault;
use crate::client::{Client, request};
use crate::scene::Scene;
use crate::table::Row;

/// How long the process may take to be ready.
const PATIENCE: Duration = Duration::from_secs(20);
/// After which a process that nobody calls is idle.
const IDLE: Duration = Duration::from_secs(5);

/// A running `convene`, killed when dropped.
pub(crate) struct Convene {
    child: Child,
    pub(crate) address: SocketAddr,
    /// From the start of the process to the first 200 on /readyz.
    pub(crate) ready_after: Duration,
}

impl Convene {
    /// Starts `convene serve` or `convene run` on a database.
    pub(crate) async fn start(role: &str, scene: &Scene, database: &str) -> Result<Self, Fault> {
        Self::start_with(role, scene, database, &[]).await
    }

    /// The same with other settings, by the names of their variables.
    pub(crate) async fn start_with(
        role: &str,
        scene: &Scene,
        database: &str,
        settings: &[(&str, &str)],
    ) -> Result<Self, Fault> {
        let address = free_address()?;
        let started = Instant::now();
        let child = command(scene, database)?
            .arg(role)
            .env("CONVENE__HTTP__BIND", address.to_string())
            .envs(settings.iter().copied())
            .spawn()?;
        let mut convene = Self { child, address, ready_after: Duration::ZERO };
        let probe = request("GET", "/readyz", "", None);
        loop {
            if let Ok(mut client) = Client::connect(address).await
                && client.send(&probe).await.is_ok_and(|answer| answer.status == 200)
            {
                convene.ready_after = started.elapsed();
                return Ok(convene);
            }
            if started.elapsed() > PATIENCE || convene.child.try_wait()?.is_some() {
                return Err(format!("convene {role} did not become ready").into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Memory in use in MiB: now, and at most until now.
    pub(crate) fn memory(&self) -> Result<(f64, f64), Fault> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| -> Result<f64, Fault> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib =
                line.and_then(|rest| rest.split_whitespace().nth(1)).ok_or("no such field")?;
            Ok(kib.parse::<f64>()? / 1024.0)
        };
        Ok((field("VmRSS")?, field("VmHWM")?))
    }
}

impl Drop for Convene {
    fn drop(&mut self) {
        // It may have ended already; the data is thrown away in any case.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The binary beside this one, with everything that a run needs said in its environment.
pub(crate) fn command(scene: &Scene, database: &str) -> Result<Command, Fault> {
    let binary: PathBuf = std::env::current_exe()?.with_file_name("convene");
    if !binary.exists() {
        return Err(format!("{} is missing: `make bench` builds it", binary.display()).into());
    }
    let mut command = Command::new(binary);
    command
        .env("CONVENE__DATABASE__URL", scene.url(database))
        .env("CONVENE__REDIS__URL", &scene.redis)
        .env("CONVENE__BROKER__URL", &scene.broker)
        .env("CONVENE__MAIL__SMTP_URL", "")
        .env("CONVENE__WEBHOOKS__ALLOW_PRIVATE_TARGETS", "true")
        .env("CONVENE__LIMITS__ENABLED", "false")
        .env("CONVENE__TELEMETRY__LOG_FORMAT", "json")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Ok(command)
}

pub(crate) fn free_address() -> Result<SocketAddr, Fault> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Time to be ready and memory when idle.
pub(crate) async fn start(scene: &Scene) -> Result<Vec<Row>, Fault> {
    let mut rows = Vec::new();
    for role in ["run", "serve"] {
        let mut times = Vec::new();
        for _ in 0..5 {
            times.push(Convene::start(role, scene, scene.large()).await?.ready_after);
        }
        let median = crate::client::percentile(&mut times, 0.5);
        rows.push(Row::number(
            &format!("start of `convene {role}`"),
            format!("{} ms", median.as_millis()),
            "< 300 ms",
            "exec to the first 200 on /readyz, median of 5",
        ));
        let convene = Convene::start(role, scene, scene.large()).await?;
        tokio::time::sleep(IDLE).await;
        rows.push(Row::number(
            &format!("idle memory of `convene {role}`"),
            format!("{:.0} MiB", convene.memory()?.0),
            "< 60 MiB",
            "resident set 5 s after the start, PostgreSQL, Redis and RabbitMQ connected",
        ));
    }
    Ok(rows)
}
