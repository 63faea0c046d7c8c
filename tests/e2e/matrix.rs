//! Who may do what: every documented operation, called by somebody in every role, in every kind of place.
//!
//! The outcome is a page that is read in reviews, `snapshots/e2e__matrix__roles_and_routes.snap`; `INSTA_UPDATE=always`
//! writes it anew. A new route needs a line in [`recipes::RECIPES`].

mod audited;
mod policy;
mod recipes;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use convene_tests::app::App;
use convene_tests::client::Answer;
use convene_tests::openapi::{Access, Operation};
use convene_tests::problem::without_request_id;
use convene_tests::scene::{Actor, Cast, Place, Venue};
use futures::StreamExt as _;
use futures::stream;

use self::recipes::{RECIPES, Recipe};

/// Where the calls are made.
struct Stage {
    app: App,
    cast: Cast,
    places: Vec<(Venue, Place)>,
}

/// One line of the page: an operation in one kind of place, and what each actor was answered.
struct Line {
    operation: Operation,
    venue: Option<Venue>,
    answers: Vec<(Actor, Answer)>,
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_and_routes() {
    let stage = Stage::set_up().await;
    let document = stage.app.openapi().await;

    let documented: BTreeSet<&str> = document.operations.iter().map(|o| o.id.as_str()).collect();
    let recipes: BTreeMap<&str, Recipe> = RECIPES.into_iter().collect();
    let known: BTreeSet<&str> = recipes.keys().copied().collect();
    assert_eq!(documented, known, "every operation has a recipe, every recipe an operation");

    let acts = document.operations.iter().flat_map(|operation| {
        let recipe = recipes[operation.id.as_str()];
        venues(operation).into_iter().map(move |venue| (operation, recipe, venue))
    });
    let lines: Vec<Line> = stream::iter(acts)
        .map(|(operation, recipe, venue)| stage.line(operation, recipe, venue))
        .buffered(6)
        .collect()
        .await;

    assert_refusals_are_of_one_form(&lines);
    policy::agrees(&lines);
    insta::assert_snapshot!(page(&lines));
}

impl Stage {
    async fn set_up() -> Self {
        let app = App::start().await;
        let cast = Cast::gather(&app).await;
        let venues = [Venue::Public, Venue::Private, Venue::Draft, Venue::Archived];
        let places =
            futures::future::join_all(venues.map(|venue| app.attended_place(&cast, venue)));
        let places = venues.into_iter().zip(places.await).collect();
        Self { app, cast, places }
    }

    async fn line(&self, operation: &Operation, recipe: Recipe, venue: Option<Venue>) -> Line {
        let mut answers = Vec::new();
        for actor in Actor::ALL {
            answers.push((actor, recipe.perform(self, operation, actor, venue).await));
        }
        Line { operation: operation.clone(), venue, answers }
    }

    /// The place of that kind that all share; what is in no place takes ids from the public one.
    fn place(&self, venue: Option<Venue>) -> &Place {
        let venue = venue.unwrap_or(Venue::Public);
        let found = self.places.iter().find(|(kind, _)| *kind == venue);
        &found.expect("there is a place of each kind").1
    }
}

/// In which kinds of places an operation can be called.
fn venues(operation: &Operation) -> Vec<Option<Venue>> {
    let is_in = |name: &str| operation.segments.iter().any(|segment| segment == name);
    if is_in("event") {
        vec![Some(Venue::Public), Some(Venue::Private), Some(Venue::Draft), Some(Venue::Archived)]
    } else if is_in("community") {
        vec![Some(Venue::Public), Some(Venue::Private), Some(Venue::Archived)]
    } else {
        vec![None]
    }
}

/// All that is invisible or absent looks the same, whoever asks for whatever; anonymous callers are asked to log in.
fn assert_refusals_are_of_one_form(lines: &[Line]) {
    let mut not_found = BTreeSet::new();
    for line in lines {
        for (actor, answer) in &line.answers {
            if answer.status == 404 {
                not_found.insert(without_request_id(answer));
            }
            let asks_to_log_in = answer.status == 401 && answer.json()["code"] == "unauthenticated";
            let should = *actor == Actor::Anonymous && line.operation.access == Access::Required;
            assert_eq!(asks_to_log_in, should, "{} by {}", line.operation.label(), actor.name());
            assert_eq!(answer.header("www-authenticate").is_some(), answer.status == 401);
        }
    }
    assert_eq!(not_found.len(), 1, "{not_found:#?}");
}

fn page(lines: &[Line]) -> String {
    let mut page = String::new();
    let mut last = String::new();
    for line in lines {
        let label = line.operation.label();
        if label != last {
            let _ = writeln!(page, "{label}");
        }
        last = label;
        let venue = line.venue.map_or("anywhere", Venue::name);
        let _ = writeln!(page, "  {venue:<8}  {}", outcomes(&line.answers).join(" | "));
    }
    page
}

/// `404 not_found: anonymous stranger`, one for each outcome, in the order of the actors.
fn outcomes(answers: &[(Actor, Answer)]) -> Vec<String> {
    let mut outcomes: Vec<(String, Vec<&str>)> = Vec::new();
    for (actor, answer) in answers {
        let outcome = outcome(answer);
        match outcomes.iter_mut().find(|(known, _)| *known == outcome) {
            Some((_, actors)) => actors.push(actor.name()),
            None => outcomes.push((outcome, vec![actor.name()])),
        }
    }
    outcomes
        .into_iter()
        .map(|(outcome, actors)| {
            let whom = if actors.len() == Actor::ALL.len() { vec!["everybody"] } else { actors };
            format!("{outcome}: {}", whom.join(" "))
        })
        .collect()
}

fn outcome(answer: &Answer) -> String {
    if answer.status < 400 {
        return answer.status.to_string();
    }
    let problem = answer.json();
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{problem}");
    format!("{} {}", answer.status, problem["code"].as_str().expect("a problem has a code"))
}
