//! `cargo xtask links`: whether what the repository's pages link to is there.

use std::collections::BTreeSet;
use std::path::Path;

use crate::Result;
use crate::repository::{self, SourceFile};

/// Where pages lie, beside the root.
const FOLDERS: [&str; 8] =
    [".github", "bench", "config", "crates", "deploy", "docs", "examples", "migrations"];

/// Checks every relative link of every Markdown page, anchors included.
///
/// # Errors
/// The links that lead nowhere, or what could not be read.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut pages = repository::root_files(root, "md")?;
    pages.extend(repository::files(root, &FOLDERS, "md")?);
    let broken: Vec<String> = pages.iter().flat_map(|page| broken(root, page)).collect();
    if broken.is_empty() {
        println!("links: all links of {} pages lead somewhere", pages.len());
        return Ok(());
    }
    Err(format!("links that lead nowhere:\n{}", broken.join("\n")).into())
}

fn broken(root: &Path, page: &SourceFile) -> Vec<String> {
    let folder = Path::new(&page.path).parent().unwrap_or(Path::new(""));
    let leads_somewhere = |target: &str| {
        let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
        let file = root.join(folder).join(path);
        let text = match path {
            "" => Some(page.text.clone()),
            _ if !anchor.is_empty() => std::fs::read_to_string(&file).ok(),
            _ => return file.exists(),
        };
        text.is_some_and(|text| anchors(&text).contains(anchor))
    };
    links(&page.text)
        .into_iter()
        .filter(|(_, target)| !is_elsewhere(target) && !leads_somewhere(target))
        .map(|(line, target)| format!("{}:{line}: {target}", page.path))
        .collect()
}

/// Whether a link leaves the repository.
fn is_elsewhere(target: &str) -> bool {
    target.split_once(':').is_some_and(|(scheme, _)| scheme.bytes().all(|b| b.is_ascii_lowercase()))
}

/// The targets of `[text](target)` outside of code, with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (line, prose) in prose(text) {
        let mut rest = prose.as_str();
        while let Some((_, after)) = rest.split_once("](") {
            let Some((target, behind)) = after.split_once(')') else { break };
            found.push((line, target.split(' ').next().unwrap_or_default().to_owned()));
            rest = behind;
        }
    }
    found
}

/// The anchors of the headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let slug = |heading: &str| {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.collect::<String>().replace(' ', "-")
    };
    headings.map(slug).collect()
}

/// The lines outside of code blocks, without the code in them.
fn prose(text: &str) -> Vec<(usize, String)> {
    let mut in_block = false;
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            // Every second part of a line lies between two backticks.
            lines.push((number, line.split('`').step_by(2).collect::<Vec<_>>().join("`")));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn broken_in(text: &str) -> Vec<String> {
        let root = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(root.path().join("docs")).expect("a folder is made");
        fs::write(root.path().join("README.md"), "# The house: a `plan`\n").expect("it is written");
        let page = SourceFile { path: "docs/page.md".into(), text: text.into() };
        broken(root.path(), &page)
    }

    #[test]
    fn this_repositorys_links_lead_somewhere() {
        if let Err(broken) = run(&repository::root()) {
            panic!("{broken}");
        }
    }

    #[test]
    fn a_link_to_nothing_is_found_with_its_line() {
        let text = "[a](../README.md)\n[b](gone.md) and [c](../gone/) here";
        assert_eq!(broken_in(text), ["docs/page.md:2: gone.md", "docs/page.md:2: ../gone/"]);
    }

    #[test]
    fn an_anchor_must_be_a_heading() {
        let text = "## Here\n[a](#here) [b](#there) [c](../README.md#the-house-a-plan) [d](../README.md#x)";
        assert_eq!(broken_in(text), ["docs/page.md:2: #there", "docs/page.md:2: ../README.md#x"]);
    }

    #[test]
    fn code_and_other_sites_are_let_alone() {
        let text = "[a](https://example.org/x) `[b](gone)` [`c`](mailto:x@example.org)\n```\n[d](gone)\n```";
        assert!(broken_in(text).is_empty());
    }
}
