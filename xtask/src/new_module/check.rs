//! `cargo xtask new-module --check`: whether the templates still make a module that builds, obeys the
//! architecture and passes its tests, all but those that wait for a decision.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use jiff::Timestamp;

use super::create;
use crate::{Result, arch, repository};

const NAME: &str = "announcement";
/// What the tests of undecided rights have in their names.
const UNDECIDED: &str = "_is_decided";

/// Generates a module into a copy of the repository and holds it to all that a module must do.
///
/// # Errors
/// What failed. The copy stays then, to be looked at.
pub(crate) fn check(root: &Path, now: Timestamp) -> Result<()> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let target = std::path::absolute(target)?;
    let copy = Copy { root: target.join("new-module-check"), target };
    copy.make(root)?;
    create(&copy.root, NAME, now)?;

    arch::run(&copy.root)?;
    copy.cargo(
        "it compiles without a warning",
        &["clippy", "--workspace", "--lib", "--", "-D", "warnings"],
    )?;
    copy.test("its unit tests pass", &["--lib", "--", NAME])?;
    copy.test(
        "its tests pass",
        &["--test", NAME, "--test", "contract", "--", "--skip", UNDECIDED],
    )?;
    copy.rights_are_undecided()?;
    copy.decide()?;
    copy.test("decided rights pass", &["--test", NAME, "--", UNDECIDED])?;

    fs::remove_dir_all(&copy.root)?;
    println!("new-module: the templates make a module that works");
    Ok(())
}

/// A copy of the repository that shares its target folder.
struct Copy {
    root: PathBuf,
    target: PathBuf,
}

impl Copy {
    /// Copies what git knows, or would know: nothing that is built, and nobody's data.
    fn make(&self, from: &Path) -> Result<()> {
        if self.root.exists() {
            fs::remove_dir_all(&self.root)?;
        }
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(from)
            .output()
            .map_err(|error| format!("cannot run git: {error}"))?;
        if !listed.status.success() {
            return Err(format!("git: {}", String::from_utf8_lossy(&listed.stderr)).into());
        }
        for path in String::from_utf8(listed.stdout)?.split_terminator('\0') {
            // One that was deleted and is not committed yet is still listed.
            let source = from.join(path);
            if !source.is_file() {
                continue;
            }
            let copied = self.root.join(path);
            let folder = copied.parent().unwrap_or(&self.root);
            fs::create_dir_all(folder)
                .and_then(|()| fs::copy(&source, &copied))
                .map_err(|error| format!("cannot copy {path}: {error}"))?;
        }
        Ok(())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut cargo = repository::cargo(&self.root);
        cargo.args(arguments).env("CARGO_TARGET_DIR", &self.target).stdin(Stdio::null());
        // Nobody debugs it; dependencies have no such information anyway and are used as they are.
        cargo.env("CARGO_PROFILE_DEV_DEBUG", "false");
        // Set by the cargo that runs this program, and wrong for the one that it runs.
        cargo.env_remove("CARGO_MANIFEST_DIR");
        cargo
    }

    fn cargo(&self, what: &str, arguments: &[&str]) -> Result<()> {
        let begun = Instant::now();
        let status = self.command(arguments).status()?;
        println!("new-module: {what}: {} s", begun.elapsed().as_secs());
        if status.success() { Ok(()) } else { Err(self.failed(what)) }
    }

    fn test(&self, what: &str, arguments: &[&str]) -> Result<()> {
        self.cargo(what, &test_arguments(arguments))
    }

    /// Both tests fail, and say what to do.
    fn rights_are_undecided(&self) -> Result<()> {
        let what = "undecided rights fail";
        let arguments = test_arguments(&["--test", NAME, "--", UNDECIDED]);
        let Output { status, stdout, .. } = self.command(&arguments).output()?;
        let said = String::from_utf8_lossy(&stdout);
        let fails = ["who_may_create_is_decided", "who_may_read_is_decided", "0 passed; 2 failed"];
        if !status.success()
            && fails.iter().all(|part| said.contains(part))
            && said.matches("decide whether").count() == 2
        {
            println!("new-module: {what}");
            return Ok(());
        }
        println!("{said}");
        Err(self.failed(what))
    }

    /// Fills the decisions in as the generated code has them.
    fn decide(&self) -> Result<()> {
        let path = self.root.join(format!("crates/application/tests/{NAME}.rs"));
        let test = fs::read_to_string(&path)?;
        let (create, read) = test
            .split_once("const MAY_READ")
            .ok_or("the template has lost its table of who may read")?;
        let create = create
            .replace("Role::Owner), UNDECIDED", "Role::Owner), Some(true)")
            .replace(", UNDECIDED", ", Some(false)");
        let read = read.replace(", UNDECIDED", ", Some(true)");
        // What nobody uses any more would be a warning.
        let decided = format!("{create}const MAY_READ{read}").replace(
            "const UNDECIDED",
            "#[expect(dead_code, reason = \"all is decided\")]\nconst UNDECIDED",
        );
        Ok(fs::write(path, decided)?)
    }

    fn failed(&self, what: &str) -> Box<dyn std::error::Error> {
        format!("new-module: not true: {what}. The generated module is in {}", self.root.display())
            .into()
    }
}

/// `cargo test` over all packages, whatever is run of them: of another selection the libraries that
/// they share would have other features, and all of them be built anew.
fn test_arguments<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["test", "--workspace"], arguments].concat()
}
