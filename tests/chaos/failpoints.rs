//! A process dies at each of the places where somebody else believes something already, or not yet.

use std::time::Duration;

use convene_application::kernel::failpoint::Failpoint;
use convene_testkit::poll::poll_until;
use convene_tests::process::FAILPOINTS;
use convene_tests::trial::Evidence;
use convene_tests::trial::checker::check;
use convene_tests::trial::load::Load;
use convene_tests::trial::stage::Stage;

/// How long it may take a small load to reach each place, on a machine that is busy.
const REACHED_WITHIN: Duration = Duration::from_secs(60);
const SETTLES_WITHIN: Duration = Duration::from_secs(60);

/// Jobs and deliveries that a dead worker holds are rescued when their leases run out, half a minute later. Time passes
/// faster here.
const TIME_PASSES: &str = "
    UPDATE jobs SET leased_until = clock_timestamp() - interval '1 s' WHERE leased_by IS NOT NULL;
    UPDATE webhook_deliveries SET next_attempt_at = clock_timestamp() WHERE started_at IS NOT NULL";

const CONNECTIONS: &str = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1";

/// The processes in which each place is reached.
fn reached_by(point: Failpoint) -> &'static [&'static str] {
    match point {
        Failpoint::BeforeCommit | Failpoint::AfterCommit => &["serve1", "worker1"],
        _ => &["worker1"],
    }
}

/// Each place, one after the other, under a small load; and then all must be as if nothing had happened.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_dies_at_each() {
    let stage = Stage::set(4, &[("serve1", "serve"), ("worker1", "worker")]).await;
    let sql = stage.sql().await;
    let load = Load::begin(&stage, 1);
    stage.measure().await;
    let mut deaths = 0;
    for point in Failpoint::ALL {
        for name in reached_by(*point) {
            let node = stage.nodes.iter().find(|node| node.name == *name).expect("it is on stage");
            // A few times it is passed, so that something was done before.
            let armed = format!("{}=5*off->return", point.name());
            node.process().set(FAILPOINTS, &armed);
            node.kill();
            node.process().launch_again();
            let what = format!("{name} dies at {}", point.name());
            let ended = poll_until(REACHED_WITHIN, &what, async || node.process().ended()).await;
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(6), "{what}");
            deaths += 1;
            // Until then, PostgreSQL may still do what the dead process has asked for.
            poll_until(REACHED_WITHIN, "its connections are gone", async || {
                let row = sql.query_one(CONNECTIONS, &[name]).await.ok()?;
                (row.get::<_, i64>(0) == 0).then_some(())
            })
            .await;
            sql.batch_execute(TIME_PASSES).await.expect("PostgreSQL answers");
            node.process().set(FAILPOINTS, "");
            node.want();
        }
    }
    stage.heal().await;
    let history = load.end().await;
    let (settled, last) = stage.settles(SETTLES_WITHIN).await;
    println!("settled after {settled:?}; the last that waited: {last}");
    let evidence = Evidence { history, ..stage.evidence().await };
    println!("{deaths} deaths in {} requests", evidence.history.len());
    assert_eq!(check(&evidence), []);
}
