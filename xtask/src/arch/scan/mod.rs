//! What a Rust file refers to, read from its tokens.
//!
//! Tokens rather than a syntax tree: the inside of a macro call or an attribute is then read like
//! any other code, and a reference cannot hide there. Names are resolved as far as one file allows:
//! `crate`, `self`, `super`, sub-modules declared in the file, and every name that a `use` brings
//! in.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};

/// A path in absolute form: `["crate", …]` inside the file's own crate, else `[crate name, …]`.
/// `"*"` ends a glob.
pub(crate) type Path = Vec<String>;

/// Everything that the rules ask of one file.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Every path of two or more segments, `use` trees taken apart.
    pub paths: Vec<PathUse>,
    /// Every string literal outside documentation.
    pub literals: Vec<Literal>,
    /// Every call whose arguments name a path first: `update(members::table)`.
    pub calls: Vec<Call>,
    /// Every row-locking method of a query builder with what its statement names.
    pub row_locks: Vec<RowLock>,
}

/// One mention of a path.
#[derive(Debug)]
pub(crate) struct PathUse {
    pub path: Path,
    pub line: usize,
}

/// One string literal, escapes resolved.
#[derive(Debug)]
pub(crate) struct Literal {
    pub value: String,
    pub line: usize,
    /// Inside an item under `#[cfg(test)]`.
    pub in_test: bool,
}

/// One call and the path that its arguments begin with.
#[derive(Debug)]
pub(crate) struct Call {
    pub name: String,
    pub argument: Path,
    pub line: usize,
}

/// One `.for_update()` and the like, and all that is named before it in its statement.
#[derive(Debug)]
pub(crate) struct RowLock {
    pub method: String,
    pub paths: Vec<Path>,
    pub line: usize,
}

/// Methods by which a query builder locks rows.
const LOCKING_METHODS: [&str; 4] =
    ["for_update", "for_no_key_update", "for_share", "for_key_share"];

/// Reads `text`, which is the module `module` of its crate (empty for the crate root).
///
/// # Errors
/// The text is not Rust: the message says where.
pub(crate) fn scan(text: &str, module: &[String]) -> Result<Scan, String> {
    let tokens: TokenStream = text.parse().map_err(|error: proc_macro2::LexError| {
        format!("line {}: {error}", error.span().start().line)
    })?;
    let mut scanner = Scanner::default();
    scanner.walk(tokens, &Scope { module: module.to_vec(), in_test: false });
    Ok(scanner.finish())
}

/// Where in the file a token stands.
#[derive(Clone)]
struct Scope {
    module: Path,
    in_test: bool,
}

/// A path as written, with the module that it is relative to.
#[derive(Clone)]
struct RawPath {
    segments: Path,
    module: Path,
}

#[derive(Default)]
struct Scanner {
    paths: Vec<(RawPath, usize)>,
    literals: Vec<Literal>,
    calls: Vec<(String, RawPath, usize)>,
    row_locks: Vec<(String, Vec<RawPath>, usize)>,
    /// (module, name) → what a `use` makes of the name there.
    aliases: HashMap<(Path, String), RawPath>,
    /// (module, name) of each `mod name` in the file.
    submodules: HashSet<(Path, String)>,
}

impl Scanner {
    fn walk(&mut self, tokens: TokenStream, scope: &Scope) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        // What the statement at hand has named so far, for the row locks.
        let mut statement_from = self.paths.len();
        let mut next_item_is_test = false;
        while let Some(token) = tokens.get(at) {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    at += 1;
                    if is_punct(tokens.get(at), '!') {
                        at += 1;
                    }
                    if let Some(TokenTree::Group(attribute)) = tokens.get(at) {
                        next_item_is_test |= is_cfg_test(attribute);
                        if !is_doc(attribute) {
                            self.walk(attribute.stream(), scope);
                        }
                        at += 1;
                    }
                }
                TokenTree::Punct(punct) if punct.as_char() == ';' => {
                    next_item_is_test = false;
                    statement_from = self.paths.len();
                    at += 1;
                }
                TokenTree::Punct(_) => at += 1,
                TokenTree::Literal(literal) => {
                    if let Ok(string) = syn::parse_str::<syn::LitStr>(&literal.to_string()) {
                        let line = literal.span().start().line;
                        self.literals.push(Literal {
                            value: string.value(),
                            line,
                            in_test: scope.in_test || next_item_is_test,
                        });
                    }
                    at += 1;
                }
                TokenTree::Group(group) => {
                    let in_test = scope.in_test || next_item_is_test;
                    self.walk(group.stream(), &Scope { module: scope.module.clone(), in_test });
                    if group.delimiter() == Delimiter::Brace {
                        next_item_is_test = false;
                        statement_from = self.paths.len();
                    }
                    at += 1;
                }
                TokenTree::Ident(keyword) if keyword == "mod" => {
                    at = self.module(&tokens, at, scope, next_item_is_test);
                }
                TokenTree::Ident(keyword)
                    if keyword == "use" && !is_punct(tokens.get(at + 1), '<') =>
                {
                    at = self.use_tree(&tokens, at + 1, Vec::new(), &scope.module);
                }
                TokenTree::Ident(ident) => {
                    if is_punct(at.checked_sub(1).and_then(|before| tokens.get(before)), '.')
                        && LOCKING_METHODS.iter().any(|method| ident == method)
                    {
                        let named = self.paths[statement_from..]
                            .iter()
                            .map(|(path, _)| path.clone())
                            .collect();
                        self.row_locks.push((ident.to_string(), named, line_of(ident)));
                    }
                    at = self.path(&tokens, at, scope);
                }
            }
        }
    }

    /// `mod name;` or `mod name { … }` at `at`; returns where to go on.
    fn module(&mut self, tokens: &[TokenTree], at: usize, scope: &Scope, is_test: bool) -> usize {
        let Some(TokenTree::Ident(name)) = tokens.get(at + 1) else { return at + 1 };
        self.submodules.insert((scope.module.clone(), plain(name)));
        let Some(TokenTree::Group(body)) = tokens.get(at + 2) else { return at + 2 };
        let mut module = scope.module.clone();
        module.push(plain(name));
        self.walk(body.stream(), &Scope { module, in_test: scope.in_test || is_test });
        at + 3
    }

    /// An expression's or a type's path at `at`; returns where to go on.
    fn path(&mut self, tokens: &[TokenTree], at: usize, scope: &Scope) -> usize {
        let (segments, line, next) = read_path(tokens, at);
        let raw =
            |segments: &Path| RawPath { segments: segments.clone(), module: scope.module.clone() };
        if let Some(TokenTree::Group(arguments)) = tokens.get(next)
            && arguments.delimiter() == Delimiter::Parenthesis
            && let Some(argument) = first_path(arguments)
            && let Some(name) = segments.last()
        {
            self.calls.push((name.clone(), raw(&argument), line));
        }
        if let Some(TokenTree::Group(tree)) = after_colons(tokens, next)
            && tree.delimiter() == Delimiter::Brace
        {
            // A `use` tree handed to a macro.
            let tree: Vec<TokenTree> = tree.stream().into_iter().collect();
            self.use_list(&tree, &segments, &scope.module);
            return next + 3;
        }
        if segments.len() > 1 {
            self.paths.push((raw(&segments), line));
        }
        next
    }

    /// The rest of a `use` item after `prefix`; returns the position after the tree.
    fn use_tree(
        &mut self,
        tokens: &[TokenTree],
        at: usize,
        mut prefix: Path,
        module: &[String],
    ) -> usize {
        let mut at = at;
        let mut line = 0;
        loop {
            match tokens.get(at) {
                Some(TokenTree::Ident(ident)) => {
                    line = line_of(ident);
                    prefix.push(plain(ident));
                    at += 1;
                }
                Some(TokenTree::Punct(punct)) if punct.as_char() == '*' => {
                    line = punct.span().start().line;
                    prefix.push("*".into());
                    at += 1;
                }
                Some(TokenTree::Group(list)) if list.delimiter() == Delimiter::Brace => {
                    let list: Vec<TokenTree> = list.stream().into_iter().collect();
                    self.use_list(&list, &prefix, module);
                    return at + 1;
                }
                // A leading `::`.
                Some(TokenTree::Punct(punct)) if punct.as_char() == ':' && line == 0 => at += 2,
                _ => break,
            }
            match after_colons(tokens, at) {
                Some(_) => at += 2,
                None => break,
            }
        }
        // `a::{self}` names `a`.
        if prefix.len() > 1 && prefix.last().is_some_and(|last| last == "self") {
            prefix.pop();
        }
        let mut name = prefix.last().cloned().unwrap_or_default();
        if matches!(tokens.get(at), Some(TokenTree::Ident(ident)) if ident == "as") {
            if let Some(TokenTree::Ident(alias)) = tokens.get(at + 1) {
                name = plain(alias);
            }
            at += 2;
        }
        let raw = RawPath { segments: prefix, module: module.to_vec() };
        self.aliases.insert((module.to_vec(), name), raw.clone());
        self.paths.push((raw, line));
        at
    }

    /// The comma-separated trees between braces.
    fn use_list(&mut self, tokens: &[TokenTree], prefix: &[String], module: &[String]) {
        let mut at = 0;
        while at < tokens.len() {
            at = self.use_tree(tokens, at, prefix.to_vec(), module);
            while at < tokens.len() && !is_punct(tokens.get(at), ',') {
                at += 1;
            }
            at += 1;
        }
    }

    fn finish(mut self) -> Scan {
        let paths = std::mem::take(&mut self.paths);
        let calls = std::mem::take(&mut self.calls);
        let row_locks = std::mem::take(&mut self.row_locks);
        Scan {
            paths: paths
                .into_iter()
                .map(|(raw, line)| PathUse { path: self.resolve(&raw, 0), line })
                .collect(),
            calls: calls
                .into_iter()
                .map(|(name, raw, line)| Call { name, argument: self.resolve(&raw, 0), line })
                .collect(),
            row_locks: row_locks
                .into_iter()
                .map(|(method, raws, line)| RowLock {
                    method,
                    paths: raws.iter().map(|raw| self.resolve(raw, 0)).collect(),
                    line,
                })
                .collect(),
            literals: self.literals,
        }
    }

    /// The absolute form of a path, after following `depth` aliases.
    fn resolve(&self, raw: &RawPath, depth: usize) -> Path {
        // Two names may lead to each other, in inline modules that this reads as one.
        const DEEPEST_CHAIN_OF_ALIASES: usize = 8;
        let Some(first) = raw.segments.first() else { return Vec::new() };
        let absolute =
            |module: &[String], rest: &[String]| [&["crate".to_owned()], module, rest].concat();
        match first.as_str() {
            "crate" => return raw.segments.clone(),
            "self" => return absolute(&raw.module, &raw.segments[1..]),
            "super" => {
                let ups = raw.segments.iter().take_while(|segment| *segment == "super").count();
                let kept = raw.module.len().saturating_sub(ups);
                return absolute(&raw.module[..kept], &raw.segments[ups..]);
            }
            _ => {}
        }
        if self.submodules.contains(&(raw.module.clone(), first.clone())) {
            return absolute(&raw.module, &raw.segments);
        }
        // A name may come from a `use` in an enclosing module of the file, through `use super::*`.
        for enclosing in (0..=raw.module.len()).rev() {
            let key = (raw.module[..enclosing].to_vec(), first.clone());
            let Some(target) = self.aliases.get(&key) else { continue };
            if raw.segments.starts_with(&target.segments) {
                return raw.segments.clone();
            }
            let leads_to_itself = target.segments.first() == Some(first);
            let mut path = if leads_to_itself || depth == DEEPEST_CHAIN_OF_ALIASES {
                target.segments.clone()
            } else {
                self.resolve(target, depth + 1)
            };
            path.extend_from_slice(&raw.segments[1..]);
            return path;
        }
        raw.segments.clone()
    }
}

/// Reads `a::b::c` (or `a::b::*`) from `at`: the segments, the first one's line, and the position
/// after it.
fn read_path(tokens: &[TokenTree], at: usize) -> (Path, usize, usize) {
    let mut segments = Vec::new();
    let mut line = 0;
    let mut at = at;
    while let Some(TokenTree::Ident(ident)) = tokens.get(at) {
        if segments.is_empty() {
            line = line_of(ident);
        }
        segments.push(plain(ident));
        at += 1;
        match after_colons(tokens, at) {
            Some(TokenTree::Ident(_)) => at += 2,
            _ => break,
        }
    }
    (segments, line, at)
}

/// The token after a `::` at `at`, if there is one.
fn after_colons(tokens: &[TokenTree], at: usize) -> Option<&TokenTree> {
    let colons = is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':');
    if colons { tokens.get(at + 2) } else { None }
}

/// The first path among a call's arguments, past `&` and `*`.
fn first_path(arguments: &Group) -> Option<Path> {
    let tokens: Vec<TokenTree> = arguments.stream().into_iter().collect();
    let start = tokens.iter().position(|token| !matches!(token, TokenTree::Punct(_)))?;
    let (segments, _, _) = read_path(&tokens, start);
    (!segments.is_empty()).then_some(segments)
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn is_doc(attribute: &Group) -> bool {
    matches!(attribute.stream().into_iter().next(), Some(TokenTree::Ident(name)) if name == "doc")
}

fn is_cfg_test(attribute: &Group) -> bool {
    attribute.stream().to_string().replace(' ', "") == "cfg(test)"
}

/// The identifier without `r#`.
fn plain(ident: &Ident) -> String {
    let text = ident.to_string();
    text.strip_prefix("r#").map_or_else(|| text.clone(), str::to_owned)
}

fn line_of(ident: &Ident) -> usize {
    ident.span().start().line
}
