//! The lines that a new module adds to files that are there already.

use super::name::ModuleName;
use crate::Result;
use crate::repository::SourceFile;

/// Where in a file a line is added.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// In front of the one line that begins with this, indented like it.
    Before(&'static str),
    /// At the end of the block that this line opens, one level deeper.
    EndOf(&'static str),
}
use Place::{Before, EndOf};

/// rustfmt sorts what is sorted. The module `user`, on which all others stand, marks the places.
const EDITS: [(&str, Place, &str); 17] = [
    ("arch.toml", Before("platform = {}"), "__module__ = { uses = [\"community\"] }"),
    ("arch.toml", Before("platform = ["), "__module__ = [\"__modules__\"]"),
    ("crates/domain/src/lib.rs", Before("pub mod user;"), "pub mod __module__;"),
    ("crates/application/src/lib.rs", Before("pub mod user;"), "pub mod __module__;"),
    (
        "crates/application/src/kernel/authz/policy.rs",
        EndOf("pub enum Action {"),
        "/// Make one of its __modules__.\nCreate__Module__,",
    ),
    (
        "crates/application/src/kernel/authz/policy.rs",
        EndOf("pub const POLICY: [Rule; Action::COUNT] = ["),
        "rule(Action::Create__Module__, \"__module__.create\", Object::Community, [N, Y, N, N, N, N, N, N, N], None),",
    ),
    ("crates/contracts/src/lib.rs", Before("pub mod user;"), "pub mod __module__;"),
    ("crates/contracts/src/registry.rs", EndOf("["), "crate::__module__::EVENT_TYPES,"),
    ("crates/infrastructure/src/postgres/mod.rs", Before("mod user;"), "mod __module__;"),
    (
        "crates/infrastructure/src/postgres/store.rs",
        EndOf("begins!("),
        "dyn convene_application::__module__::ports::__Module__Tx,",
    ),
    ("crates/http/src/lib.rs", Before("pub mod user;"), "pub mod __module__;"),
    (
        "crates/http/src/lib.rs",
        EndOf("modules! {"),
        "/// The __modules__ of communities.\n__module__,",
    ),
    (
        "crates/http/src/permissions.rs",
        EndOf("pub const OPERATIONS: &[(&str, &[Action])] = &["),
        "(\"create___module__\", &[Action::Create__Module__]),\n(\"list___modules__\", SIGHT),\n(\"get___module__\", SIGHT),",
    ),
    ("crates/api/src/wiring/mod.rs", Before("mod user;"), "mod __module__;"),
    (
        "crates/api/src/wiring/mod.rs",
        Before("user: Arc::new("),
        "__module__: Arc::new(__module__::wire(&platform)),",
    ),
    // The test kit has two lists of modules: the fakes, and the contracts that they are held to.
    ("crates/testkit/src/fake/mod.rs", Before("pub mod user;"), "pub mod __module__;"),
    ("crates/testkit/src/contract/mod.rs", Before("pub mod user;"), "pub mod __module__;"),
];

/// The files with the lines in them; `read` gives their text.
///
/// # Errors
/// A file cannot be read, or has no such place, or several.
pub(super) fn apply(
    module: &ModuleName,
    read: impl Fn(&str) -> Result<String>,
) -> Result<Vec<SourceFile>> {
    let mut files: Vec<SourceFile> = Vec::new();
    for (path, place, line) in EDITS {
        let known = files.iter().position(|file| file.path == path);
        let at = match known {
            Some(at) => at,
            None => {
                files.push(SourceFile { path: path.to_owned(), text: read(path)? });
                files.len() - 1
            }
        };
        files[at].text = insert(&files[at].text, place, &module.fill_in(line))
            .map_err(|problem| format!("{path}: {problem}"))?;
    }
    Ok(files)
}

fn insert(text: &str, place: Place, added: &str) -> std::result::Result<String, String> {
    let lines: Vec<&str> = text.lines().collect();
    let (at, indent) = match place {
        Before(start) => {
            let at = only(&lines, start, |line| line.starts_with(start))?;
            (at, indent(lines[at]))
        }
        EndOf(opening) => {
            let opened = only(&lines, opening, |line| line == opening)?;
            let depth = indent(lines[opened]);
            let closes =
                |line: &&str| indent(line) == depth && line.trim().starts_with(['}', ']', ')']);
            let body = lines[opened + 1..].iter().position(closes);
            let body = body.ok_or_else(|| format!("`{opening}` is not closed"))?;
            (opened + 1 + body, depth + 4)
        }
    };
    let added = added.lines().map(|line| format!("{:indent$}{line}", ""));
    let before = lines[..at].iter().map(ToString::to_string);
    let after = lines[at..].iter().map(ToString::to_string);
    Ok(before.chain(added).chain(after).map(|line| line + "\n").collect())
}

/// The number of the one line that fits.
fn only(
    lines: &[&str],
    what: &str,
    fits: impl Fn(&str) -> bool,
) -> std::result::Result<usize, String> {
    let mut found = lines.iter().enumerate().filter(|(_, line)| fits(line.trim()));
    match (found.next(), found.next()) {
        (Some((at, _)), None) => Ok(at),
        (None, _) => Err(format!("no line `{what}` marks where to add one; adapt xtask's edits")),
        (Some(_), Some(_)) => Err(format!("several lines `{what}`; adapt xtask's edits")),
    }
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "mod a;\nlist! {\n    one,\n    many {\n    },\n}\nmod b;\n";

    #[test]
    fn a_line_goes_before_another_or_to_the_end_of_a_block() {
        let before = insert(TEXT, Before("mod b"), "mod ab;").expect("there is one");
        assert_eq!(before, TEXT.replace("mod b;", "mod ab;\nmod b;"));
        let end = insert(TEXT, EndOf("list! {"), "/// It.\ntwo,").expect("there is one");
        assert_eq!(end, TEXT.replace("    },\n", "    },\n    /// It.\n    two,\n"));
    }

    #[test]
    fn a_place_that_is_missing_or_not_the_only_one_is_an_error() {
        assert!(insert(TEXT, Before("mod c"), "").is_err_and(|error| error.contains("no line")));
        assert!(insert(TEXT, Before("mod"), "").is_err_and(|error| error.contains("several")));
        assert!(insert("x {\n", EndOf("x {"), "").is_err_and(|error| error.contains("closed")));
    }
}
