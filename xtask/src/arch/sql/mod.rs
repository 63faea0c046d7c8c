//! Which tables a piece of SQL touches, and how.
//!
//! This is a reader of table positions (FROM, JOIN, INTO, UPDATE, USING, LOCK …), not a grammar: it
//! also understands fragments that a query builder puts together, and it never refuses what
//! Postgres would accept.

#[cfg(test)]
mod tests;
mod tokens;

use std::fmt;

pub(crate) use tokens::{Token, Word, tokenize};

/// What a statement does to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    /// Rows locked with FOR SHARE or FOR KEY SHARE.
    ShareLock,
    /// Rows locked with FOR UPDATE or FOR NO KEY UPDATE, or the table itself.
    Lock,
    Insert,
    Update,
    Delete,
    Truncate,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "reads",
            Self::ShareLock => "locks (FOR SHARE) rows of",
            Self::Lock => "locks",
            Self::Insert => "inserts into",
            Self::Update => "updates",
            Self::Delete => "deletes from",
            Self::Truncate => "truncates",
        })
    }
}

/// One mention of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableUse {
    /// Lower-case unless quoted, without its schema.
    pub table: String,
    pub access: Access,
    /// Lines after the beginning of the text.
    pub line: usize,
    /// The keyword before the name was in capitals, as SQL is written here and prose is not.
    pub in_capitals: bool,
}

/// What one text mentions.
#[derive(Debug, Default)]
pub(crate) struct Mentions {
    pub tables: Vec<TableUse>,
    /// Names that `WITH` gives to queries: no tables.
    pub named_queries: Vec<String>,
    /// Lines where a table's name is filled in at run time.
    pub computed_names: Vec<usize>,
    /// The text locks rows, but of which table stands in another piece.
    pub locks_out_of_sight: bool,
}

/// Reads every table position of `text`.
pub(crate) fn mentions(text: &str) -> Mentions {
    mentions_in(&tokenize(text))
}

/// As [`mentions`], of SQL that is taken apart already.
pub(crate) fn mentions_in(tokens: &[Token]) -> Mentions {
    let mut reader = Reader { named_queries: named_queries(tokens), ..Reader::default() };
    reader.scopes.push(Scope::default());
    let mut at = 0;
    while at < tokens.len() {
        at = reader.step(tokens, at);
    }
    while let Some(scope) = reader.scopes.pop() {
        reader.close(scope);
    }
    Mentions {
        tables: reader.tables,
        named_queries: reader.named_queries,
        computed_names: reader.computed_names,
        locks_out_of_sight: reader.locks_out_of_sight,
    }
}

/// One level of parentheses.
#[derive(Debug, Default)]
struct Scope {
    /// Stands where a table could: its rows are what an outer FOR UPDATE locks.
    is_derived_table: bool,
    /// SELECT, DELETE or UPDATE was seen here. `extract(epoch FROM at)` has none.
    has_verb: bool,
    /// Between FROM and the next clause, where a comma brings another table.
    in_from: bool,
    /// REVOKE … FROM names roles.
    from_names_roles: bool,
    /// DELETE or MERGE, whose USING names tables and not columns.
    using_names_tables: bool,
    sources: Vec<Source>,
    locks: Vec<Lock>,
}

/// A table in a FROM list, to be found again by a locking clause.
#[derive(Debug, Clone)]
struct Source {
    table: String,
    alias: Option<String>,
    line: usize,
}

#[derive(Debug)]
struct Lock {
    access: Access,
    of: Vec<String>,
}

#[derive(Default)]
struct Reader {
    scopes: Vec<Scope>,
    tables: Vec<TableUse>,
    named_queries: Vec<String>,
    computed_names: Vec<usize>,
    locks_out_of_sight: bool,
}

impl Reader {
    fn scope(&mut self) -> &mut Scope {
        if self.scopes.is_empty() {
            // More closing than opening parentheses: a fragment.
            self.scopes.push(Scope::default());
        }
        let last = self.scopes.len() - 1;
        &mut self.scopes[last]
    }

    /// Reads the token at `at`; returns where to go on.
    fn step(&mut self, tokens: &[Token], at: usize) -> usize {
        match &tokens[at] {
            Token::Symbol('(') => {
                self.scopes.push(Scope::default());
                at + 1
            }
            Token::Symbol(')') => {
                if let Some(scope) = self.scopes.pop() {
                    self.close(scope);
                }
                at + 1
            }
            Token::Symbol(';') => {
                let finished = std::mem::take(self.scope());
                self.close(finished);
                at + 1
            }
            Token::Symbol(',') if self.scope().in_from => {
                self.source(tokens, at + 1, Access::Read, true)
            }
            Token::Word(word) => self.word(tokens, at, word),
            _ => at + 1,
        }
    }

    fn names_tables_after_from(&mut self) -> bool {
        let is_outermost = self.scopes.len() <= 1;
        let scope = self.scope();
        scope.has_verb || (is_outermost && !scope.from_names_roles)
    }

    fn word(&mut self, tokens: &[Token], at: usize, word: &Word) -> usize {
        let before = at.checked_sub(1).and_then(|before| tokens[before].word()).unwrap_or("");
        let after = tokens.get(at + 1).and_then(Token::word).unwrap_or("");
        if ends_from_list(&word.lower) {
            self.scope().in_from = false;
        }
        match word.lower.as_str() {
            "select" => {
                self.scope().has_verb = true;
                at + 1
            }
            "revoke" => {
                self.scope().from_names_roles = true;
                at + 1
            }
            "merge" => {
                self.scope().using_names_tables = true;
                at + 1
            }
            "from" if before == "delete" => {
                self.scope().has_verb = true;
                self.scope().using_names_tables = true;
                self.source(tokens, at + 1, Access::Delete, word.in_capitals)
            }
            "from" if before != "distinct" && self.names_tables_after_from() => {
                self.scope().in_from = true;
                self.source(tokens, at + 1, Access::Read, word.in_capitals)
            }
            "join" => {
                self.scope().in_from = true;
                self.source(tokens, at + 1, Access::Read, word.in_capitals)
            }
            "using" if self.scope().using_names_tables => {
                self.scope().in_from = true;
                self.source(tokens, at + 1, Access::Read, word.in_capitals)
            }
            "into" if before == "insert" => {
                self.source(tokens, at + 1, Access::Insert, word.in_capitals)
            }
            "into" if before == "merge" => {
                self.source(tokens, at + 1, Access::Update, word.in_capitals)
            }
            "update" if is_update_statement(before, after, tokens.get(at + 1)) => {
                self.scope().has_verb = true;
                self.source(tokens, at + 1, Access::Update, word.in_capitals)
            }
            "truncate" => self.source(
                tokens,
                skip(tokens, at + 1, "table"),
                Access::Truncate,
                word.in_capitals,
            ),
            "lock" if after == "table" => {
                self.source(tokens, at + 2, Access::Lock, word.in_capitals)
            }
            "for" => self.locking_clause(tokens, at),
            _ => at + 1,
        }
    }

    /// A table's name, a function or a subquery in a table's place.
    fn source(&mut self, tokens: &[Token], at: usize, access: Access, in_capitals: bool) -> usize {
        let mut at = at;
        while matches!(tokens.get(at).and_then(Token::word), Some("only" | "lateral")) {
            at += 1;
        }
        let (mut name, line) = match tokens.get(at) {
            Some(Token::Symbol('(')) => {
                self.scopes.push(Scope { is_derived_table: true, ..Scope::default() });
                return at + 1;
            }
            Some(Token::Computed { line }) if in_capitals => {
                self.computed_names.push(*line);
                return at + 1;
            }
            // The name comes in the next piece. A lone word is a label, not SQL.
            None if in_capitals && tokens.len() > 1 => {
                self.computed_names.push(tokens.last().map_or(0, Token::line));
                return at;
            }
            Some(Token::Word(word)) => (word.lower.clone(), word.line),
            Some(Token::Quoted { name, line }) => (name.clone(), *line),
            _ => return at,
        };
        at += 1;
        let mut schema = None;
        while matches!(tokens.get(at), Some(Token::Symbol('.'))) {
            let Some(part) = tokens.get(at + 1).and_then(Token::name) else { break };
            schema = Some(std::mem::replace(&mut name, part.to_owned()));
            at += 2;
        }
        let is_function =
            access == Access::Read && matches!(tokens.get(at), Some(Token::Symbol('(')));
        let is_catalog = name.starts_with("pg_")
            || matches!(schema.as_deref(), Some("pg_catalog" | "information_schema"));
        if is_function || is_catalog {
            return at;
        }
        let alias = read_alias(tokens, at);
        self.tables.push(TableUse { table: name.clone(), access, line, in_capitals });
        if access == Access::Read {
            self.scope().sources.push(Source { table: name, alias, line });
        }
        at
    }

    /// `FOR [NO KEY] UPDATE | [KEY] SHARE [OF name, …]`.
    fn locking_clause(&mut self, tokens: &[Token], at: usize) -> usize {
        let words: Vec<&str> = tokens[at + 1..].iter().take(3).map_while(Token::word).collect();
        let (access, length) = match words.as_slice() {
            ["update", ..] => (Access::Lock, 1),
            ["no", "key", "update"] => (Access::Lock, 3),
            ["share", ..] => (Access::ShareLock, 1),
            ["key", "share", ..] => (Access::ShareLock, 2),
            _ => return at + 1,
        };
        let mut at = at + 1 + length;
        let mut of = Vec::new();
        if tokens.get(at).and_then(Token::word) == Some("of") {
            at += 1;
            while let Some(name) = tokens.get(at).and_then(Token::name) {
                of.push(name.to_owned());
                at += 1;
                if !matches!(tokens.get(at), Some(Token::Symbol(','))) {
                    break;
                }
                at += 1;
            }
        }
        self.scope().in_from = false;
        self.scope().locks.push(Lock { access, of });
        at
    }

    /// Applies the locking clauses of a finished level, and hands a derived table's sources to the
    /// level around it.
    fn close(&mut self, scope: Scope) {
        self.locks_out_of_sight |= !scope.locks.is_empty() && scope.sources.is_empty();
        for lock in &scope.locks {
            for source in &scope.sources {
                let name = source.alias.as_ref().unwrap_or(&source.table);
                if lock.of.is_empty() || lock.of.contains(name) {
                    self.tables.push(TableUse {
                        table: source.table.clone(),
                        access: lock.access,
                        line: source.line,
                        in_capitals: true,
                    });
                }
            }
        }
        if scope.is_derived_table
            && let Some(outer) = self.scopes.last_mut()
        {
            // An outer OF list cannot name it; a bare locking clause reaches it.
            let nameless = |source| Source { alias: Some(String::new()), ..source };
            outer.sources.extend(scope.sources.into_iter().map(nameless));
        }
    }
}

/// Tells the statement from FOR UPDATE, DO UPDATE, ON UPDATE, and the UPDATE of triggers and
/// grants.
fn is_update_statement(before: &str, after: &str, next: Option<&Token>) -> bool {
    let belongs_to_something_else = matches!(
        before,
        "for" | "key" | "do" | "on" | "before" | "after" | "of" | "or" | "grant" | "revoke"
    );
    let names_no_table =
        matches!(after, "on" | "of" | "or") || matches!(next, Some(Token::Symbol(_)));
    !belongs_to_something_else && !names_no_table
}

/// Whether a FROM list ends before this word.
fn ends_from_list(word: &str) -> bool {
    matches!(
        word,
        "where"
            | "group"
            | "order"
            | "limit"
            | "offset"
            | "returning"
            | "set"
            | "window"
            | "having"
            | "union"
            | "intersect"
            | "except"
            | "values"
            | "fetch"
            | "select"
            | "when"
    )
}

/// Whether this word may stand after a table's name without being its alias.
fn goes_on_after_table(word: &str) -> bool {
    matches!(
        word,
        "on" | "using"
            | "join"
            | "inner"
            | "left"
            | "right"
            | "full"
            | "cross"
            | "natural"
            | "lateral"
            | "tablesample"
            | "default"
            | "for"
            | "with"
            | "from"
            | "overriding"
            | "in"
    )
}

/// The alias after a table's name at `at`.
fn read_alias(tokens: &[Token], at: usize) -> Option<String> {
    let at = skip(tokens, at, "as");
    match tokens.get(at)? {
        Token::Word(word) if ends_from_list(&word.lower) || goes_on_after_table(&word.lower) => {
            None
        }
        token => token.name().map(str::to_owned),
    }
}

/// `at`, or the position after it when `word` stands there.
fn skip(tokens: &[Token], at: usize, word: &str) -> usize {
    if tokens.get(at).and_then(Token::word) == Some(word) { at + 1 } else { at }
}

/// The names in `WITH name (columns) AS [NOT] [MATERIALIZED] (`.
fn named_queries(tokens: &[Token]) -> Vec<String> {
    let mut names = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if token.word() != Some("as") || at == 0 {
            continue;
        }
        let body = skip(tokens, skip(tokens, at + 1, "not"), "materialized");
        if !matches!(tokens.get(body), Some(Token::Symbol('('))) {
            continue;
        }
        let mut name_at = at - 1;
        if matches!(tokens[name_at], Token::Symbol(')')) {
            while name_at > 0 && !matches!(tokens[name_at], Token::Symbol('(')) {
                name_at -= 1;
            }
            name_at = name_at.saturating_sub(1);
        }
        names.extend(tokens[name_at].name().map(str::to_owned));
    }
    names
}
