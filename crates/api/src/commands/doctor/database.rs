//! The database, and what waits in it.

use std::time::Duration;

use convene_application::kernel::jobs::JobQueue;
use convene_application::kernel::operate::jobs::JobReads as _;
use convene_application::kernel::operate::relay::RelayStatus;
use convene_application::kernel::store::StoreError;
use convene_infrastructure::postgres::migrate;
use convene_infrastructure::postgres::operate::{Diagnosis, Skew, clock, diagnose};
use jiff::SignedDuration;

use super::Check;
use crate::commands::table::seconds;
use crate::config::Config;
use crate::wiring::Platform;

/// The oldest PostgreSQL that has what we use.
const OLDEST: u32 = 15;
/// A clock that is further away than this lets leases and tokens end at odd times.
const SKEW: SignedDuration = SignedDuration::from_secs(2);
/// Events pass through the sequencer within milliseconds, and due jobs start within a poll.
const SLOW: Duration = Duration::from_secs(30);

const REACH: &str = "check database.url (CONVENE__DATABASE__URL) and that PostgreSQL runs";

/// The role to serve as, or the check that failed.
pub(super) async fn role(config: &Config) -> Result<Option<String>, Check> {
    migrate::serving_role(&config.database.url)
        .await
        .map_err(|error| Check::broken("database", &error, REACH))
}

/// All that can be asked of the database.
pub(super) async fn checks(platform: &Platform) -> Vec<Check> {
    let pool = platform.store.pool();
    let diagnosis = match diagnose(pool).await {
        Ok(diagnosis) => diagnosis,
        Err(error) => return vec![Check::broken("database", &error, REACH)],
    };
    let mut checks = vec![version(&diagnosis)];
    let missing = migrate::pending(pool).await;
    let is_migrated = missing.as_ref().is_ok_and(Vec::is_empty);
    checks.push(migrations(missing));
    checks.push(roles(&diagnosis));
    checks.push(log_privileges(&diagnosis));
    let now = || platform.env.now();
    checks.push(match clock(pool, now).await {
        Ok(skew) => clock_skew(skew),
        Err(error) => Check::broken("clock", &error, REACH),
    });
    if is_migrated {
        checks.extend(waiting(platform).await);
    }
    checks
}

fn version(diagnosis: &Diagnosis) -> Check {
    let detail = format!("PostgreSQL {} as {}", diagnosis.version, diagnosis.role);
    if diagnosis.major < OLDEST {
        return Check::fail("database", detail, format!("use PostgreSQL {OLDEST} or later"));
    }
    Check::ok("database", detail)
}

fn migrations(missing: Result<Vec<String>, StoreError>) -> Check {
    const NAME: &str = "migrations";
    match missing {
        Ok(missing) if missing.is_empty() => Check::ok(NAME, "complete"),
        Ok(missing) => Check::fail(
            NAME,
            format!("missing: {}", missing.join(", ")),
            "run `convene db migrate`",
        ),
        Err(error) => Check::broken(NAME, &error, "let the login read __diesel_schema_migrations"),
    }
}

fn roles(diagnosis: &Diagnosis) -> Check {
    const NAME: &str = "roles";
    const ADVICE: &str = "run `convene db migrate` as a login that may create roles, then serve as one that is a member of convene_app";
    let role = &diagnosis.role;
    if diagnosis.is_superuser {
        return Check::fail(NAME, format!("{role} serves and is a superuser"), ADVICE);
    }
    match diagnosis.owned_tables.as_slice() {
        [] => Check::ok(NAME, format!("{role} owns no table")),
        [first, ..] => {
            let count = diagnosis.owned_tables.len();
            let detail = format!("{role} serves and owns {count} table(s), such as {first}");
            Check::fail(NAME, detail, ADVICE)
        }
    }
}

fn log_privileges(diagnosis: &Diagnosis) -> Check {
    const NAME: &str = "log_privileges";
    let role = &diagnosis.role;
    match diagnosis.excesses.as_slice() {
        [] => Check::ok(NAME, format!("{role} can neither change nor delete what is in the logs")),
        [first, ..] => {
            let detail = format!(
                "{role} has {} right(s) too many on the logs, such as {} on {}",
                diagnosis.excesses.len(),
                first.privilege,
                first.table,
            );
            Check::fail(NAME, detail, "run `convene db migrate`, which renews the grants")
        }
    }
}

fn clock_skew(skew: Skew) -> Check {
    const NAME: &str = "clock";
    let millis = skew.ahead.as_millis();
    let detail = format!("the database's clock is {millis} ms ahead of ours");
    // What the question itself took may be all that there is.
    if skew.ahead.abs() - skew.travelled / 2 > SKEW {
        return Check::warn(
            NAME,
            detail,
            "keep both machines at the same time, by NTP for example",
        );
    }
    Check::ok(NAME, detail)
}

/// What waits to be sequenced, published or run, and what has died.
async fn waiting(platform: &Platform) -> Vec<Check> {
    match found(platform).await {
        Ok(checks) => checks,
        Err(error) => vec![Check::broken("outbox", &error, REACH)],
    }
}

async fn found(platform: &Platform) -> Result<Vec<Check>, StoreError> {
    const WORKER: &str = "see that `convene worker` runs, and its log";
    let store = &platform.sinks;
    let status = RelayStatus::read(store).await?;
    let mut checks = Vec::new();

    let (rows, age) = (status.waiting.rows, status.waiting.age);
    let detail = format!("{rows} event(s) wait for their position, {} s at most", seconds(age));
    checks.push(if age > SLOW {
        Check::warn("outbox", detail, WORKER)
    } else {
        Check::ok("outbox", detail)
    });

    if status.sinks.is_empty() {
        checks.push(Check::ok("sinks", "none has published yet"));
    }
    for cursor in &status.sinks {
        let detail = format!(
            "{} is {} event(s) behind position {}",
            cursor.sink,
            status.lag(cursor),
            status.head
        );
        checks.push(if cursor.oldest_behind.is_some_and(|age| age > SLOW) {
            Check::warn("sinks", detail, WORKER)
        } else {
            Check::ok("sinks", detail)
        });
    }

    let queues = JobQueue::backlog(store).await?;
    let due: u64 = queues.iter().map(|queue| queue.due).sum();
    let age = queues.iter().map(|queue| queue.age).max().unwrap_or_default();
    let detail = format!("{due} job(s) are due, {} s at most", seconds(age));
    checks.push(if age > SLOW {
        Check::warn("due_jobs", detail, WORKER)
    } else {
        Check::ok("due_jobs", detail)
    });

    let dead = store.dead().await?;
    checks.push(if dead > 0 {
        let advice = "look at `convene jobs list --state dead`, then `convene jobs retry --dead`";
        Check::warn("dead_jobs", format!("{dead} job(s) failed for good"), advice)
    } else {
        Check::ok("dead_jobs", "none")
    });
    Ok(checks)
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn told(ahead_millis: i64, travelled_millis: i64) -> State {
        let millis = SignedDuration::from_millis;
        clock_skew(Skew { ahead: millis(ahead_millis), travelled: millis(travelled_millis) }).state
    }

    #[test]
    fn a_clock_may_be_two_seconds_away_and_as_much_more_as_asking_took() {
        assert_eq!(told(0, 1), State::Ok);
        assert_eq!(told(-2_000, 0), State::Ok);
        assert_eq!(told(2_001, 0), State::Warn);
        assert_eq!(told(-2_001, 0), State::Warn);
        assert_eq!(told(2_400, 1_000), State::Ok);
    }

    #[test]
    fn an_old_server_and_a_superuser_are_refused() {
        let diagnosis = Diagnosis {
            version: "14.9".to_owned(),
            major: 14,
            role: "postgres".to_owned(),
            is_superuser: true,
            owned_tables: Vec::new(),
            excesses: Vec::new(),
        };
        assert_eq!(version(&diagnosis).state, State::Fail);
        assert_eq!(version(&Diagnosis { major: 15, ..diagnosis.clone() }).state, State::Ok);
        assert_eq!(roles(&diagnosis).state, State::Fail);
        assert_eq!(roles(&Diagnosis { is_superuser: false, ..diagnosis }).state, State::Ok);
    }
}
