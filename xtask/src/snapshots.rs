//! `cargo xtask snapshots`: the public surfaces, kept in the repository so that a review sees each
//! change to them.

use std::env;
use std::fs;
use std::path::Path;

use similar::TextDiff;

use crate::postgres::ThrowawayPostgres;
use crate::{Result, breaking, repository};

const OPENAPI: &str = "docs/openapi.json";

/// Lines of a difference that are shown; more would bury the message.
const SHOWN_LINES: usize = 80;

/// A file in the repository and the text that the code generates for it.
struct Snapshot {
    path: &'static str,
    generated: String,
}

/// Compares each snapshot with what the code generates, or with `update` writes it.
///
/// What clients of the OpenAPI document would miss is written only with `allow_breaking`.
///
/// # Errors
/// The differences, or what could not be generated.
pub(crate) fn run(root: &Path, update: bool, allow_breaking: bool) -> Result<()> {
    let openapi = Snapshot { path: OPENAPI, generated: convene(root, &["openapi"], &[])? };
    let broken = broken(root, &openapi)?;
    if update && !allow_breaking && !broken.is_empty() {
        return Err(format!(
            "{}\nIf clients are meant to break, run `cargo xtask snapshots --update --allow-breaking`. If they are not, \
             keep what they know by a change of the dated versions (crates/http/src/versions).",
            broken.join("\n"),
        )
        .into());
    }
    let snapshots = [
        openapi,
        Snapshot { path: "docs/asyncapi.json", generated: convene(root, &["asyncapi"], &[])? },
        Snapshot {
            path: "docs/admin-openapi.json",
            generated: convene(root, &["openapi", "--admin"], &[])?,
        },
        Snapshot { path: "docs/metrics.md", generated: convene(root, &["metrics"], &[])? },
        Snapshot { path: "docs/permissions.md", generated: convene(root, &["permissions"], &[])? },
        Snapshot { path: "docs/schema.sql", generated: schema(root)? },
    ];
    let mut differences = if update { Vec::new() } else { broken };
    for snapshot in &snapshots {
        if update {
            fs::write(root.join(snapshot.path), &snapshot.generated)
                .map_err(|error| format!("cannot write {}: {error}", snapshot.path))?;
            println!("wrote {}", snapshot.path);
        } else {
            let committed = fs::read_to_string(root.join(snapshot.path)).unwrap_or_default();
            differences.extend(difference(snapshot, &committed));
        }
    }
    if differences.is_empty() {
        println!("snapshots: {} files agree with the code", snapshots.len());
        return Ok(());
    }
    Err(format!(
        "{}\nIf the change is meant, run `cargo xtask snapshots --update` and commit the files.",
        differences.join("\n"),
    )
    .into())
}

/// What would break clients of the committed OpenAPI document, a line each.
fn broken(root: &Path, openapi: &Snapshot) -> Result<Vec<String>> {
    if !root.join(openapi.path).exists() {
        return Ok(Vec::new());
    }
    let committed = serde_json::from_str(&repository::read(root, openapi.path)?)
        .map_err(|error| format!("{} is not JSON: {error}", openapi.path))?;
    let generated = serde_json::from_str(&openapi.generated)?;
    Ok(breaking::differences(&committed, &generated)
        .into_iter()
        .map(|found| format!("breaking: {}#{}: {}", openapi.path, found.pointer, found.what))
        .collect())
}

/// What differs, in the form of `diff -u`; `None` when nothing does.
fn difference(snapshot: &Snapshot, committed: &str) -> Option<String> {
    if committed == snapshot.generated {
        return None;
    }
    let diff = TextDiff::from_lines(committed, &snapshot.generated);
    let unified =
        diff.unified_diff().context_radius(2).header("committed", "generated").to_string();
    let shown: Vec<&str> = unified.lines().take(SHOWN_LINES).collect();
    let left_out = unified.lines().count() - shown.len();
    let rest =
        if left_out == 0 { String::new() } else { format!("\n… and {left_out} lines more") };
    Some(format!("{} is not what the code generates:\n{}{rest}", snapshot.path, shown.join("\n")))
}

/// What the `convene` binary of this repository prints.
fn convene(root: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Result<String> {
    let mut command = repository::cargo(root);
    // The caller's own settings must not leak into what is generated.
    let settings = env::vars_os().map(|(name, _)| name);
    for name in settings.filter(|name| name.to_string_lossy().starts_with("CONVENE_")) {
        command.env_remove(name);
    }
    let output = command
        .args(["run", "--quiet", "--package", "convene-api", "--bin", "convene", "--"])
        .args(arguments)
        .envs(environment.iter().copied())
        .output()?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("`convene {}` failed:\n{errors}", arguments.join(" ")).into());
    }
    let printed = String::from_utf8(output.stdout)?;
    Ok(format!("{}\n", printed.trim_end()))
}

/// The schema of a freshly migrated database.
fn schema(root: &Path) -> Result<String> {
    let server = ThrowawayPostgres::start(root)?;
    let environment = [("CONVENE_PROFILE", "standard"), ("CONVENE__DATABASE__URL", server.url())];
    convene(root, &["db", "migrate"], &environment)?;
    Ok(normalised(&server.dump_schema()?))
}

/// The dump without what depends on the version of `pg_dump` or on the session: comments, settings,
/// blank runs.
fn normalised(dump: &str) -> String {
    let mut text = String::from(
        "-- The schema after all migrations. Generated by `cargo xtask snapshots --update`.\n",
    );
    let mut last_is_blank = false;
    for line in dump.lines() {
        let depends_on_the_session =
            ["--", "SET ", "SELECT pg_catalog.set_config", "\\restrict", "\\unrestrict"]
                .iter()
                .any(|start| line.starts_with(start));
        let is_blank = line.trim().is_empty();
        if depends_on_the_session || (is_blank && last_is_blank) {
            continue;
        }
        text.push_str(line);
        text.push('\n');
        last_is_blank = is_blank;
    }
    format!("{}\n", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_shown_line_by_line() {
        let snapshot = Snapshot { path: "docs/x.json", generated: "a\nB\nc\n".into() };
        assert!(difference(&snapshot, "a\nB\nc\n").is_none());
        let shown = difference(&snapshot, "a\nb\nc\n").expect("the texts differ");
        assert!(shown.contains("docs/x.json is not what the code generates"), "{shown}");
        assert!(shown.contains("\n-b\n+B\n"), "{shown}");
    }

    #[test]
    fn a_long_difference_is_cut() {
        let snapshot = Snapshot { path: "docs/x.json", generated: "line\n".repeat(200) };
        let shown = difference(&snapshot, "").expect("the texts differ");
        assert!(shown.contains("lines more") && shown.lines().count() < 90, "{shown}");
    }

    #[test]
    fn a_dump_loses_what_is_not_schema() {
        let dump = "--\n-- PostgreSQL database dump\n--\n\n\\restrict x\nSET lock_timeout = 0;\n\n\nCREATE TABLE a (\n    id uuid\n);\n\n\n";
        assert!(
            normalised(dump).ends_with("--update`.\n\nCREATE TABLE a (\n    id uuid\n);\n"),
            "{}",
            normalised(dump)
        );
    }
}
