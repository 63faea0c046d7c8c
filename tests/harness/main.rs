//! `convene-chaos SEED SECONDS`: one trial. Private servers, two processes each of the API and the worker, a load, faults by
//! the seed's schedule, and a judgement; see docs/reliability.md. Exit status 1 if something is not as it must be.
#![expect(clippy::print_stdout, reason = "a trial is told on standard output")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs, io};

use convene_tests::process;
use convene_tests::trial::Evidence;
use convene_tests::trial::checker::{check, invariants};
use convene_tests::trial::faults::{inject, longest_step, schedule};
use convene_tests::trial::history::{Outcome, write_lines};
use convene_tests::trial::load::Load;
use convene_tests::trial::stage::Stage;
use tokio::time::sleep;

const NODES: [(&str, &str); 4] =
    [("serve1", "serve"), ("serve2", "serve"), ("worker1", "worker"), ("worker2", "worker")];
const GUESTS: usize = 8;
/// Load without faults, before what processes hold is measured.
const WARM_UP: Duration = Duration::from_secs(5);
/// How long what waits may take when everything is back. A lease that was taken while the database's clock was fast ends later
/// by the step, and so does a pause before another attempt: that is waited for, too.
const SETTLES_WITHIN: Duration = Duration::from_secs(60);
/// The most violations that are told one by one.
const TOLD: usize = 40;

fn main() -> ExitCode {
    process::started_plainly();
    if process::is_started_as_convene() {
        process::convene();
        return ExitCode::SUCCESS;
    }
    let Some((seed, seconds)) = arguments() else {
        println!("usage: convene-chaos SEED SECONDS");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime can be built").block_on(trial(seed, Duration::from_secs(seconds)))
}

fn arguments() -> Option<(u64, u64)> {
    let mut arguments = env::args().skip(1).map(|argument| argument.parse().ok());
    Some((arguments.next()??, arguments.next()??))
}

async fn trial(seed: u64, length: Duration) -> ExitCode {
    let begun = Instant::now();
    let planned = schedule(seed, length, NODES.len());
    println!("seed {seed}, {length:?}: {} faults", planned.len());
    for one in &planned {
        println!("  {one}");
    }
    let stage = Arc::new(Stage::set(GUESTS, &NODES).await);
    println!("the stage is set after {:.1?}", begun.elapsed());

    let load = Load::begin(&stage, seed);
    sleep(WARM_UP).await;
    stage.measure().await;
    let faults = Instant::now();
    let injected = inject(&stage, &planned, |_| {}).await;
    sleep(length.saturating_sub(faults.elapsed())).await;
    println!("{injected} faults were injected in {:.1?}", faults.elapsed());

    let healing = Instant::now();
    stage.heal().await;
    println!("every process was ready {:.1?} after the last fault", healing.elapsed());
    let history = load.end().await;
    let (settled, last) = stage.settles(SETTLES_WITHIN + longest_step(&planned)).await;
    println!("{settled:.1?} after the load; the last that waited: {last}");
    let evidence = Evidence { history, ..stage.evidence().await };
    let violations = check(&evidence);
    tell(&evidence);
    for violation in violations.iter().take(TOLD) {
        println!("VIOLATION {violation}");
    }
    println!(
        "seed {seed}: {} violations of {} invariants, after {:.1?}",
        violations.len(),
        invariants(),
        begun.elapsed()
    );
    match keep(&stage, &evidence, seed) {
        Ok(folder) => println!("history and logs are in {}", folder.display()),
        Err(error) => println!("history and logs could not be kept: {error}"),
    }
    if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(evidence: &Evidence) {
    let count = |outcome| evidence.history.iter().filter(|one| one.outcome == outcome).count();
    let writes = evidence.history.iter().filter(|one| {
        one.outcome == Outcome::Acknowledged
            && one.operation != convene_tests::trial::history::Operation::Read
    });
    let replayed = evidence.history.iter().filter(|one| one.replayed).count();
    println!(
        "{} requests: {} acknowledged ({} writes, {replayed} of them replayed), {} refused, {} unknown",
        evidence.history.len(),
        count(Outcome::Acknowledged),
        writes.count(),
        count(Outcome::Refused),
        count(Outcome::Unknown),
    );
    let snapshot = &evidence.snapshot;
    let stolen = snapshot.leases.iter().filter(|step| step.expired).count();
    println!(
        "{} events, {} received by another service, {} deliveries in {} attempts, {} webhooks received, \
         {} steps of leases, {stolen} after they had run out, {} audit entries",
        snapshot.log.len(),
        evidence.foreign.len(),
        snapshot.deliveries.len(),
        snapshot.deliveries.iter().map(|one| one.attempts).sum::<i64>(),
        evidence.hits.len(),
        snapshot.leases.len(),
        snapshot.audit.len(),
    );
    for usage in &evidence.usage {
        println!("{}: before {:?}, after {:?}", usage.process, usage.before, usage.after);
    }
}

/// Keeps what tells how it came to that.
fn keep(stage: &Stage, evidence: &Evidence, seed: u64) -> io::Result<PathBuf> {
    let program = env::current_exe()?;
    let folder = program.ancestors().nth(2).unwrap_or(Path::new(".")).join(format!("chaos/{seed}"));
    fs::create_dir_all(&folder)?;
    write_lines(&folder.join("history.jsonl"), &evidence.history)?;
    fs::write(folder.join("snapshot.txt"), format!("{:#?}", evidence.snapshot))?;
    stage.keep_logs(&folder)?;
    Ok(folder)
}
