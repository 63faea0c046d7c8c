//! Which crate may depend on which.

use cargo_metadata::{DependencyKind, Metadata};

use super::Violation;
use super::rules::{CrateRule, Rules};
use super::scan::Scan;

const RULE: &str = "crates";
const OURS: &str = "convene-";

/// A workspace member as the rule sees it.
#[derive(Debug)]
pub(crate) struct Package {
    pub name: String,
    /// Its `Cargo.toml`, from the repository's root.
    pub manifest: String,
    pub dependencies: Vec<Dependency>,
}

/// A declared dependency.
#[derive(Debug)]
pub(crate) struct Dependency {
    /// The package's own name, also where the manifest renames it.
    pub package: String,
    pub is_dev: bool,
}

impl Package {
    /// The members of the workspace that `metadata` describes.
    pub(crate) fn members(metadata: &Metadata) -> Vec<Self> {
        let member = |package: &cargo_metadata::Package| Self {
            name: package.name.to_string(),
            manifest: package
                .manifest_path
                .strip_prefix(&metadata.workspace_root)
                .unwrap_or(&package.manifest_path)
                .to_string(),
            dependencies: package
                .dependencies
                .iter()
                .map(|dependency| Dependency {
                    package: dependency.name.clone(),
                    is_dev: dependency.kind == DependencyKind::Development,
                })
                .collect(),
        };
        metadata.workspace_packages().into_iter().map(member).collect()
    }

    /// The folder of its `Cargo.toml`, from the repository's root.
    pub(crate) fn folder(&self) -> &str {
        self.manifest.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// Whether `file`, from the repository's root, belongs to it.
    pub(crate) fn holds(&self, file: &str) -> bool {
        file.strip_prefix(self.folder()).is_some_and(|inside| inside.starts_with('/'))
    }
}

/// Holds the manifests against the crate table.
pub(crate) fn check(rules: &Rules, packages: &[Package]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for package in packages {
        let Some(rule) = rules.crates.get(short_name(&package.name)) else {
            violations.push(Violation {
                rule: RULE,
                place: package.manifest.clone(),
                problem: format!("`{}` is not in the crate table", package.name),
                instead: format!(
                    "Add [crates.{}] to arch.toml: what it uses, what it must never see.",
                    short_name(&package.name)
                ),
            });
            continue;
        };
        let is_ours = |name: &str| packages.iter().any(|package| package.name == name);
        let wrong = package.dependencies.iter().filter_map(|dependency| {
            forbidden_library(package, rule, &dependency.package).or_else(|| {
                is_ours(&dependency.package)
                    .then(|| wrong_arrow(rules, package, rule, dependency))
                    .flatten()
            })
        });
        violations.extend(wrong);
    }
    let missing = rules
        .crates
        .keys()
        .filter(|name| !packages.iter().any(|package| short_name(&package.name) == *name));
    violations.extend(missing.map(|name| Violation {
        rule: RULE,
        place: "arch.toml".into(),
        problem: format!("[crates.{name}] describes a crate that does not exist"),
        instead: "Remove it.".into(),
    }));
    violations
}

/// Holds what a file of `package` names against the crates that it must never see.
pub(crate) fn check_source(
    rules: &Rules,
    package: &Package,
    file: &str,
    scan: &Scan,
) -> Vec<Violation> {
    let Some(rule) = rules.crates.get(short_name(&package.name)) else { return Vec::new() };
    let mut violations = Vec::new();
    for found in &scan.paths {
        let Some(first) = found.path.first() else { continue };
        if let Some(word) = rule.never.iter().find(|word| has_word(first, word)) {
            violations.push(never(
                &format!("{file}:{}", found.line),
                &package.name,
                first,
                word,
                rule,
            ));
        }
    }
    violations
}

fn forbidden_library(package: &Package, rule: &CrateRule, name: &str) -> Option<Violation> {
    let word = rule.never.iter().find(|word| has_word(name, word))?;
    Some(never(&package.manifest, &package.name, name, word, rule))
}

/// A dependency on one of our crates that the table does not have.
fn wrong_arrow(
    rules: &Rules,
    package: &Package,
    rule: &CrateRule,
    dependency: &Dependency,
) -> Option<Violation> {
    let name = &dependency.package;
    let is_for_tests = rules.crates.get(short_name(name)).is_some_and(|rule| rule.dev_only);
    let is_allowed = rule.uses_all || rule.uses.iter().any(|used| used == short_name(name));
    if is_allowed || (is_for_tests && dependency.is_dev) {
        return None;
    }
    let (problem, instead) = if is_for_tests {
        (
            format!("`{}` depends on `{name}`, which is for tests only", package.name),
            "Move it under [dev-dependencies].".into(),
        )
    } else {
        (
            format!("`{}` depends on `{name}`, but may use {}", package.name, list(&rule.uses)),
            "Put what you need behind a port in `application` and let `api` wire the adapter in."
                .into(),
        )
    };
    Some(Violation { rule: RULE, place: package.manifest.clone(), problem, instead })
}

fn never(place: &str, package: &str, name: &str, word: &str, rule: &CrateRule) -> Violation {
    Violation {
        rule: RULE,
        place: place.into(),
        problem: format!("`{package}` sees `{name}`, but it must never see {word}"),
        instead: if rule.instead.is_empty() {
            "Keep it behind a port of `application`; the adapter lives in the crate that owns the library.".into()
        } else {
            rule.instead.clone()
        },
    }
}

/// `domain` for `convene-domain`.
fn short_name(package: &str) -> &str {
    package.strip_prefix(OURS).unwrap_or(package)
}

/// Whether `word` is one of the words of a crate's name: `redis` in `deadpool-redis`.
fn has_word(name: &str, word: &str) -> bool {
    name.split(['-', '_']).any(|part| part == word)
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none of our crates".into()
    } else {
        format!("only {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::super::scan::scan;
    use super::*;

    const RULES: &str = r#"
        reserved = []
        unfinished = { words = [] }
        [layers]
        [modules]
        [tables]
        [crates]
        domain = { never = ["tokio", "redis"], instead = "Rules are pure." }
        application = { uses = ["domain"] }
        testkit = { uses = ["application"], dev_only = true }
        tests = { uses_all = true }
    "#;

    fn package(name: &str, normal: &[&str], dev: &[&str]) -> Package {
        let dependency =
            |is_dev| move |package: &&str| Dependency { package: (*package).to_owned(), is_dev };
        Package {
            name: name.into(),
            manifest: format!("crates/{name}/Cargo.toml"),
            dependencies: normal
                .iter()
                .map(dependency(false))
                .chain(dev.iter().map(dependency(true)))
                .collect(),
        }
    }

    /// The violations once the well-behaved other crates are added.
    fn found(package_under_test: Package) -> Vec<String> {
        let rules = Rules::parse(RULES).expect("the fixture's rules are consistent");
        let mut packages = vec![package_under_test];
        for name in ["convene-domain", "convene-application", "convene-testkit", "convene-tests"] {
            if packages[0].name != name {
                packages.push(package(name, &[], &[]));
            }
        }
        check(&rules, &packages).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_arrow_against_the_table_is_refused() {
        let found = found(package("convene-domain", &["convene-application"], &[]));
        assert_eq!(found.len(), 1);
        assert!(
            found[0].contains("`convene-domain` depends on `convene-application`"),
            "{}",
            found[0]
        );
        assert!(found[0].contains("none of our crates"), "{}", found[0]);
        assert!(found[0].contains("behind a port"), "{}", found[0]);
    }

    #[test]
    fn a_forbidden_library_is_refused_under_any_of_its_names() {
        for name in ["tokio", "tokio-util", "deadpool-redis"] {
            let found = found(package("convene-domain", &[], &[name]));
            assert_eq!(found.len(), 1);
            assert!(found[0].contains("must never see"), "{}", found[0]);
            assert!(found[0].contains("Rules are pure."), "{}", found[0]);
        }
    }

    #[test]
    fn the_test_kit_is_a_dev_dependency() {
        assert!(
            found(package("convene-application", &["convene-domain"], &["convene-testkit"]))
                .is_empty()
        );
        let found = found(package("convene-application", &["convene-testkit"], &[]));
        assert!(found[0].contains("Move it under [dev-dependencies]"), "{}", found[0]);
    }

    #[test]
    fn the_tests_may_use_everything() {
        assert!(
            found(package("convene-tests", &["convene-testkit", "convene-domain"], &[])).is_empty()
        );
    }

    #[test]
    fn an_unlisted_crate_and_a_listed_ghost_are_refused() {
        let rules = Rules::parse(RULES).expect("the fixture's rules are consistent");
        let found = check(&rules, &[package("convene-billing", &[], &[])]);
        assert!(found[0].to_string().contains("Add [crates.billing] to arch.toml"), "{}", found[0]);
        assert!(found[1].to_string().contains("a crate that does not exist"), "{}", found[1]);
    }

    #[test]
    fn a_forbidden_library_is_refused_in_sources() {
        let rules = Rules::parse(RULES).expect("the fixture's rules are consistent");
        let scan = scan("use std::fmt;\nasync fn f() { tokio::spawn(g()) }", &[])
            .expect("the fixture is Rust");
        let found = check_source(
            &rules,
            &package("convene-domain", &[], &[]),
            "crates/domain/src/a.rs",
            &scan,
        );
        assert_eq!(found.len(), 1);
        assert!(found[0].to_string().starts_with("crates/domain/src/a.rs:2"), "{}", found[0]);
    }
}
