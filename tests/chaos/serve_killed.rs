//! The API's process dies.

use convene_tests::client::PATIENCE;

use crate::RECOVERS_WITHIN;
use crate::guests::Guests;
use crate::process::Process;
use crate::stage::Stage;

/// Three times in the middle of everything. Whoever was told of a seat has it, whoever was not and asks again under the same
/// key gets one, and no more people come than there are seats.
#[tokio::test(flavor = "multi_thread")]
async fn killed_under_load() {
    let stage = Stage::set(16, 6).await;
    let mut serve = Process::start("serve", stage.settings(&[])).await;
    let _worker = Process::start("worker", stage.settings(&[])).await;
    let mut guests = Guests::of(&stage, &serve);
    for _ in 0..3 {
        guests.go_on(3, PATIENCE).await;
        guests.are_asking().await;
        serve.kill();
        guests.are_left_without_an_answer().await;
        serve.restart().await;
        guests.go_on(1, RECOVERS_WITHIN).await;
    }

    let ledger = guests.leave(&stage, &serve).await;
    assert!(!ledger.promoted.is_empty(), "there were more guests than seats");
}
