//! The registry, and changes for the tests of the whole.

use serde_json::{Value, json};

use super::*;

fn renamed(mut body: Value, from: &str, to: &str) -> Value {
    if let Some(object) = body.as_object_mut()
        && let Some(value) = object.remove(from)
    {
        object.insert(to.to_owned(), value);
    }
    body
}

/// A note's title was its `name` at first and its `headline` later.
static NOTES: [Change; 2] = [
    Change {
        date: "2027-01-10",
        summary: "A note has a headline.",
        adaptations: &[
            Adaptation {
                operation: "update_note",
                request: Some(|body| renamed(body, "name", "headline")),
                response: Some(|body| renamed(body, "headline", "name")),
                example: Example {
                    request: Some((r#"{"name": "a"}"#, r#"{"headline": "a"}"#)),
                    response: Some((r#"{"headline": "a"}"#, r#"{"name": "a"}"#)),
                },
            },
            Adaptation {
                operation: "get_note",
                request: None,
                response: Some(|body| renamed(body, "headline", "name")),
                example: Example {
                    request: None,
                    response: Some((r#"{"headline": "a"}"#, r#"{"name": "a"}"#)),
                },
            },
        ],
    },
    Change {
        date: "2027-03-01",
        summary: "A note has a title.",
        adaptations: &[
            Adaptation {
                operation: "update_note",
                request: Some(|body| renamed(body, "headline", "title")),
                response: Some(|body| renamed(body, "title", "headline")),
                example: Example {
                    request: Some((r#"{"headline": "a"}"#, r#"{"title": "a"}"#)),
                    response: Some((r#"{"title": "a"}"#, r#"{"headline": "a"}"#)),
                },
            },
            Adaptation {
                operation: "get_note",
                request: None,
                response: Some(|body| renamed(body, "title", "headline")),
                example: Example {
                    request: None,
                    response: Some((r#"{"title": "a"}"#, r#"{"headline": "a"}"#)),
                },
            },
        ],
    },
];

impl Versions {
    /// Versions in which notes changed twice.
    pub(crate) fn of_notes(default: &'static str) -> Self {
        Self { base: BASE, changes: &NOTES, retired: &["2026-01-01"], default }
    }
}

#[test]
fn only_dates_of_the_registry_are_versions() {
    let versions = Versions::of_notes(BASE);
    assert_eq!(versions.find("2027-01-10"), Ok("2027-01-10"));
    let unknown = versions.find("2027-01-11").unwrap_err().to_string();
    assert_eq!(unknown, "must be one of the versions: 2026-11-23, 2027-01-10, 2027-03-01");
    let retired = versions.find("2026-01-01").unwrap_err().to_string();
    assert_eq!(retired, "is retired; the versions are 2026-11-23, 2027-01-10, 2027-03-01");
    assert_eq!(Versions::with_default(BASE).unwrap().pinned_by_default(), BASE);
    assert!(Versions::with_default("1999-01-01").is_err());
}

#[test]
fn a_version_lacks_the_changes_after_it() {
    let versions = Versions::of_notes(BASE);
    let dates = |version: &str| -> Vec<&str> {
        versions.after(version).iter().map(|change| change.date).collect()
    };
    assert_eq!(dates(BASE), ["2027-01-10", "2027-03-01"]);
    assert_eq!(dates("2027-01-10"), ["2027-03-01"]);
    assert_eq!(dates("2027-03-01"), [""; 0]);
}

/// What a test of the registry finds wrong with an adaptation.
fn faults(adaptation: &Adaptation) -> Vec<String> {
    let mut faults = Vec::new();
    let sides = [
        ("request", adaptation.request, adaptation.example.request),
        ("response", adaptation.response, adaptation.example.response),
    ];
    for (side, adapt, example) in sides {
        let (Some(adapt), Some((given, wanted))) = (adapt, example) else {
            if adapt.is_some() || example.is_some() {
                faults.push(format!("the {side} lacks its function or its example"));
            }
            continue;
        };
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        if adapt(json(given)) != json(wanted) {
            faults.push(format!("the {side} does not do what its example says"));
        }
        if adapt(json(wanted)) != json(wanted) {
            faults.push(format!("the {side} does not leave alone what it has made"));
        }
        if !adapt(json!([1])).is_array() {
            faults.push(format!("the {side} does not leave alone what it does not know"));
        }
    }
    faults
}

#[test]
fn the_registry_keeps_its_rules() {
    let operations: Vec<String> =
        crate::routes().into_iter().map(|route| route.operation).collect();
    let versions = Versions::default();
    let all: Vec<&str> = RETIRED.iter().copied().chain(versions.served()).collect();
    assert!(all.is_sorted_by(|one, next| one < next), "{all:?} are not in order");
    for date in &all {
        assert!(date.len() == 10 && date.parse::<jiff::civil::Date>().is_ok(), "{date}");
    }
    for change in CHANGES {
        assert!(change.summary.ends_with('.'), "{}", change.date);
        for adaptation in change.adaptations {
            let (date, operation) = (change.date, adaptation.operation);
            assert!(operations.iter().any(|known| known == operation), "{date}: {operation}");
            assert_eq!(faults(adaptation), [""; 0], "{date}: {operation}");
        }
    }
}

#[test]
fn an_adaptation_that_breaks_the_rules_is_noticed() {
    for change in &NOTES {
        for adaptation in change.adaptations {
            assert_eq!(faults(adaptation), [""; 0]);
        }
    }
    let growing = Adaptation {
        operation: "get_note",
        request: Some(|body| body),
        response: Some(|body| json!([body])),
        example: Example { request: None, response: Some(("1", "[1]")) },
    };
    assert_eq!(
        faults(&growing),
        [
            "the request lacks its function or its example",
            "the response does not leave alone what it has made",
        ]
    );
}
