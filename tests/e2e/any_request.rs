//! Whatever is sent by whomever to whatever operation: never a 5xx, and every refusal is a problem that the document
//! announces. Every operation is called with the credentials of everybody.
//!
//! `PROPTEST_CASES` sets how many requests are made up of each operation by each, and makes up others than the usual ones.

mod made_up;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use convene_tests::app::App;
use convene_tests::client::Answer;
use convene_tests::openapi::{Document, Operation};
use convene_tests::problem::{CODES, mistakes};
use convene_tests::scene::{Actor, Cast, Place, Venue};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use serde_json::{Map, Value};

use self::made_up::{Attempt, attempts};

/// Requests of each operation by each actor.
const CASES: u32 = 7;
/// What may be answered anywhere, and is documented as `default`.
const ANYWHERE: [u16; 6] = [405, 406, 408, 413, 415, 431];
/// Who ends what they call with, or the community's part in the test; they get places and sessions that nobody needs.
const FATAL: [&str; 5] =
    ["archive_community", "leave_community", "cancel_event", "delete_webhook", "logout"];

/// Where requests are sent.
struct Target {
    app: App,
    cast: Cast,
    document: Document,
    bodies: BTreeMap<String, Map<String, Value>>,
    places: [Place; 3],
    doomed: Place,
}

impl Target {
    async fn set_up() -> Self {
        let app = App::start().await;
        let cast = Cast::gather(&app).await;
        let (public, private, archived, doomed) = tokio::join!(
            app.attended_place(&cast, Venue::Public),
            app.place(&cast, Venue::Private),
            app.place(&cast, Venue::Archived),
            app.place(&cast, Venue::Public),
        );
        let document = app.openapi().await;
        let bodies = document.with_body().map(|(o, body)| (o.id.clone(), body)).collect();
        Self { app, cast, document, bodies, places: [public, private, archived], doomed }
    }

    fn operation(&self, attempt: &Attempt) -> &Operation {
        &self.document.operations[attempt.operation]
    }

    async fn send(&self, attempt: &Attempt) -> Answer {
        let operation = self.operation(attempt);
        let fatal = FATAL.contains(&operation.id.as_str());
        let place = if fatal { &self.doomed } else { attempt.place.get(&self.places) };
        let path = operation.path_with(|name| {
            let honest = place.segment(&self.cast, name);
            attempt.segment.clone().unwrap_or(honest)
        });
        let query = attempt.query_of(operation);
        let call = self.app.call(operation.method.clone(), format!("{path}{query}"));
        // Nobody may end a session that others need.
        let actor = if operation.id == "logout" { Actor::Anonymous } else { attempt.actor };
        let mut call = self.app.acted(call, &self.cast, actor);
        for (name, value) in &attempt.headers {
            call = call.header(name, value.clone());
        }
        if operation.body.is_some() || attempt.sends_body_anyway {
            let honest = self.bodies.get(&operation.id).cloned().unwrap_or_default();
            call = call.bytes(attempt.body.bytes(honest));
        }
        call.await
    }

    /// What is wrong with an answer, if anything is.
    fn judge(&self, attempt: &Attempt, answer: &Answer) -> Result<(), String> {
        let operation = self.operation(attempt);
        let status = answer.status;
        let body = String::from_utf8_lossy(&answer.body);
        let check = |holds: bool, what: &str| {
            if holds {
                Ok(())
            } else {
                Err(format!("{what}: {} {status} {body}", operation.label()))
            }
        };
        check(status < 500, "the server failed")?;
        let documented = operation.statuses.contains(&status) || ANYWHERE.contains(&status);
        check(documented, "the status is not documented")?;
        check(answer.header("x-request-id").is_some(), "no request id")?;
        check(answer.header("x-content-type-options") == Some("nosniff"), "no security headers")?;
        let media_type = answer.header("content-type").unwrap_or_default();
        check(status < 400 || media_type == "application/problem+json", "no problem")?;
        if answer.header("content-encoding").is_some() {
            // Nothing to read without unpacking it.
            return Ok(());
        }
        if status < 400 {
            let empty = [204, 304].contains(&status);
            check(
                empty == answer.body.is_empty() || operation.id == "get_metrics",
                "a body where there is none, or none where there is",
            )?;
            if operation.path.starts_with("/v1") && !empty {
                check(media_type == "application/json", "no JSON")?;
                check(serde_json::from_slice::<Value>(&answer.body).is_ok(), "broken JSON")?;
            }
            return Ok(());
        }
        let problem: Value =
            serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
        let code = problem["code"].as_str().unwrap_or_default();
        check(CODES.contains(&code), "no code of the contract")?;
        check(problem["status"] == status, "another status in the body")?;
        check(
            status != 401 || answer.header("www-authenticate") == Some("Bearer"),
            "no challenge",
        )?;
        check(status != 405 || answer.header("allow").is_some(), "no Allow")?;
        check(code != "validation_failed" || !problem["detail"].is_null(), "no detail")?;
        let told = mistakes(&problem);
        check(told.is_empty() || status == 422, "mistakes without a 422")?;
        Ok(())
    }
}

#[test]
fn any_request_is_answered_as_documented() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be built");
    let target = runtime.block_on(Target::set_up());

    // The same requests each time, so that what failed fails again; whoever asks for a number gets others.
    let asked_for = std::env::var_os("PROPTEST_CASES").is_some();
    let cases = if asked_for { Config::default().cases } else { CASES };
    let mut seen = BTreeSet::new();
    let sent = std::cell::RefCell::new(&mut seen);
    let operations = target.document.operations.len();
    let pairs = (0..operations).flat_map(|operation| Actor::ALL.map(|actor| (operation, actor)));
    for (number, (operation, actor)) in pairs.enumerate() {
        let config =
            Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
        let mut runner = if asked_for {
            TestRunner::new(config)
        } else {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&number.to_le_bytes());
            TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed))
        };
        runner
            .run(&attempts(operation, actor), |attempt| {
                let answer = runtime.block_on(async {
                    tokio::time::timeout(Duration::from_secs(30), target.send(&attempt)).await
                });
                let answer = answer.map_err(|_| TestCaseError::fail("no answer in 30 s"))?;
                target.judge(&attempt, &answer).map_err(TestCaseError::fail)?;
                let operation = target.operation(&attempt).id.clone();
                sent.borrow_mut().insert((operation, answer.status / 100));
                Ok(())
            })
            .unwrap_or_else(|failure| panic!("{failure}"));
    }

    let classes = |class: u16| seen.iter().filter(|(_, found)| *found == class).count();
    if cases >= CASES {
        assert!(classes(4) > operations * 3 / 4, "{} operations refused something", classes(4));
        assert!(classes(2) > operations / 2, "{} operations took something", classes(2));
    }
}
