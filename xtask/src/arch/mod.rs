//! `cargo xtask arch`: holds the repository against `arch.toml`.
//!
//! Each rule is a function from text to violations, so that its tests need no repository.

mod crates;
mod migrations;
mod modules;
mod reserved;
mod rules;
mod scan;
mod sql;
mod tables;
mod unfinished;

use std::fmt;
use std::path::Path;

use cargo_metadata::MetadataCommand;

use crate::Result;
use crate::repository::{self, SourceFile};
use crates::Package;
use migrations::Migration;
use rules::Rules;

/// One breach of one rule, and the way out.
#[derive(Debug)]
struct Violation {
    rule: &'static str,
    /// `file:line` or `file`, from the repository's root.
    place: String,
    problem: String,
    instead: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: [{}] {}\n    instead: {}", self.place, self.rule, self.problem, self.instead)
    }
}

/// Checks the repository and says so on stdout.
///
/// # Errors
/// Every violation with its place and the way out, or what could not be read.
pub(crate) fn run(root: &Path) -> Result<()> {
    let (files, violations) = check(root)?;
    if violations.is_empty() {
        println!("arch: {files} files obey arch.toml");
        return Ok(());
    }
    let listed: Vec<String> = violations.iter().map(ToString::to_string).collect();
    let breaches = if listed.len() == 1 { "breach" } else { "breaches" };
    Err(format!("{} {breaches} of arch.toml\n\n{}", listed.len(), listed.join("\n\n")).into())
}

/// The number of files read and what is wrong in them.
fn check(root: &Path) -> Result<(usize, Vec<Violation>)> {
    let rules = Rules::parse(&repository::read(root, "arch.toml")?)
        .map_err(|mistakes| format!("arch.toml:\n{mistakes}"))?;
    let metadata =
        MetadataCommand::new().manifest_path(root.join("Cargo.toml")).no_deps().exec()?;
    let packages = Package::members(&metadata);
    let folders: Vec<&str> = packages.iter().map(Package::folder).collect();
    let sources = repository::files(root, &folders, "rs")?;
    let sql = repository::files(root, &["migrations"], "sql")?;

    let mut violations = crates::check(&rules, &packages);
    for source in &sources {
        violations.extend(check_source(&rules, &packages, source));
    }
    violations
        .extend(sql.iter().flat_map(|file| unfinished::check(&rules, &file.path, &file.text)));
    let files = sources.len() + sql.len();
    let up = |file: SourceFile| {
        file.path.ends_with("/up.sql").then_some(Migration { file: file.path, text: file.text })
    };
    violations
        .extend(migrations::check(&rules, &sql.into_iter().filter_map(up).collect::<Vec<_>>()));
    Ok((files, violations))
}

fn check_source(rules: &Rules, packages: &[Package], source: &SourceFile) -> Vec<Violation> {
    let file = source.path.as_str();
    let own_module = module_path(file);
    let scan = match scan::scan(&source.text, &own_module) {
        Ok(scan) => scan,
        Err(error) => {
            return vec![Violation {
                rule: "scan",
                place: file.into(),
                problem: format!("this is not Rust: {error}"),
                instead: "Let `cargo check` say what is wrong.".into(),
            }];
        }
    };
    let mut violations = modules::check(rules, file, &own_module, &scan);
    violations.extend(tables::check(rules, file, &scan));
    violations.extend(reserved::check(rules, file, &scan));
    violations.extend(unfinished::check(rules, file, &source.text));
    let package = packages.iter().find(|package| package.holds(file));
    violations.extend(
        package.into_iter().flat_map(|package| crates::check_source(rules, package, file, &scan)),
    );
    violations
}

/// The path inside its crate of the module that `file` holds: `["rsvp", "lane"]` for
/// `crates/x/src/rsvp/lane.rs`.
fn module_path(file: &str) -> Vec<String> {
    let inside = file.split_once("/src/").map_or("", |(_, inside)| inside);
    let mut segments: Vec<String> =
        inside.split('/').map(|part| part.strip_suffix(".rs").unwrap_or(part).to_owned()).collect();
    if segments.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main" | "")) {
        segments.pop();
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_repository_obeys_arch_toml() {
        if let Err(breaches) = run(&repository::root()) {
            panic!("{breaches}");
        }
    }

    #[test]
    fn module_paths_follow_the_files() {
        assert_eq!(module_path("crates/a/src/lib.rs"), [""; 0]);
        assert_eq!(module_path("crates/a/src/rsvp/mod.rs"), ["rsvp"]);
        assert_eq!(module_path("crates/a/src/postgres/rsvp/lane.rs"), ["postgres", "rsvp", "lane"]);
        assert_eq!(module_path("tests/e2e/main.rs"), [""; 0]);
    }
}
