//! Which module's SQL may touch which table.

use std::collections::BTreeSet;

use super::Violation;
use super::modules::place;
use super::rules::{ModuleRule, PLATFORM, Rules};
use super::scan::Scan;
use super::sql::{self, Access};

const RULE: &str = "tables";

/// The layer that speaks SQL.
const SQL_LAYER: &str = "infrastructure";
/// The Rust module with the query builder's table definitions.
const SCHEMA: &str = "schema";

/// Holds the SQL of one adapter file, literal or built, against the ownership of tables.
pub(crate) fn check(rules: &Rules, file: &str, scan: &Scan) -> Vec<Violation> {
    let Some(place) = place(rules, file).filter(|place| place.layer == SQL_LAYER) else {
        return Vec::new();
    };
    let mut checker =
        Checker { rules, file, module: place.module.unwrap_or(PLATFORM), violations: Vec::new() };
    // Test modules prepare rows of any table.
    if !file.ends_with("/tests.rs") {
        checker.literals(scan);
        checker.query_builder(scan);
    }
    checker.violations
}

struct Checker<'a> {
    rules: &'a Rules,
    file: &'a str,
    module: &'a str,
    violations: Vec<Violation>,
}

impl Checker<'_> {
    fn literals(&mut self, scan: &Scan) {
        let literals: Vec<_> = scan
            .literals
            .iter()
            .filter(|literal| !literal.in_test)
            .map(|literal| (literal.line, sql::mentions(&literal.value)))
            .collect();
        // A statement may be put together from several literals, so a named query counts for the
        // whole file.
        let named_queries: BTreeSet<&String> =
            literals.iter().flat_map(|(_, mentions)| &mentions.named_queries).collect();
        for (first_line, mentions) in &literals {
            for line in &mentions.computed_names {
                self.computed_name(first_line + line);
            }
            if mentions.locks_out_of_sight {
                self.lock_out_of_sight(*first_line);
            }
            for found in &mentions.tables {
                if self.rules.owner(&found.table).is_some() {
                    self.touch(&found.table, found.access, first_line + found.line);
                } else if found.in_capitals && !named_queries.contains(&found.table) {
                    self.unknown(&found.table, first_line + found.line);
                }
            }
        }
    }

    fn query_builder(&mut self, scan: &Scan) {
        for found in &scan.paths {
            if let Some(table) = self.table_in(&found.path) {
                self.touch(&table, Access::Read, found.line);
            }
        }
        for call in &scan.calls {
            let access = match call.name.as_str() {
                "insert_into" | "insert_or_ignore_into" | "replace_into" => Access::Insert,
                "update" => Access::Update,
                "delete" => Access::Delete,
                _ => continue,
            };
            if let Some(table) = self.table_in(&call.argument) {
                self.touch(&table, access, call.line);
            }
        }
        for lock in &scan.row_locks {
            let access =
                if lock.method.ends_with("share") { Access::ShareLock } else { Access::Lock };
            let tables: BTreeSet<String> =
                lock.paths.iter().filter_map(|path| self.table_in(path)).collect();
            for table in tables {
                self.touch(&table, access, lock.line);
            }
        }
    }

    /// The table in `…::schema::members::…`.
    fn table_in(&self, path: &[String]) -> Option<String> {
        let after_schema = path.iter().skip_while(|segment| *segment != SCHEMA).nth(1)?;
        self.rules.owner(after_schema).map(|_| after_schema.clone())
    }

    /// A mention of a table that has an owner.
    fn touch(&mut self, table: &str, access: Access, line: usize) {
        let (rules, module) = (self.rules, self.module);
        let Some(owner) = rules.owner(table).filter(|owner| *owner != module) else { return };
        let declared = |tables: fn(&ModuleRule) -> &Vec<String>| {
            let rule = rules.modules.get(module);
            rule.is_some_and(|rule| tables(rule).iter().any(|declared| declared == table))
        };
        let is_allowed = match access {
            Access::Read => declared(|rule| &rule.reads),
            Access::ShareLock => declared(|rule| &rule.share_locks),
            _ => false,
        };
        if is_allowed {
            return;
        }
        let instead = match access {
            _ if rules.border_between(module, owner) => format!(
                "One of the two becomes a service of its own: carry the data in an event, or ask \
                 through a port that `{owner}` offers."
            ),
            Access::Read => format!(
                "Ask through a port that `{owner}` offers, or add `{table}` to `reads` of \
                 `{module}` in arch.toml."
            ),
            Access::ShareLock => format!(
                "Let `{owner}` lock its rows, or add `{table}` to `share_locks` of `{module}` in \
                 arch.toml."
            ),
            _ => format!(
                "Only `{owner}` changes or locks its rows: call a port that it offers, in the same \
                 unit of work."
            ),
        };
        self.report(
            line,
            format!("`{module}` {access} `{table}`, which belongs to `{owner}`"),
            instead,
        );
    }

    fn unknown(&mut self, table: &str, line: usize) {
        self.report(
            line,
            format!("`{table}` has no owner"),
            format!(
                "Add it to [tables] in arch.toml, under `{}` if it is this module's.",
                self.module
            ),
        );
    }

    fn computed_name(&mut self, line: usize) {
        self.report(
            line,
            "a table's name is put in at run time, so its owner cannot be seen".into(),
            "Write the name out in the statement, one statement a table.".into(),
        );
    }

    fn lock_out_of_sight(&mut self, line: usize) {
        self.report(
            line,
            "a locking clause stands apart from its FROM, so what it locks cannot be seen".into(),
            "Write the statement from FROM to the locking clause in one literal.".into(),
        );
    }

    fn report(&mut self, line: usize, problem: String, instead: String) {
        self.violations.push(Violation {
            rule: RULE,
            place: format!("{}:{line}", self.file),
            problem,
            instead,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::fixture;
    use super::super::scan::scan;
    use super::*;

    const OWNERS: &str = "
        [tables]
        auth = ['sessions']
        community = ['members']
        event = ['events']
        rsvp = ['rsvps']
        platform = ['outbox', 'domain_events']
        [modules]
        auth = { isolated = true }
        community = {}
        event = {}
        rsvp = { reads = ['members', 'events'], share_locks = ['members'] }
        platform = {}
    ";

    fn found_in(file: &str, text: &str) -> Vec<String> {
        let scan = scan(text, &super::super::module_path(file)).expect("the fixture is Rust");
        check(&fixture(OWNERS), file, &scan).iter().map(ToString::to_string).collect()
    }

    fn found(sql: &str) -> Vec<String> {
        found_in(
            "crates/infrastructure/src/postgres/rsvp.rs",
            &format!("const SQL: &str = \"{sql}\";"),
        )
    }

    #[track_caller]
    fn assert_refused(found: &[String], expected: &[&str]) {
        assert_eq!(found.len(), 1, "{found:#?}");
        for expected in expected {
            assert!(found[0].contains(expected), "{expected} not in: {}", found[0]);
        }
    }

    #[test]
    fn own_tables_and_declared_reads_are_free() {
        assert!(
            found("INSERT INTO rsvps SELECT 1 FROM events e JOIN members m ON true").is_empty()
        );
        assert!(found("SELECT 1 FROM members FOR SHARE").is_empty());
        assert!(found("WITH due AS (SELECT id FROM rsvps) SELECT id FROM due").is_empty());
    }

    #[test]
    fn an_undeclared_read_is_refused() {
        assert_refused(
            &found("SELECT 1 FROM outbox"),
            &[
                "`rsvp` reads `outbox`, which belongs to `platform`",
                "add `outbox` to `reads` of `rsvp`",
            ],
        );
    }

    #[test]
    fn a_write_is_refused_even_where_reading_is_declared() {
        for (sql, verb) in [
            ("UPDATE events SET title = $1", "updates"),
            ("INSERT INTO events (id) VALUES ($1)", "inserts into"),
            ("DELETE FROM events WHERE id = $1", "deletes from"),
            ("TRUNCATE events", "truncates"),
        ] {
            assert_refused(
                &found(sql),
                &[&format!("`rsvp` {verb} `events`"), "Only `event` changes or locks"],
            );
        }
    }

    #[test]
    fn a_lock_is_refused_even_where_reading_is_declared() {
        assert_refused(
            &found("SELECT 1 FROM events FOR NO KEY UPDATE"),
            &["`rsvp` locks `events`"],
        );
        assert_refused(&found("SELECT 1 FROM members FOR UPDATE"), &["`rsvp` locks `members`"]);
        assert_refused(
            &found("SELECT 1 FROM events FOR KEY SHARE"),
            &["locks (FOR SHARE) rows of `events`", "`share_locks` of `rsvp`"],
        );
    }

    #[test]
    fn the_message_at_an_isolated_border_offers_no_declaration() {
        let found = found("SELECT 1 FROM sessions");
        assert_refused(&found, &["carry the data in an event"]);
        assert!(!found[0].contains("arch.toml"), "{}", found[0]);
    }

    #[test]
    fn an_unknown_table_is_refused_but_prose_is_not_sql() {
        assert_refused(&found("SELECT 1 FROM badges"), &["`badges` has no owner", "under `rsvp`"]);
        assert!(found("no answer from badges").is_empty());
    }

    #[test]
    fn a_computed_table_name_is_refused() {
        assert_refused(&found("SELECT 1 FROM {table}"), &["put in at run time"]);
    }

    #[test]
    fn a_lock_apart_from_its_table_is_refused() {
        assert_refused(&found(" FOR UPDATE"), &["cannot be seen", "in one literal"]);
    }

    #[test]
    fn files_of_no_module_belong_to_the_platform() {
        let file = "crates/infrastructure/src/postgres/sequencer.rs";
        assert!(found_in(file, "const A: &str = \"DELETE FROM outbox\";").is_empty());
        assert_refused(
            &found_in(file, "const A: &str = \"SELECT 1 FROM events\";"),
            &["`platform` reads `events`"],
        );
    }

    #[test]
    fn a_folder_belongs_to_its_module_and_macros_are_read() {
        assert_refused(
            &found_in(
                "crates/infrastructure/src/postgres/rsvp/lane.rs",
                "statement! {\n  Claim,\n  \"DELETE FROM members\" }",
            ),
            &["lane.rs:3", "`rsvp` deletes from `members`"],
        );
    }

    #[test]
    fn built_queries_are_checked_like_written_ones() {
        let file = "crates/infrastructure/src/postgres/rsvp.rs";
        let declared = "
            use super::schema::{events, rsvps};
            fn f() { diesel::update(rsvps::table); events::table.load(c); }
        ";
        assert!(found_in(file, declared).is_empty());
        let update =
            "use super::schema::events; fn f() { diesel::update(events::table).execute(c); }";
        assert_refused(&found_in(file, update), &["`rsvp` updates `events`"]);
        let lock = "use super::schema::events; fn f() { events::table.for_update().load(c); }";
        assert_refused(&found_in(file, lock), &["`rsvp` locks `events`"]);
        let read = "use crate::postgres::schema::outbox;";
        assert_refused(&found_in(file, read), &["`rsvp` reads `outbox`"]);
    }

    #[test]
    fn tests_may_prepare_any_row() {
        let text =
            "#[cfg(test)] mod tests { const A: &str = \"INSERT INTO events DEFAULT VALUES\"; }";
        assert!(found_in("crates/infrastructure/src/postgres/rsvp.rs", text).is_empty());
    }
}
