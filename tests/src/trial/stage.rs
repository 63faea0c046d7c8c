//! The installation that a trial is about: private servers, proxies, processes, people, and who listens.

use std::collections::HashMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io};

use convene_infrastructure::postgres::migrate;
use convene_testkit::embedded::{Engine, Postgres, RabbitMq, Redis, Server, ServerOptions};
use convene_testkit::poll::poll_until;
use convene_testkit::proxy::{Fault, FaultProxy};
use futures::StreamExt as _;
use futures::stream;
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::clock::{Clock, Clockmaker, Step};
use super::snapshot::{FOLLOW_LEASES, Snapshot, waiting};
use super::usage::{self, Holding, Usage};
use super::{Evidence, Foreign, Hit};
use crate::app;
use crate::client::{Client, PATIENCE, Person, text};
use crate::foreign_queue::ForeignQueue;
use crate::process::{Process, Settings, run};
use crate::receiver::Receiver;

/// What a process may be cut off from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dependency {
    /// PostgreSQL.
    Database,
    /// Redis.
    Cache,
    /// RabbitMQ.
    Broker,
}

impl Dependency {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Database, Self::Cache, Self::Broker];
}

/// A process that lived this long has started well.
const STARTED: Duration = Duration::from_secs(15);
/// How long everything may take to be ready when nothing is wrong any more.
const RECOVERS_WITHIN: Duration = Duration::from_secs(60);
/// How long a process may take to say whether it is.
const ASKED: Duration = Duration::from_secs(3);
/// How soon one that has ended is started again.
const KEEP: Duration = Duration::from_millis(300);
/// RabbitMQ 3.10 writes down up to three seconds later that a quorum queue exists. Killed before, it comes back with a queue
/// that never answers again.
const QUEUES_LAST_AFTER: Duration = Duration::from_secs(6);

/// A process with a proxy of its own before each server.
pub struct Node {
    /// `serve1`, `worker2`; also its login at PostgreSQL.
    pub name: &'static str,
    /// Speaks to it.
    pub api: Client,
    /// What it takes for the time.
    pub clock: Clock,
    links: HashMap<Dependency, FaultProxy>,
    process: Mutex<Process>,
    launched: Mutex<Instant>,
    /// Whether it is to run.
    wanted: AtomicBool,
}

impl Node {
    /// What lies between it and a server.
    #[must_use]
    pub fn link(&self, dependency: Dependency) -> &FaultProxy {
        &self.links[&dependency]
    }

    /// Its process.
    pub fn process(&self) -> MutexGuard<'_, Process> {
        locked(&self.process)
    }

    /// Kills it, for good until it is wanted again.
    pub fn kill(&self) {
        self.wanted.store(false, Ordering::SeqCst);
        self.process().kill();
    }

    /// Has it run again.
    pub fn want(&self) {
        self.wanted.store(true, Ordering::SeqCst);
    }

    /// Starts it again if it has ended and is wanted; tells of an end that nobody brought about.
    fn keep(&self) -> Option<String> {
        if !self.wanted.load(Ordering::SeqCst) {
            return None;
        }
        let mut process = self.process();
        let ended = process.ended()?;
        let mut launched = locked(&self.launched);
        let lived = launched.elapsed();
        process.launch_again();
        *launched = Instant::now();
        let died = lived > STARTED && !self.was_killed(&ended);
        died.then(|| format!("{} ended by itself after {lived:?}: {ended}", self.name))
    }

    fn was_killed(&self, ended: &std::process::ExitStatus) -> bool {
        use std::os::unix::process::ExitStatusExt as _;
        // By a fault, or by its own hand at a failpoint.
        matches!(ended.signal(), Some(9 | 6))
    }
}

/// Who takes part.
#[derive(Clone, Debug)]
pub struct Cast {
    /// Owns the community.
    pub owner: Person,
    /// Come and go.
    pub guests: Vec<Person>,
    /// Are given roles.
    pub members: Vec<Person>,
    /// The community.
    pub community: String,
    /// Events that guests come to, with their seats.
    pub events: Vec<(String, u32)>,
}

/// Everything that a trial runs on. Ends with this value.
pub struct Stage {
    /// The database.
    pub postgres: Mutex<Postgres>,
    /// The cache and the limits.
    pub redis: Mutex<Redis>,
    /// The broker.
    pub broker: Mutex<RabbitMq>,
    /// What the database takes for the time, which is what all leases go by.
    pub database_clock: Clock,
    /// The processes: those that serve first.
    pub nodes: Vec<Arc<Node>>,
    /// Gets the webhooks.
    pub receiver: Receiver,
    /// Who takes part.
    pub cast: Cast,
    /// The endpoints of the community.
    pub webhooks: Vec<String>,
    foreign: ForeignQueue,
    foreign_since: i64,
    declared: Instant,
    before: Mutex<HashMap<&'static str, Holding>>,
    deaths: Arc<Mutex<Vec<String>>>,
    unready: Mutex<Vec<String>>,
    keeper: JoinHandle<()>,
    _clockmaker: Clockmaker,
    /// Unmounted when the database on it has ended.
    disk: Option<Disk>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// A small file system with the database on it, where the user may mount one.
struct Disk {
    folder: TempDir,
}

impl Disk {
    /// PostgreSQL needs a third of it.
    const SIZE: &str = "size=384m,mode=755";

    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // PostgreSQL's account has to get through.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", Self::SIZE, "tmpfs"])
            .arg(folder.path())
            .output();
        mount.is_ok_and(|said| said.status.success()).then_some(Self { folder })
    }

    fn ballast(&self) -> PathBuf {
        self.folder.path().join("ballast")
    }

    /// Fills it to the last byte, or makes room again.
    fn fill(&self, full: bool) {
        if full {
            let mut ballast = fs::File::create(self.ballast()).expect("a file can be made");
            while ballast.write_all(&[0; 1 << 16]).is_ok() {}
            while ballast.write_all(&[0]).is_ok() {}
        } else {
            fs::remove_file(self.ballast()).expect("the ballast can be removed");
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What still runs on it keeps it until its end.
        let _ = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
    }
}

impl Stage {
    /// Sets the stage for so many guests, with these processes: names and commands, those that serve first.
    pub async fn set(guests: usize, nodes: &[(&'static str, &'static str)]) -> Self {
        let clockmaker = Clockmaker::new();
        let database_clock = clockmaker.clock("postgres");
        let disk = Disk::mount();
        let on_disk = match &disk {
            Some(disk) => ServerOptions {
                data_dir: Some(disk.folder.path().join("postgres")),
                ..ServerOptions::temporary()
            }
            .setting("min_wal_size", "32MB")
            .setting("max_wal_size", "64MB"),
            None => ServerOptions::temporary(),
        };
        let on_disk = ServerOptions { environment: database_clock.environment(), ..on_disk };
        let (postgres, redis, broker) = tokio::join!(
            private(on_disk),
            private(ServerOptions::temporary()),
            private(ServerOptions::temporary())
        );
        let (postgres, redis, broker): (Postgres, Redis, RabbitMq) = (postgres, redis, broker);
        let server = postgres.url("postgres", "postgres");
        migrate::create_database(&server.into(), "convene").await.expect("a database can be made");
        let (cast, foreign, foreign_since) = prepare(&postgres, &broker, guests).await;
        let declared = Instant::now();
        let sql = app::sql(&postgres.url("postgres", "convene")).await;
        sql.batch_execute(FOLLOW_LEASES).await.expect("jobs can be watched");
        for (name, _) in nodes {
            let login = format!("CREATE ROLE {name} LOGIN SUPERUSER");
            sql.batch_execute(&login).await.expect("a login can be made");
        }
        let nodes: Vec<Arc<Node>> = nodes
            .iter()
            .map(|(name, command)| {
                let clock = clockmaker.clock(name);
                Arc::new(node(name, command, clock, &postgres, &redis, &broker))
            })
            .collect();
        let deaths = Arc::<Mutex<Vec<String>>>::default();
        let keeper = tokio::spawn(keep(nodes.clone(), Arc::clone(&deaths)));
        let mut stage = Self {
            postgres: Mutex::new(postgres),
            redis: Mutex::new(redis),
            broker: Mutex::new(broker),
            database_clock,
            nodes,
            receiver: Receiver::start(),
            cast,
            webhooks: Vec::new(),
            foreign,
            foreign_since,
            declared,
            before: Mutex::default(),
            deaths,
            unready: Mutex::default(),
            keeper,
            _clockmaker: clockmaker,
            disk,
        };
        assert_eq!(stage.recovers(RECOVERS_WITHIN).await, Vec::<String>::new());
        for types in [json!(["*"]), json!(["rsvp.confirmed", "rsvp.cancelled", "event.*"])] {
            stage.webhooks.push(stage.webhook(&types).await);
        }
        stage
    }

    async fn webhook(&self, types: &serde_json::Value) -> String {
        let made = self.nodes[0]
            .api
            .post(format!("/v1/communities/{}/webhooks", self.cast.community))
            .by(&self.cast.owner)
            .json(json!({"url": self.receiver.url(), "event_types": types}))
            .await
            .expect(201);
        text(&made.json()["id"])
    }

    /// Where the API is.
    #[must_use]
    pub fn apis(&self) -> Vec<(&'static str, Client)> {
        let serving = self.nodes.iter().filter(|node| node.name.starts_with("serve"));
        serving.map(|node| (node.name, node.api.clone())).collect()
    }

    /// Whether the broker's queues survive its end by now.
    #[must_use]
    pub fn broker_may_die(&self) -> bool {
        self.declared.elapsed() > QUEUES_LAST_AFTER
    }

    /// Whether the database's disk can be filled here.
    #[must_use]
    pub fn disk_may_fill(&self) -> bool {
        self.disk.is_some()
    }

    /// Leaves the database no space on its disk, or gives it back.
    ///
    /// # Panics
    /// Where that is not possible.
    pub fn fill_disk(&self, full: bool) {
        self.disk.as_ref().expect("it was asked for").fill(full);
        if !full {
            // It ends itself when it cannot write its log.
            bring_back(&mut locked(&self.postgres));
        }
    }

    /// A connection to look behind the scenes with.
    pub async fn sql(&self) -> tokio_postgres::Client {
        let url = locked(&self.postgres).url("postgres", "convene");
        app::sql(&url).await
    }

    /// Remembers what the processes hold now.
    pub async fn measure(&self) {
        let holdings = self.holdings().await;
        *locked(&self.before) = holdings;
    }

    async fn holdings(&self) -> HashMap<&'static str, Holding> {
        let sql = self.sql().await;
        let mut holdings = HashMap::new();
        for node in &self.nodes {
            let connections = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1";
            let row = sql.query_one(connections, &[&node.name]).await.expect("PostgreSQL answers");
            let connections = row.get::<_, i64>(0).unsigned_abs();
            let pid = node.process().pid();
            holdings.insert(node.name, Holding { connections, ..usage::of_process(pid) });
        }
        holdings
    }

    /// Ends whatever fault there may be, and waits until every process is ready. Tells of those that do not get ready.
    ///
    /// # Panics
    /// If a server does not come back.
    pub async fn heal(&self) {
        for node in &self.nodes {
            for link in node.links.values() {
                link.set(Fault::Pass);
            }
            node.clock.set(Step::NONE);
            node.process().pause(false);
            node.want();
        }
        self.database_clock.set(Step::NONE);
        self.receiver.answer(204);
        self.receiver.keep_silent(false);
        tokio::task::block_in_place(|| {
            bring_back(&mut locked(&self.postgres));
            bring_back(&mut locked(&self.redis));
            bring_back(&mut locked(&self.broker));
        });
        let unready = self.recovers(RECOVERS_WITHIN).await;
        locked(&self.unready).extend(unready);
    }

    /// Waits until every process is ready; those that are not in that time, with what they say.
    async fn recovers(&self, within: Duration) -> Vec<String> {
        let begun = Instant::now();
        let mut unready = Vec::new();
        for node in &self.nodes {
            loop {
                let asked = timeout(ASKED, node.api.get("/readyz").try_send()).await;
                let answer = asked.ok().and_then(Result::ok);
                if answer.as_ref().is_some_and(|one| one.json()["status"] == "ready") {
                    break;
                }
                if begun.elapsed() > within {
                    let said = answer.map(|one| String::from_utf8_lossy(&one.body).into_owned());
                    unready.push(format!("{}: {said:?}", node.name));
                    break;
                }
                sleep(KEEP).await;
            }
        }
        unready
    }

    /// Waits until nothing waits that is due, and the other service has it all, or gives up after that time. Says how long
    /// it took, and what waited last.
    pub async fn settles(&self, within: Duration) -> (Duration, String) {
        let begun = Instant::now();
        let sql = self.sql().await;
        let mut last = "nothing".to_owned();
        while begun.elapsed() < within {
            match waiting(&sql).await {
                Ok(Some(waiting)) => last = waiting,
                Ok(None) => {
                    let head = sql.query_one("SELECT position FROM log_head", &[]).await;
                    let head = head.map_or(i64::MAX, |row| row.get(0));
                    let missing = head - self.foreign_since - self.foreign.distinct() as i64;
                    if missing <= 0 {
                        break;
                    }
                    last = format!("{missing} events of the other service");
                }
                Err(error) => last = error.to_string(),
            }
            sleep(Duration::from_millis(250)).await;
        }
        (begun.elapsed(), last)
    }

    /// All that the checker wants to know but the history.
    ///
    /// # Panics
    /// When the healed database does not answer.
    pub async fn evidence(&self) -> Evidence {
        let snapshot = Snapshot::take(&mut self.sql().await).await.expect("PostgreSQL answers");
        let hits = self.receiver.received().into_iter().map(|hit| Hit {
            event: text(&hit.json()["id"]),
            delivery: hit.id,
            body: hit.body,
        });
        let foreign = self.foreign.received().into_iter().map(|event| Foreign {
            id: text(&event["id"]),
            subject: text(&event["subject"]),
            version: event["aggregateversion"].as_i64().unwrap_or_default(),
        });
        let after = self.holdings().await;
        let before = locked(&self.before).clone();
        let usage = after.into_iter().filter_map(|(process, after)| {
            let before = *before.get(process)?;
            Some(Usage { process: process.to_owned(), before, after })
        });
        Evidence {
            history: Vec::new(),
            snapshot,
            hits: hits.collect(),
            foreign: foreign.collect(),
            foreign_since: self.foreign_since,
            usage: usage.collect(),
            broken_chains: self.verify_chains(),
            deaths: locked(&self.deaths).clone(),
            unready: locked(&self.unready).clone(),
        }
    }

    fn verify_chains(&self) -> Option<String> {
        let url = locked(&self.postgres).url("postgres", "convene");
        let verified = std::panic::catch_unwind(|| run("audit verify", &settings(&url, "", "")));
        verified.err().map(|panic| match panic.downcast::<String>() {
            Ok(told) => *told,
            Err(_) => "`audit verify` failed".to_owned(),
        })
    }

    /// Keeps the processes' logs.
    ///
    /// # Errors
    /// When they cannot be written there.
    pub fn keep_logs(&self, folder: &Path) -> io::Result<()> {
        for node in &self.nodes {
            fs::copy(node.process().log(), folder.join(format!("{}.log", node.name)))?;
        }
        Ok(())
    }
}

/// Lets a server go on if it was stopped, and starts it again if it has ended.
fn bring_back<E: Engine>(server: &mut Server<E>) {
    if server.is_running() {
        server.resume().expect("a server may be signalled");
    } else {
        server.restart().expect("a server starts again");
    }
}

/// Makes people, a community and events, with everything else in place.
async fn prepare(
    postgres: &Postgres,
    broker: &RabbitMq,
    guests: usize,
) -> (Cast, ForeignQueue, i64) {
    let database = postgres.url("postgres", "convene");
    let mut settings = settings(&database, "", &broker.url());
    settings.push(("CONVENE__LIMITS__ENABLED".to_owned(), "false".to_owned()));
    let before = Process::start("run", settings).await;
    let foreign = ForeignQueue::bind_to(&broker.url(), "#").await;
    let sql = app::sql(&database).await;
    let head = sql.query_one("SELECT position FROM log_head", &[]).await.expect("it answers");
    let owner = before.person("olga").await;
    let community = before.community(&owner).await;
    let mut events = Vec::new();
    for seats in [6, 10, 3] {
        events.push((before.event(&owner, &community, Some(seats)).await, seats));
    }
    let mut people: Vec<Person> = stream::iter(0..guests + 3)
        .map(|number| {
            let (before, community) = (&before, &community);
            async move {
                let person = before.person(&format!("guest{number}")).await;
                before.join(&person, community).await;
                person
            }
        })
        .buffer_unordered(4)
        .collect()
        .await;
    let members = people.split_off(guests);
    poll_until(PATIENCE, "nothing is left to do", async || {
        waiting(&sql).await.ok()?.is_none().then_some(())
    })
    .await;
    let cast = Cast { owner, guests: people, members, community, events };
    (cast, foreign, head.get(0))
}

fn node(
    name: &'static str,
    command: &'static str,
    clock: Clock,
    postgres: &Postgres,
    redis: &Redis,
    broker: &RabbitMq,
) -> Node {
    let addresses = [postgres.address(), redis.address(), broker.address()];
    let links: HashMap<Dependency, FaultProxy> = Dependency::ALL
        .into_iter()
        .zip(addresses)
        .map(|(dependency, address)| {
            (dependency, FaultProxy::start(address).expect("a free port on loopback"))
        })
        .collect();
    let at = |dependency: Dependency| links[&dependency].addr();
    let mut settings = settings(
        &format!("postgres://{name}@{}/convene", at(Dependency::Database)),
        &format!("redis://{}", at(Dependency::Cache)),
        &format!("amqp://guest:guest@{}/%2f", at(Dependency::Broker)),
    );
    settings.extend(clock.environment());
    let process = Process::launch(command, settings);
    let api = (*process).clone();
    Node {
        name,
        api,
        clock,
        links,
        process: Mutex::new(process),
        launched: Mutex::new(Instant::now()),
        wanted: AtomicBool::new(true),
    }
}

fn settings(database: &str, redis: &str, broker: &str) -> Settings {
    let all = [
        ("CONVENE__DATABASE__URL", database),
        ("CONVENE__DATABASE__POOL_SIZE", "6"),
        ("CONVENE__DATABASE__JOBS_POOL_SIZE", "4"),
        ("CONVENE__DATABASE__SINKS_POOL_SIZE", "3"),
        ("CONVENE__HTTP__WORKERS", "1"),
        ("CONVENE__REDIS__URL", redis),
        ("CONVENE__BROKER__URL", broker),
        ("CONVENE__MAIL__SMTP_URL", ""),
        ("CONVENE__WEBHOOKS__ALLOW_PRIVATE_TARGETS", "true"),
    ];
    all.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// Starts what has ended and is wanted again, as an orchestrator does.
async fn keep(nodes: Vec<Arc<Node>>, deaths: Arc<Mutex<Vec<String>>>) {
    loop {
        for node in &nodes {
            if let Some(death) = node.keep() {
                locked(&deaths).push(death);
            }
        }
        sleep(KEEP).await;
    }
}

/// A server that nobody else uses, and that keeps what it has acknowledged.
async fn private<E: Engine>(options: ServerOptions) -> Server<E>
where
    Server<E>: Send + 'static,
{
    let options = ServerOptions { durable: true, ..options };
    let starting = tokio::task::spawn_blocking(|| Server::start(options));
    starting.await.expect("starting does not panic").unwrap_or_else(|error| panic!("{error}"))
}

/// What a lock guards; a panic in another thread is told there.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
