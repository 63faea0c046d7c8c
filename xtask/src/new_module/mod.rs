//! `cargo xtask new-module NAME`: the files of a new feature module, from `xtask/template`.
//!
//! A template is a file as it will lie in the repository, with `.tmpl` behind its name and the
//! placeholders of [`ModuleName`] in its path and text. What exists already gets one line each, in the
//! crate roots and in `arch.toml`; no other module's file changes. `cargo xtask new-module --check`
//! generates a module into a copy of the repository and builds and tests it, so that the templates
//! cannot rot.

mod check;
mod edits;
mod name;

use std::fs;
use std::path::Path;

use jiff::Timestamp;

use crate::repository::SourceFile;
use crate::{Result, migration, repository};
pub(crate) use check::check;
use name::ModuleName;

const TEMPLATE: &str = "xtask/template";
const EXTENSION: &str = "tmpl";

/// Writes the files of a new module and says what is left to do.
///
/// # Errors
/// The name is no name for a module, a file is there already, a place for a line is not found, or
/// something cannot be read or written. Nothing is written unless all of it can be.
pub(crate) fn create(root: &Path, name: &str, now: Timestamp) -> Result<()> {
    let module = ModuleName::parse(root, name)?;
    let plan = Plan::new(root, &module, now)?;
    plan.write(root)?;
    let formatted = repository::cargo(root).args(["fmt", "--all"]).status()?;
    if !formatted.success() {
        return Err("the module was written, but `cargo fmt --all` failed".into());
    }
    for file in &plan.new {
        println!("created {}", file.path);
    }
    for file in &plan.changed {
        println!("changed {}", file.path);
    }
    println!("{}", next_steps(&module));
    Ok(())
}

/// All that a new module writes.
struct Plan {
    new: Vec<SourceFile>,
    changed: Vec<SourceFile>,
}

impl Plan {
    fn new(root: &Path, module: &ModuleName, now: Timestamp) -> Result<Self> {
        let migration = migration::folder(root, &module.name, now)?;
        let mut new = Vec::new();
        for template in repository::files(root, &[TEMPLATE], EXTENSION)? {
            let path = target(&template.path, module, &migration)?;
            if root.join(&path).exists() {
                return Err(format!("{path} is there already").into());
            }
            new.push(SourceFile { path, text: module.fill_in(&template.text) });
        }
        let changed = edits::apply(module, |path| repository::read(root, path))?;
        Ok(Self { new, changed })
    }

    fn write(&self, root: &Path) -> Result<()> {
        for file in self.new.iter().chain(&self.changed) {
            let path = root.join(&file.path);
            let folder = path.parent().unwrap_or(root);
            fs::create_dir_all(folder)
                .and_then(|()| fs::write(&path, &file.text))
                .map_err(|error| format!("cannot write {}: {error}", file.path))?;
        }
        Ok(())
    }
}

/// Where the file of a template goes.
fn target(template: &str, module: &ModuleName, migration: &str) -> Result<String> {
    template
        .strip_prefix(TEMPLATE)
        .and_then(|path| path.strip_prefix('/')?.strip_suffix(EXTENSION)?.strip_suffix('.'))
        .map(|path| module.fill_in(&path.replace("__migration__", migration)))
        .ok_or_else(|| format!("{template} is no template").into())
}

fn next_steps(module: &ModuleName) -> String {
    let name = &module.name;
    let capitalised = &module.capitalised;
    format!(
        "\nIt can be built, migrated and called. What is left:\n\
         1. Decide who may do what: MAY_CREATE and MAY_READ in crates/application/tests/{name}.rs, whose tests fail \
         until then; `Create{capitalised}` in crates/application/src/kernel/authz/policy.rs, which grants it to the owner alone; \
         and a line for each route in tests/e2e/matrix/recipes.rs, whose snapshot then shows what each role is answered.\n\
         2. Make it yours: `title` and `priority` stand for what it really has.\n\
         3. cargo xtask snapshots --update && cargo xtask arch && make test"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2099-01-01T00:00:00Z".parse().expect("it is a time")
    }

    fn plan(name: &str) -> Plan {
        let root = repository::root();
        let module = ModuleName::parse(&root, name).expect("it is a name");
        Plan::new(&root, &module, now()).expect("every place is found")
    }

    #[test]
    fn no_placeholder_is_left() {
        let plan = plan("announcement");
        assert!(plan.new.len() > 15, "only {} templates were found", plan.new.len());
        for file in plan.new.iter().chain(&plan.changed) {
            for placeholder in ["__module", "__Module", "__migration"] {
                assert!(!file.text.contains(placeholder), "{}: {placeholder}", file.path);
                assert!(!file.path.contains(placeholder), "{}", file.path);
            }
        }
    }

    #[test]
    fn what_exists_gains_lines_and_loses_none() {
        let root = repository::root();
        for file in plan("announcement").changed {
            let before = repository::read(&root, &file.path).expect("it is there");
            let mut after = file.text.lines();
            for line in before.lines() {
                assert!(after.any(|found| found == line), "{}: {line} is gone", file.path);
            }
        }
    }

    #[test]
    fn a_second_module_of_that_name_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = repository::root();
        for path in ["Cargo.toml", "arch.toml", "crates/domain/src/ids.rs"] {
            let to = folder.path().join(path);
            fs::create_dir_all(to.parent().expect("it has one")).expect("a folder is made");
            fs::copy(root.join(path), to).expect("it is copied");
        }
        let module = ModuleName::parse(folder.path(), "announcement").expect("it is a name");
        for path in ["xtask/template/a/__module__.rs.tmpl", "a/announcement.rs"] {
            let to = folder.path().join(path);
            fs::create_dir_all(to.parent().expect("it has one")).expect("a folder is made");
            fs::write(to, "").expect("it is written");
        }
        let refusal = Plan::new(folder.path(), &module, now()).err().expect("it is there already");
        assert_eq!(refusal.to_string(), "a/announcement.rs is there already");
    }
}
