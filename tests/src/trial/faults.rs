//! Faults by a schedule that a seed decides.

use std::collections::HashMap;
use std::fmt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use convene_testkit::embedded::RabbitMq;
use convene_testkit::proxy;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use super::clock::Step;
use super::dice::Dice;
use super::stage::{Dependency, Stage, locked};

/// What happens to a whole server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// SIGKILL, and another start in the end.
    Kill,
    /// An orderly end, and another start.
    Stop,
    /// SIGSTOP, and SIGCONT in the end.
    Pause,
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL for a process, by its place among the nodes.
    KillProcess(usize),
    /// SIGSTOP for one, and SIGCONT in the end.
    PauseProcess(usize),
    /// Harm to PostgreSQL.
    Database(Harm),
    /// Harm to Redis.
    Cache(Harm),
    /// FLUSHALL.
    FlushCache,
    /// Harm to RabbitMQ.
    Broker(Harm),
    /// RabbitMQ is short of memory and blocks whoever publishes.
    MemoryAlarm,
    /// A network between one process and one server.
    Link(usize, Dependency, proxy::Fault),
    /// One process is cut off from everything, and from nobody who calls it.
    Partition(usize),
    /// The database's disk is full.
    DiskFull,
    /// The receiver of webhooks answers 500.
    ReceiverFails,
    /// It answers nothing.
    ReceiverSilent,
    /// The wall clock of one process is stepped, and right again in the end: two steps.
    ProcessClock(usize, Step),
    /// That of PostgreSQL is.
    DatabaseClock(Step),
}

impl Fault {
    /// What no other fault may concern at the same time.
    fn concerns(self) -> Vec<String> {
        let link = |node, dependency| format!("{node} {dependency:?}");
        match self {
            Self::KillProcess(node) | Self::PauseProcess(node) => vec![format!("{node}")],
            Self::Database(_) | Self::DiskFull => vec!["database".to_owned()],
            Self::Cache(_) | Self::FlushCache => vec!["cache".to_owned()],
            Self::Broker(_) | Self::MemoryAlarm => vec!["broker".to_owned()],
            Self::Link(node, dependency, _) => vec![link(node, dependency)],
            Self::Partition(node) => Dependency::ALL.map(|one| link(node, one)).to_vec(),
            Self::ReceiverFails | Self::ReceiverSilent => vec!["receiver".to_owned()],
            // Whoever dies or stands still may do so while the time is wrong.
            Self::ProcessClock(node, _) => vec![format!("clock of {node}")],
            Self::DatabaseClock(_) => vec!["clock of the database".to_owned()],
        }
    }

    /// One that dice choose among so many nodes.
    fn thrown(dice: &mut Dice, nodes: usize) -> Self {
        let node = usize::try_from(dice.below(nodes as u64)).expect("a small number");
        match dice.below(100) {
            0..16 => Self::KillProcess(node),
            16..26 => Self::PauseProcess(node),
            26..32 => Self::Database(Harm::Kill),
            32..35 => Self::Database(Harm::Stop),
            35..38 => Self::Database(Harm::Pause),
            38..42 => Self::Cache(*dice.one(&[Harm::Kill, Harm::Pause])),
            42..46 => Self::FlushCache,
            46..49 => Self::Broker(Harm::Kill),
            49..51 => Self::Broker(Harm::Pause),
            51..54 => Self::MemoryAlarm,
            54..59 => Self::Partition(node),
            59..63 => Self::ReceiverFails,
            63..66 => Self::ReceiverSilent,
            66..70 => Self::DiskFull,
            70..78 => Self::ProcessClock(node, step(dice)),
            78..84 => Self::DatabaseClock(step(dice)),
            _ => {
                let dependency = *dice.one(&Dependency::ALL);
                Self::Link(node, dependency, link_fault(dice))
            }
        }
    }

    fn is_clock(self) -> bool {
        matches!(self, Self::ProcessClock(..) | Self::DatabaseClock(_))
    }

    /// A server that takes seconds of the machine to come back is not to do nothing else.
    fn is_costly(self) -> bool {
        matches!(self, Self::Broker(_) | Self::MemoryAlarm)
    }
}

/// Seconds as often as minutes.
fn step(dice: &mut Dice) -> Step {
    let most = if dice.percent(50) { LONGEST_STEP } else { SHORT_STEP };
    let by = dice.between(LEAST_STEP, most);
    if dice.percent(50) { Step::forwards(by) } else { Step::backwards(by) }
}

fn link_fault(dice: &mut Dice) -> proxy::Fault {
    match dice.below(5) {
        0 => {
            proxy::Fault::Delay(dice.between(Duration::from_millis(20), Duration::from_millis(400)))
        }
        1 => {
            let bytes_per_second = u32::try_from(2_000 + dice.below(60_000)).expect("small");
            proxy::Fault::Throttle { bytes_per_second }
        }
        2 => proxy::Fault::Cut,
        3 => proxy::Fault::HalfOpen,
        _ => proxy::Fault::Reset,
    }
}

/// A fault and its time, from the begin of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// When it begins.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// What happens.
    pub fault: Fault,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, lasts) = (self.at.as_secs_f64(), self.lasts.as_secs_f64());
        write!(f, "{at:8.3} s for {lasts:.3} s: {:?}", self.fault)
    }
}

/// How far clocks are stepped at most in a schedule. What was put off by a clock that is set back waits longer by so much.
#[must_use]
pub fn longest_step(schedule: &[Planned]) -> Duration {
    let step = |planned: &Planned| match planned.fault {
        Fault::ProcessClock(_, step) | Fault::DatabaseClock(step) => Some(step.distance()),
        _ => None,
    };
    schedule.iter().filter_map(step).max().unwrap_or_default()
}

/// The longest that most faults last.
const LONGEST: Duration = Duration::from_secs(5);
/// Some processes sleep until others have taken their jobs over, and wake up believing that they still have them.
const PAST_ITS_LEASES: Duration = Duration::from_secs(36);
/// A clock stays wrong for longer than most faults last: long enough for what goes by it.
const LONGEST_WRONG: Duration = Duration::from_secs(15);
/// How far clocks are stepped.
const LEAST_STEP: Duration = Duration::from_secs(1);
const SHORT_STEP: Duration = Duration::from_secs(15);
const LONGEST_STEP: Duration = Duration::from_secs(240);
/// Between two faults that need much of the machine.
const RESPITE: Duration = Duration::from_secs(20);

/// The schedule of a seed: the same for the same seed, length and number of nodes. Faults overlap, but no two concern the
/// same thing at the same time.
#[must_use]
pub fn schedule(seed: u64, length: Duration, nodes: usize) -> Vec<Planned> {
    let mut dice = Dice::new(seed, 0);
    let mut free_at: HashMap<String, Duration> = HashMap::new();
    let mut costly_at = Duration::from_secs(3);
    let mut at = Duration::ZERO;
    let mut planned = Vec::new();
    loop {
        at += dice.between(Duration::from_millis(300), Duration::from_millis(2_500));
        let mut lasts = dice.between(Duration::from_millis(300), LONGEST);
        let fault = Fault::thrown(&mut dice, nodes);
        if matches!(fault, Fault::PauseProcess(_))
            && dice.percent(40)
            && at + PAST_ITS_LEASES < length
        {
            lasts = PAST_ITS_LEASES;
        }
        if fault.is_clock() && at + LONGEST_WRONG < length {
            lasts = dice.between(Duration::from_secs(1), LONGEST_WRONG);
        }
        if at + lasts > length {
            return planned;
        }
        let concerns = fault.concerns();
        let is_free = concerns.iter().all(|one| free_at.get(one).is_none_or(|free| *free <= at));
        if !is_free || (fault.is_costly() && at < costly_at) {
            continue;
        }
        if fault.is_costly() {
            costly_at = at + lasts + RESPITE;
        }
        // What comes back needs a moment before it can be hit again.
        let free = at + lasts + Duration::from_secs(1);
        free_at.extend(concerns.into_iter().map(|one| (one, free)));
        planned.push(Planned { at, lasts, fault });
    }
}

/// Lets the faults of a schedule happen, and returns after the last has ended, with how many there were.
///
/// # Panics
/// When a server cannot be harmed or does not come back.
pub async fn inject(stage: &Arc<Stage>, schedule: &[Planned], told: impl Fn(&Planned)) -> usize {
    let begun = Instant::now();
    let mut under_way = JoinSet::new();
    let mut injected = 0;
    for planned in schedule {
        sleep_until(begun + planned.at).await;
        let is_possible = match planned.fault {
            Fault::Broker(Harm::Kill) => stage.broker_may_die(),
            Fault::DiskFull => stage.disk_may_fill(),
            _ => true,
        };
        if !is_possible {
            continue;
        }
        told(planned);
        injected += 1;
        let (stage, planned) = (Arc::clone(stage), *planned);
        under_way.spawn(async move {
            act(&stage, planned.fault, true).await;
            sleep_until(begun + planned.at + planned.lasts).await;
            act(&stage, planned.fault, false).await;
        });
    }
    under_way.join_all().await;
    injected
}

/// Begins a fault, or ends it.
async fn act(stage: &Arc<Stage>, fault: Fault, begins: bool) {
    let stage = Arc::clone(stage);
    // Servers take their time.
    spawn_blocking(move || act_now(&stage, fault, begins)).await.expect("a fault can be injected");
}

fn act_now(stage: &Stage, fault: Fault, begins: bool) {
    let set = |node: usize, dependency, fault| {
        let fault = if begins { fault } else { proxy::Fault::Pass };
        stage.nodes[node].link(dependency).set(fault);
    };
    match fault {
        Fault::KillProcess(node) if begins => stage.nodes[node].kill(),
        Fault::KillProcess(node) => stage.nodes[node].want(),
        Fault::PauseProcess(node) => stage.nodes[node].process().pause(begins),
        Fault::Database(harm) => harmed(&stage.postgres, harm, begins),
        Fault::Cache(harm) => harmed(&stage.redis, harm, begins),
        Fault::Broker(harm) => harmed(&stage.broker, harm, begins),
        Fault::FlushCache if begins => flush(stage),
        Fault::FlushCache => {}
        Fault::MemoryAlarm => alarm(&locked(&stage.broker), begins),
        Fault::Link(node, dependency, fault) => set(node, dependency, fault),
        Fault::Partition(node) => {
            for dependency in Dependency::ALL {
                set(node, dependency, proxy::Fault::HalfOpen);
            }
        }
        Fault::DiskFull => stage.fill_disk(begins),
        Fault::ReceiverFails => stage.receiver.answer(if begins { 500 } else { 204 }),
        Fault::ReceiverSilent => stage.receiver.keep_silent(begins),
        Fault::ProcessClock(node, step) => {
            stage.nodes[node].clock.set(if begins { step } else { Step::NONE });
        }
        Fault::DatabaseClock(step) => {
            stage.database_clock.set(if begins { step } else { Step::NONE });
        }
    }
}

fn harmed<E: convene_testkit::embedded::Engine>(
    server: &std::sync::Mutex<convene_testkit::embedded::Server<E>>,
    harm: Harm,
    begins: bool,
) {
    let mut server = locked(server);
    let acted = match (harm, begins) {
        (Harm::Kill, true) => server.kill(),
        (Harm::Stop, true) => server.stop(),
        (Harm::Pause, true) => server.pause(),
        (Harm::Pause, false) => server.resume(),
        (Harm::Kill | Harm::Stop, false) => server.restart(),
    };
    acted.unwrap_or_else(|error| panic!("{harm:?}, {begins}: {error}"));
}

fn flush(stage: &Stage) {
    use std::io::{Read as _, Write as _};
    let address = locked(&stage.redis).address();
    let flushed = std::net::TcpStream::connect(address).and_then(|mut connection| {
        connection.set_read_timeout(Some(Duration::from_secs(5)))?;
        connection.write_all(b"FLUSHALL\r\n")?;
        connection.read_exact(&mut [0; 5])
    });
    flushed.expect("Redis flushes");
}

/// What RabbitMQ may use of the memory; less than it needs to run, for the alarm.
fn alarm(broker: &RabbitMq, begins: bool) {
    let watermark = if begins { "0.00001" } else { "0.4" };
    let environment = std::fs::read(format!("/proc/{}/environ", broker.pid())).unwrap_or_default();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    let variable = |name: &str| {
        let of = |variable: &str| variable.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
        environment.split('\0').find_map(of).unwrap_or_default()
    };
    let cookie = std::fs::read_to_string(format!("{}/.erlang.cookie", variable("HOME")));
    let said = Command::new("/usr/lib/rabbitmq/bin/rabbitmqctl")
        .args(["--node", "convene@localhost", "--erlang-cookie", cookie.unwrap_or_default().trim()])
        .args(["set_vm_memory_high_watermark", watermark])
        .env("ERL_EPMD_PORT", variable("ERL_EPMD_PORT"))
        .output()
        .expect("rabbitmqctl is there");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_seed_decides_on_the_schedule() {
        let schedule = |seed| schedule(seed, MINUTE, 4);
        assert_eq!(schedule(7), schedule(7));
        assert_ne!(schedule(7), schedule(8));
    }

    #[test]
    fn nothing_is_hit_twice_at_a_time_and_all_ends_in_time() {
        for seed in 0..50 {
            let planned = schedule(seed, MINUTE, 4);
            assert!(planned.len() > 10, "{planned:?}");
            for (place, one) in planned.iter().enumerate() {
                assert!(one.at + one.lasts <= MINUTE, "{one}");
                for other in &planned[..place] {
                    let meet = other.at + other.lasts > one.at;
                    let concerns = other.fault.concerns();
                    let same = one.fault.concerns().iter().any(|it| concerns.contains(it));
                    assert!(!(meet && same), "{one} and {other}");
                }
            }
        }
    }

    #[test]
    fn long_enough_schedules_have_every_kind() {
        let planned = schedule(1, MINUTE * 30, 4);
        let kinds: std::collections::HashSet<_> =
            planned.iter().map(|one| std::mem::discriminant(&one.fault)).collect();
        assert_eq!(kinds.len(), 14);
    }
}
