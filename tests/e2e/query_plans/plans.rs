//! The plans that the server wrote to its log, and what is wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use convene_application::webhook::STATS_LIMIT;
use convene_embedded::Postgres;
use serde_json::Value;

/// The largest page, and the row beyond it that tells whether there is more.
const PAGE: f64 = 101.0;
/// Rows that a scan may read and throw away.
const WASTE: f64 = 500.0;
/// Rows that a scan of one table may read in one statement: the largest page, with what belongs to each of its rows.
const READ: f64 = 1_000.0;
/// A place in the line is the number of those ahead in it, which this index counts.
const LINE: &str = "rsvps_line";
/// They count whole tables, for the operator and not for a request.
const COUNTS: [&str; 1] = ["FROM jobs GROUP BY queue"];

/// Figures count a day's deliveries: as many as the use case says, and no more.
const FIGURES: &str = "WITH recent AS MATERIALIZED";

/// What a server writes from now on.
pub(super) struct Log {
    path: PathBuf,
    from: u64,
}

/// A statement and how it was run.
pub(super) struct Run {
    statement: String,
    plan: Value,
}

impl Log {
    pub(super) fn of(server: &Postgres) -> Self {
        let path = server.log();
        let from = fs::metadata(&path).expect("the server writes a log").len();
        Self { path, from }
    }

    pub(super) fn plans(&self) -> Vec<Run> {
        let mut file = fs::File::open(&self.path).expect("the log can be read");
        file.seek(SeekFrom::Start(self.from)).expect("the log only grows");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("the log is text");
        let mut plans = Vec::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if !line.ends_with("plan:") {
                continue;
            }
            let mut json = String::new();
            // Lines that continue an entry begin with a tab.
            while let Some(more) = lines.next_if(|line| line.starts_with('\t')) {
                json.push_str(more);
                json.push('\n');
            }
            let entry: Value = serde_json::from_str(&json).unwrap_or_else(|error| {
                panic!("the log holds a plan that is no JSON ({error}): {json}")
            });
            let words = entry["Query Text"].as_str().unwrap_or_default().split_whitespace();
            let statement = words.collect::<Vec<_>>().join(" ");
            plans.push(Run { statement, plan: entry["Plan"].clone() });
        }
        assert!(!plans.is_empty(), "the server told no plan");
        plans
    }
}

/// The first fault of each statement.
pub(super) fn faults(runs: &[Run], big: &BTreeSet<String>) -> BTreeMap<String, String> {
    let mut faults = BTreeMap::new();
    for run in runs.iter().filter(|run| !COUNTS.iter().any(|counts| run.statement.contains(counts)))
    {
        let mut nodes = Vec::new();
        collect(&run.plan, &mut nodes);
        let counts = run.statement.contains(FIGURES);
        let most = if counts { f64::from(STATS_LIMIT) } else { READ };
        if let Some(fault) = nodes.iter().find_map(|node| fault(node, big, most)) {
            faults.entry(run.statement.clone()).or_insert(fault);
        }
    }
    faults
}

/// Big tables that no plan touches.
pub(super) fn never_scanned(runs: &[Run], big: &BTreeSet<String>) -> Vec<String> {
    let mut nodes = Vec::new();
    runs.iter().for_each(|run| collect(&run.plan, &mut nodes));
    let scanned: BTreeSet<&str> = nodes.iter().filter_map(|node| table(node)).collect();
    big.iter().filter(|table| !scanned.contains(table.as_str())).cloned().collect()
}

fn fault(node: &Value, big: &BTreeSet<String>, most: f64) -> Option<String> {
    let kind = node["Node Type"].as_str().unwrap_or_default();
    let table = table(node);
    if kind == "Seq Scan" && table.is_some_and(|table| big.contains(table)) {
        return Some(format!("reads all of {}", table.unwrap_or_default()));
    }
    if kind == "Sort" {
        let input = node["Plans"].as_array().and_then(|plans| plans.first());
        let rows = input.map_or(0.0, |input| number(input, "Actual Rows"));
        if rows > PAGE {
            return Some(format!("sorts {rows} rows by {}", node["Sort Key"]));
        }
    }
    let index = node["Index Name"].as_str().unwrap_or(kind);
    let read = number(node, "Actual Rows") * number(node, "Actual Loops");
    if kind.contains("Scan") && index != LINE && read > most {
        return Some(format!("reads {read} rows of {} by {index}", table.unwrap_or_default()));
    }
    let wasted = number(node, "Rows Removed by Filter") * number(node, "Actual Loops");
    (wasted > WASTE).then(|| {
        format!("throws {wasted} rows of {} away, read by {index}", table.unwrap_or("a subplan"))
    })
}

/// The table that a node reads; of a partition, its parent's name.
fn table(node: &Value) -> Option<&str> {
    let name = node["Relation Name"].as_str()?;
    Some(if name.starts_with("domain_events_p") { "domain_events" } else { name })
}

fn number(node: &Value, key: &str) -> f64 {
    node[key].as_f64().unwrap_or(0.0)
}

fn collect<'a>(node: &'a Value, into: &mut Vec<&'a Value>) {
    into.push(node);
    for child in node["Plans"].as_array().into_iter().flatten() {
        collect(child, into);
    }
}
