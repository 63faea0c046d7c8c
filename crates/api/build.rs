//! Stamps the binary with the commit that it was built from.
//!
//! Without a repository, as in a container's build, `CONVENE_COMMIT` names it and `CONVENE_COMMIT_DATE` its day; else it is
//! `unknown`. Whether the work tree has changes is not asked: that would take longer than the build.

use std::path::Path;
use std::process::Command;

fn main() {
    for variable in ["CONVENE_COMMIT", "CONVENE_COMMIT_DATE"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let stamp = from_git().or_else(from_environment).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=CONVENE_STAMP={stamp}");
}

/// `<short commit>, <day>` of the repository that this package lies in.
fn from_git() -> Option<String> {
    watch("HEAD")?;
    // The file of the branch may be absent while all branches are packed into one, and the log of HEAD in a shallow clone.
    if let Some(branch) = git(&["symbolic-ref", "--quiet", "HEAD"]) {
        watch(&branch)?;
    }
    watch("packed-refs")?;
    watch("logs/HEAD")?;
    git(&["log", "-1", "--abbrev=12", "--date=short", "--format=%h, %cd"])
}

fn from_environment() -> Option<String> {
    let given = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    let commit = given("CONVENE_COMMIT")?;
    Some(match given("CONVENE_COMMIT_DATE") {
        Some(date) => format!("{commit}, {date}"),
        None => commit,
    })
}

/// Has a file of the repository watched, which lies elsewhere in a linked work tree.
fn watch(name: &str) -> Option<()> {
    let path = git(&["rev-parse", "--git-path", name])?;
    // A file that is watched and absent would have the stamp made at each build.
    if Path::new(&path).exists() {
        println!("cargo::rerun-if-changed={path}");
    }
    Some(())
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
