//! The name of a new module, in the forms in which code and prose use it.
//!
//! It is one word: events are of type `module.past_tense` and ids are `word_…`, and the envelope's
//! schema promises consumers that neither word has an underscore.

use std::path::Path;

use toml::Table;

use super::{EXTENSION, TEMPLATE};
use crate::{Result, repository};

/// A name that can be a module's, with its forms. The templates write them with placeholders.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ModuleName {
    /// `__module__`: `announcement`, also the prefix of its ids.
    pub(super) name: String,
    /// `__modules__`: `announcements`, the table and the path.
    pub(super) plural: String,
    /// `__Module__`: `Announcement`.
    pub(super) capitalised: String,
}

impl ModuleName {
    /// Reads a name and holds it against what the repository at `root` has already.
    ///
    /// # Errors
    /// Why it cannot be a module's name.
    pub(super) fn parse(root: &Path, name: &str) -> Result<Self> {
        let module = Self::well_formed(name)?;
        let taken = |by: &str| Err(format!("`{name}` is taken: it is {by}").into());

        let rules: Table = repository::read(root, "arch.toml")?.parse()?;
        if rules.get("modules").and_then(|modules| modules.get(name)).is_some() {
            return taken("a module");
        }
        let manifest: Table = repository::read(root, "Cargo.toml")?.parse()?;
        let dependencies = manifest.get("workspace").and_then(|at| at.get("dependencies"));
        if dependencies.and_then(|all| all.get(name)).is_some()
            || matches!(name, "std" | "core" | "alloc" | "test")
        {
            return taken("a crate's name");
        }
        if repository::read(root, "crates/domain/src/ids.rs")?.contains(&format!("\"{name}\"")) {
            return taken("the prefix of an id");
        }
        let templates = repository::files(root, &[TEMPLATE], EXTENSION)?;
        if templates.iter().any(|template| holds_word(&template.text, &module.capitalised)) {
            return taken(&format!(
                "a name that the template uses itself (`{}`)",
                module.capitalised
            ));
        }
        Ok(module)
    }

    fn well_formed(name: &str) -> Result<Self> {
        let is_word = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase());
        if !is_word || name.len() > 40 {
            return Err(format!(
                "`{name}` is no name for a module: use one word of a–z, a noun, like announcement"
            )
            .into());
        }
        if syn::parse_str::<syn::Ident>(name).is_err() {
            return Err(format!("`{name}` is a keyword of Rust").into());
        }
        let (first, rest) = name.split_at(1);
        Ok(Self {
            name: name.to_owned(),
            plural: plural(name),
            capitalised: first.to_ascii_uppercase() + rest,
        })
    }

    /// A template's text, or path, with this name in it.
    pub(super) fn fill_in(&self, template: &str) -> String {
        template
            .replace("__modules__", &self.plural)
            .replace("__module__", &self.name)
            .replace("__Module__", &self.capitalised)
    }
}

/// The plural of an English noun, as far as rules go.
fn plural(noun: &str) -> String {
    let sibilant = ["s", "x", "z", "ch", "sh"].iter().any(|end| noun.ends_with(end));
    match noun.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{stem}ies"),
        _ if sibilant => format!("{noun}es"),
        _ => format!("{noun}s"),
    }
}

fn holds_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|found| found == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_refused(name: &str, why: &str) {
        let refusal = ModuleName::parse(&repository::root(), name).expect_err("it is refused");
        assert!(refusal.to_string().contains(why), "{name}: {refusal}");
    }

    #[test]
    fn a_name_has_its_forms() {
        let module = ModuleName::parse(&repository::root(), "announcement").expect("it is one");
        assert_eq!(
            module.fill_in("__module__ __modules__ __Module__Id __module___id"),
            "announcement announcements AnnouncementId announcement_id"
        );
    }

    #[test]
    fn plurals_follow_the_rules() {
        for (noun, many) in
            [("badge", "badges"), ("story", "stories"), ("day", "days"), ("pass", "passes")]
        {
            assert_eq!(plural(noun), many);
        }
    }

    #[test]
    fn what_cannot_be_a_module_is_refused() {
        for name in ["", "Badge", "badge-x", "travel_grant", "_badge", "badge2", "../x"] {
            assert_refused(name, "is no name for a module");
        }
        for keyword in ["type", "async", "crate", "self"] {
            assert_refused(keyword, "is a keyword");
        }
        assert_refused("community", "it is a module");
        assert_refused("tokio", "it is a crate's name");
        assert_refused("member", "it is the prefix of an id");
        assert_refused("failure", "the template uses itself");
    }
}
