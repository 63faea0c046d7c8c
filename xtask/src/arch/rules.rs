//! `arch.toml`: the structure that the repository may have. Reading it refuses a file that
//! contradicts itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// The owner of the tables that belong to no feature module: outbox, jobs and the like.
pub(crate) const PLATFORM: &str = "platform";

/// The rules, consistent in themselves.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rules {
    /// By short name: `domain` stands for the package `convene-domain`.
    pub crates: BTreeMap<String, CrateRule>,
    pub layers: BTreeMap<String, LayerRule>,
    pub modules: BTreeMap<String, ModuleRule>,
    /// Module → its tables.
    pub tables: BTreeMap<String, Vec<String>>,
    pub reserved: Vec<ReservedRule>,
    pub unfinished: UnfinishedRule,
}

/// What one crate may depend on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CrateRule {
    /// Our crates, by short name.
    #[serde(default)]
    pub uses: Vec<String>,
    /// May depend on each of our crates.
    #[serde(default)]
    pub uses_all: bool,
    /// Words that no dependency's name may contain: `redis` also forbids `deadpool-redis`.
    #[serde(default)]
    pub never: Vec<String>,
    /// What to do instead of using what `never` names.
    #[serde(default)]
    pub instead: String,
    /// May stand under `[dev-dependencies]` only, and there for any crate.
    #[serde(default)]
    pub dev_only: bool,
}

/// One crate that is divided into the feature modules.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LayerRule {
    /// The folder that holds a file or folder for each module, from the repository's root.
    pub root: String,
    /// Files and folders under `root` that put the modules together, and so may name all of them.
    #[serde(default)]
    pub assembles: Vec<String>,
}

/// What one feature module may reach.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModuleRule {
    /// Other modules, through their `offers`.
    #[serde(default)]
    pub uses: Vec<String>,
    /// Other modules of the domain layer, through their `domain_offers`.
    #[serde(default)]
    pub domain_uses: Vec<String>,
    /// Paths in this module of the domain layer that other modules may name.
    #[serde(default)]
    pub domain_offers: Vec<String>,
    /// Other modules' tables that its SQL may SELECT from.
    #[serde(default)]
    pub reads: Vec<String>,
    /// Those of `reads` whose rows it may also lock FOR SHARE.
    #[serde(default)]
    pub share_locks: Vec<String>,
    /// Becomes a service of its own: no foreign key and no read crosses its border, either way.
    #[serde(default)]
    pub isolated: bool,
}

/// A function that only its adapter calls.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReservedRule {
    /// The last two segments of its path: `Timestamp::now`.
    pub function: String,
    /// Files, or folders ending in `/`.
    pub only_in: Vec<String>,
    pub instead: String,
}

/// Words that mark unfinished work.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnfinishedRule {
    pub words: Vec<String>,
}

impl Rules {
    /// Reads and checks the text of `arch.toml`.
    ///
    /// # Errors
    /// Every contradiction found, one a line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let rules: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        let mistakes = rules.mistakes();
        if mistakes.is_empty() { Ok(rules) } else { Err(mistakes.join("\n")) }
    }

    /// The module that owns `table`.
    pub(crate) fn owner(&self, table: &str) -> Option<&str> {
        self.tables
            .iter()
            .find(|(_, tables)| tables.iter().any(|owned| owned == table))
            .map(|(module, _)| module.as_str())
    }

    /// Whether one of the two becomes a service of its own, so that no SQL may join them.
    pub(crate) fn border_between(&self, one: &str, other: &str) -> bool {
        let isolated = |module: &str| self.modules.get(module).is_some_and(|rule| rule.isolated);
        one != other && (isolated(one) || isolated(other))
    }

    fn mistakes(&self) -> Vec<String> {
        let mut mistakes = self.crate_mistakes();
        mistakes.extend(self.module_mistakes());
        mistakes.extend(self.table_mistakes());
        let cycles = [self.cycle(|rule| &rule.uses), self.cycle(|rule| &rule.domain_uses)];
        mistakes.extend(cycles.into_iter().flatten().map(|cycle| {
            format!(
                "[modules] has a cycle: {}. Turn one of these arrows around: let the callee publish \
                 an event, or move the trait that is called into the caller's ports.",
                cycle.join(" → "),
            )
        }));
        mistakes
    }

    fn crate_mistakes(&self) -> Vec<String> {
        let unknown = |(name, rule): (&String, &CrateRule)| {
            let unknown = rule.uses.iter().filter(|used| !self.crates.contains_key(*used));
            unknown
                .map(|used| format!("[crates.{name}] uses `{used}`, which [crates] does not list."))
                .collect::<Vec<_>>()
        };
        self.crates.iter().flat_map(unknown).collect()
    }

    fn module_mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        for (name, rule) in &self.modules {
            for used in rule.uses.iter().chain(&rule.domain_uses) {
                if used == name {
                    mistakes.push(format!("[modules] {name} uses itself: leave that out."));
                } else if used == PLATFORM || !self.modules.contains_key(used) {
                    mistakes.push(format!(
                        "[modules] {name} uses `{used}`, which is no feature module."
                    ));
                }
            }
            for table in &rule.reads {
                mistakes.extend(self.read_mistake(name, table));
            }
            for table in rule.share_locks.iter().filter(|table| !rule.reads.contains(table)) {
                mistakes.push(format!(
                    "[modules] {name} locks `{table}` without reading it: add it to `reads`."
                ));
            }
        }
        mistakes
    }

    fn read_mistake(&self, module: &str, table: &str) -> Option<String> {
        let Some(owner) = self.owner(table) else {
            return Some(format!(
                "[modules] {module} reads `{table}`, which [tables] does not list."
            ));
        };
        if owner == module {
            return Some(format!(
                "[modules] {module} reads `{table}`, which is its own: leave that out."
            ));
        }
        self.border_between(module, owner).then(|| {
            format!(
                "[modules] {module} reads `{table}` of `{owner}`, across the border of a module that \
                 becomes a service: carry the data in an event, or ask through a port that \
                 `{owner}` offers."
            )
        })
    }

    fn table_mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let mut seen = BTreeSet::new();
        for (module, tables) in &self.tables {
            if !self.modules.contains_key(module) {
                mistakes.push(format!(
                    "[tables] names the module `{module}`, which [modules] does not list."
                ));
            }
            for table in tables.iter().filter(|table| !seen.insert(*table)) {
                mistakes.push(format!(
                    "[tables] gives `{table}` to more than one module: choose its owner."
                ));
            }
        }
        mistakes
    }

    /// A cycle in the arrows between modules, first and last equal.
    fn cycle(&self, arrows: fn(&ModuleRule) -> &[String]) -> Option<Vec<&str>> {
        let mut acyclic = BTreeSet::new();
        let mut search = |start| self.cycle_from(start, arrows, &mut Vec::new(), &mut acyclic);
        self.modules.keys().find_map(|start| search(start))
    }

    fn cycle_from<'a>(
        &'a self,
        module: &'a str,
        arrows: fn(&ModuleRule) -> &[String],
        path: &mut Vec<&'a str>,
        acyclic: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<&'a str>> {
        if let Some(start) = path.iter().position(|seen| *seen == module) {
            return Some([&path[start..], &[module]].concat());
        }
        if acyclic.contains(module) {
            return None;
        }
        path.push(module);
        let next = self.modules.get(module).map_or(&[][..], arrows);
        let cycle = next.iter().find_map(|next| self.cycle_from(next, arrows, path, acyclic));
        path.pop();
        acyclic.insert(module);
        cycle
    }
}

/// Rules for fixtures, with `text` in place of `[modules]` and `[tables]`.
#[cfg(test)]
pub(crate) fn fixture(text: &str) -> Rules {
    let fixed = r#"
        reserved = [{ function = "Timestamp::now", only_in = ["crates/api/src/clock.rs"], instead = "Take a `Clock`." }]
        unfinished = { words = ["LATER", "later!"] }
        [crates]
        [layers]
        domain = { root = "crates/domain/src" }
        application = { root = "crates/application/src", assembles = ["registry.rs"] }
        infrastructure = { root = "crates/infrastructure/src/postgres" }
        http = { root = "crates/http/src", assembles = ["openapi.rs", "routes/"] }
    "#;
    Rules::parse(&format!("{fixed}\n{text}")).expect("the fixture's rules are consistent")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: &str = "reserved = []\nunfinished = { words = [] }\n[layers]\n";

    fn refusal(text: &str) -> String {
        Rules::parse(&format!("{FRAME}{text}")).expect_err("these rules contradict themselves")
    }

    #[test]
    fn a_cycle_is_reported_with_its_path() {
        let text = "[crates]\n[tables]\n[modules]\nauth = { uses = ['user'] }\nuser = { uses = ['event'] }\n\
                    event = { uses = ['rsvp'] }\nrsvp = { uses = ['user'] }";
        let refusal = refusal(text);
        assert!(refusal.contains("user → event → rsvp → user"), "{refusal}");
        assert!(refusal.contains("publish an event"), "{refusal}");
    }

    #[test]
    fn a_cycle_in_the_domain_is_reported_too() {
        let text = "[crates]\n[tables]\n[modules]\nevent = { uses = ['rsvp'], domain_uses = ['rsvp'] }\n\
                    rsvp = { domain_uses = ['event'] }";
        let refusal = refusal(text);
        assert!(refusal.contains("event → rsvp → event"), "{refusal}");
    }

    #[test]
    fn a_read_across_an_isolated_border_is_refused_either_way() {
        let tables = "[crates]\n[tables]\nauth = ['sessions']\nuser = ['users']\n[modules]\n";
        let out = refusal(&format!(
            "{tables}auth = {{ isolated = true, reads = ['users'] }}\nuser = {{}}"
        ));
        assert!(out.contains("auth reads `users` of `user`, across the border"), "{out}");
        let into = refusal(&format!(
            "{tables}auth = {{ isolated = true }}\nuser = {{ reads = ['sessions'] }}"
        ));
        assert!(into.contains("user reads `sessions` of `auth`, across the border"), "{into}");
    }

    #[test]
    fn unknown_names_and_second_owners_are_refused() {
        let text = "[crates]\na = { uses = ['b'] }\n[tables]\nuser = ['users']\nevent = ['users']\nghost = []\n\
                    [modules]\nuser = { uses = ['nobody', 'user'], reads = ['users', 'none'], share_locks = ['rsvps'] }\n\
                    event = {}";
        let refusal = refusal(text);
        for expected in [
            "[crates.a] uses `b`",
            "uses `nobody`, which is no feature module",
            "user uses itself",
            "reads `none`, which [tables] does not list",
            "locks `rsvps` without reading it",
            "gives `users` to more than one module",
            "names the module `ghost`",
        ] {
            assert!(refusal.contains(expected), "{expected} not in:\n{refusal}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(
            refusal("[crates]\n[tables]\n[modules]\nuser = { read = [] }")
                .contains("unknown field")
        );
    }

    #[test]
    fn consistent_rules_are_accepted() {
        let rules = fixture(
            "[tables]\nuser = ['users']\n[modules]\nuser = {}\nrsvp = { uses = ['user'], reads = ['users'] }",
        );
        assert_eq!(rules.owner("users"), Some("user"));
        assert_eq!(rules.owner("none"), None);
    }
}
