//! Tables as the migrations make them: each has an owner, and no isolated border is crossed.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use super::rules::Rules;
use super::sql::{Token, mentions_in, tokenize};

const RULE: &str = "migrations";

/// One `up.sql`.
#[derive(Debug)]
pub(crate) struct Migration {
    /// From the repository's root.
    pub file: String,
    pub text: String,
}

/// Holds the migrations, in the order in which they run, against the ownership of tables.
pub(crate) fn check(rules: &Rules, migrations: &[Migration]) -> Vec<Violation> {
    let mut history = History { rules, file: "", tables: BTreeMap::new(), violations: Vec::new() };
    for migration in migrations {
        history.file = &migration.file;
        for statement in statements(&migration.text) {
            history.statement(&statement);
        }
    }
    history.check_owners();
    history.violations
}

/// The tokens of each statement. A `;` inside a function's body ends none.
fn statements(text: &str) -> Vec<Vec<Token>> {
    let mut statements = vec![Vec::new()];
    let mut depth = 0_i32;
    for token in tokenize(text) {
        match token {
            Token::Symbol(';') if depth == 0 => {
                statements.push(Vec::new());
                continue;
            }
            Token::Symbol('(') => depth += 1,
            Token::Symbol(')') => depth -= 1,
            _ => {}
        }
        if let Some(statement) = statements.last_mut() {
            statement.push(token);
        }
    }
    statements
}

struct History<'a> {
    rules: &'a Rules,
    file: &'a str,
    /// Table → the place where it is made. Partitions count as their parent.
    tables: BTreeMap<String, String>,
    violations: Vec<Violation>,
}

impl History<'_> {
    fn statement(&mut self, tokens: &[Token]) {
        let start: Vec<&str> = tokens.iter().take(4).map_while(Token::word).collect();
        match start.as_slice() {
            ["create", "table", ..] | ["create", _, "table", ..] => self.create_table(tokens),
            ["alter", "table", ..] => self.alter_table(tokens),
            ["drop", "table", ..] => {
                for (name, _) in table_names(tokens) {
                    self.tables.remove(&name);
                }
            }
            _ => self.mixed_statement(tokens),
        }
    }

    fn create_table(&mut self, tokens: &[Token]) {
        let Some((table, line)) = table_names(tokens).into_iter().next() else { return };
        let is_partition = tokens
            .windows(2)
            .any(|pair| pair[0].word() == Some("partition") && pair[1].word() == Some("of"));
        if !is_partition {
            self.foreign_keys(&table, tokens);
            self.tables.insert(table, format!("{}:{line}", self.file));
        }
    }

    fn alter_table(&mut self, tokens: &[Token]) {
        let Some((table, line)) = table_names(tokens).into_iter().next() else { return };
        self.foreign_keys(&table, tokens);
        let renamed = tokens
            .windows(3)
            .find(|three| three[0].word() == Some("rename") && three[1].word() == Some("to"));
        if let Some(name) = renamed.and_then(|three| three[2].name())
            && self.tables.remove(&table).is_some()
        {
            self.tables.insert(name.to_owned(), format!("{}:{line}", self.file));
        }
    }

    fn foreign_keys(&mut self, table: &str, tokens: &[Token]) {
        for (at, token) in tokens.iter().enumerate() {
            if token.word() != Some("references") {
                continue;
            }
            let Some(target) = qualified_name(tokens, at + 1) else { continue };
            let owners = (self.rules.owner(table), self.rules.owner(&target));
            if let (Some(from), Some(to)) = owners
                && self.rules.border_between(from, to)
            {
                let line = token.line() + 1;
                self.report(
                    format!("{}:{line}", self.file),
                    format!("a foreign key of `{table}` ({from}) points at `{target}` ({to})"),
                    "One of the two becomes a service of its own: keep the id without REFERENCES, \
                     and react to the owner's events."
                        .into(),
                );
            }
        }
    }

    /// A view, a function or a data migration.
    fn mixed_statement(&mut self, tokens: &[Token]) {
        let mentions = mentions_in(tokens);
        let owners: BTreeSet<&str> =
            mentions.tables.iter().filter_map(|found| self.rules.owner(&found.table)).collect();
        let crossed = owners.iter().find_map(|one| {
            owners
                .iter()
                .find(|other| self.rules.border_between(one, other))
                .map(|other| (*one, *other))
        });
        if let Some((one, other)) = crossed {
            let line = mentions.tables.first().map_or(0, |found| found.line) + 1;
            self.report(
                format!("{}:{line}", self.file),
                format!("one statement touches tables of `{one}` and of `{other}`"),
                "One of the two becomes a service of its own: write a statement for each, and \
                 carry data across in events."
                    .into(),
            );
        }
    }

    fn check_owners(&mut self) {
        for (table, place) in std::mem::take(&mut self.tables) {
            if self.rules.owner(&table).is_none() {
                self.report(
                    place,
                    format!("the table `{table}` has no owner"),
                    "Add it to [tables] in arch.toml under its module.".into(),
                );
            }
        }
    }

    fn report(&mut self, place: String, problem: String, instead: String) {
        self.violations.push(Violation { rule: RULE, place, problem, instead });
    }
}

/// The tables named after TABLE, with their lines from 1.
fn table_names(tokens: &[Token]) -> Vec<(String, usize)> {
    let Some(keyword) = tokens.iter().position(|token| token.word() == Some("table")) else {
        return Vec::new();
    };
    let mut at = keyword + 1;
    let mut names = Vec::new();
    loop {
        while matches!(tokens.get(at).and_then(Token::word), Some("if" | "not" | "exists" | "only"))
        {
            at += 1;
        }
        let (Some(name), Some(first)) = (qualified_name(tokens, at), tokens.get(at)) else { break };
        names.push((name, first.line() + 1));
        at += 1;
        while matches!(tokens.get(at), Some(Token::Symbol('.'))) {
            at += 2;
        }
        if !matches!(tokens.get(at), Some(Token::Symbol(','))) {
            break;
        }
        at += 1;
    }
    names
}

/// `members` for `public.members` at `at`.
fn qualified_name(tokens: &[Token], at: usize) -> Option<String> {
    let mut name = tokens.get(at)?.name()?;
    let mut at = at + 1;
    while matches!(tokens.get(at), Some(Token::Symbol('.'))) {
        name = tokens.get(at + 1)?.name()?;
        at += 2;
    }
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::rules::fixture;
    use super::*;

    const OWNERS: &str = "
        [tables]
        auth = ['sessions']
        user = ['users']
        event = ['events']
        [modules]
        auth = { isolated = true }
        user = {}
        event = {}
    ";
    const TABLES: &str = "CREATE TABLE users (id uuid); CREATE TABLE sessions (id uuid); CREATE TABLE events (id uuid);";

    fn found(text: &str) -> Vec<String> {
        let migration = |file: &str, text: &str| Migration { file: file.into(), text: text.into() };
        let migrations =
            [migration("migrations/1/up.sql", TABLES), migration("migrations/2/up.sql", text)];
        check(&fixture(OWNERS), &migrations).iter().map(ToString::to_string).collect()
    }

    #[track_caller]
    fn assert_refused(text: &str, expected: &[&str]) {
        let found = found(text);
        assert_eq!(found.len(), 1, "{found:#?}");
        for expected in expected {
            assert!(found[0].contains(expected), "{expected} not in: {}", found[0]);
        }
    }

    #[test]
    fn a_foreign_key_across_an_isolated_border_is_refused_either_way() {
        assert_refused(
            "ALTER TABLE sessions ADD CONSTRAINT s_user\n FOREIGN KEY (user_id) REFERENCES public.users (id)",
            &[
                "migrations/2/up.sql:2",
                "`sessions` (auth) points at `users` (user)",
                "without REFERENCES",
            ],
        );
        assert_refused(
            "DROP TABLE events; CREATE UNLOGGED TABLE IF NOT EXISTS events (id uuid, session uuid REFERENCES sessions)",
            &["`events` (event) points at `sessions` (auth)"],
        );
    }

    #[test]
    fn a_foreign_key_between_other_modules_is_free() {
        assert!(
            found("ALTER TABLE events ADD host uuid REFERENCES users (id) ON DELETE CASCADE")
                .is_empty()
        );
    }

    #[test]
    fn a_view_or_function_across_an_isolated_border_is_refused() {
        let expected = ["one statement touches tables of `auth` and of `user`"];
        assert_refused("CREATE VIEW v AS SELECT 1 FROM users JOIN sessions ON true", &expected);
        assert_refused(
            "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ SELECT 1 FROM users; DELETE FROM sessions; $$",
            &expected,
        );
    }

    #[test]
    fn a_table_needs_an_owner_and_partitions_have_their_parents() {
        assert_refused(
            "CREATE TABLE badges (id uuid) PARTITION BY RANGE (id)",
            &["migrations/2/up.sql:1", "`badges` has no owner", "[tables] in arch.toml"],
        );
        assert!(found("CREATE TABLE events_2027 PARTITION OF events FOR VALUES IN (1)").is_empty());
    }

    #[test]
    fn what_is_dropped_or_renamed_is_followed() {
        assert!(
            found("CREATE TABLE badges (id uuid); DROP TABLE IF EXISTS badges, other").is_empty()
        );
        assert_refused("ALTER TABLE events RENAME TO meetings", &["`meetings` has no owner"]);
    }
}
