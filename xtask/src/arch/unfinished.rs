//! Marks of unfinished work.

use super::Violation;
use super::rules::Rules;

const RULE: &str = "unfinished";

/// Looks for the marks in one file's text, code and comments alike.
pub(crate) fn check(rules: &Rules, file: &str, text: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        let marks = rules.unfinished.words.iter().filter(|word| holds_word(content, word));
        violations.extend(marks.map(|word| Violation {
            rule: RULE,
            place: format!("{file}:{line}"),
            problem: format!("`{word}` marks unfinished work"),
            instead: "Finish it, or open an issue and leave the code without a trace of it.".into(),
        }));
    }
    violations
}

/// Whether `word` stands in `line` and is not part of a longer word.
fn holds_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let may_go_on = word.ends_with(|c| !is_part(c));
        !before.is_some_and(is_part) && (may_go_on || !after.is_some_and(is_part))
    })
}

#[cfg(test)]
mod tests {
    use super::super::rules::fixture;
    use super::*;

    #[test]
    fn a_mark_is_refused_in_code_and_comments() {
        let rules = fixture("[tables]\n[modules]");
        let found = check(&rules, "a.rs", "fn f() {\n    later!(\"x\")\n}\n// LATER: the rest");
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(found[0].starts_with("a.rs:2") && found[1].starts_with("a.rs:4"), "{found:#?}");
        assert!(found[0].contains("Finish it"), "{}", found[0]);
    }

    #[test]
    fn longer_words_are_no_marks() {
        let rules = fixture("[tables]\n[modules]");
        assert!(
            check(
                &rules,
                "a.rs",
                "const COLLATERAL: u8 = LATER_ON + SEE_LATER; not_later!(); later"
            )
            .is_empty()
        );
    }

    #[test]
    fn this_repository_refuses_the_usual_marks() {
        let rules =
            Rules::parse(include_str!("../../../arch.toml")).expect("arch.toml is consistent");
        // Put together here, or this file would hold them.
        for mark in [
            concat!("TO", "DO"),
            concat!("FIX", "ME"),
            concat!("to", "do!"),
            concat!("unimple", "mented!"),
        ] {
            assert_eq!(
                check(&rules, "a.rs", &format!("    {mark}(\"the rest\")")).len(),
                1,
                "{mark}"
            );
        }
    }
}
