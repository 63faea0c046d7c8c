//! Functions that only their adapter calls, since time and randomness are parameters everywhere
//! else.

use super::Violation;
use super::modules::covers;
use super::rules::Rules;
use super::scan::Scan;

const RULE: &str = "reserved";

/// Holds one file's paths against the reserved functions.
pub(crate) fn check(rules: &Rules, file: &str, scan: &Scan) -> Vec<Violation> {
    let mut violations = Vec::new();
    for rule in
        rules.reserved.iter().filter(|rule| !rule.only_in.iter().any(|path| covers(path, file)))
    {
        let function: Vec<String> = rule.function.split("::").map(str::to_owned).collect();
        violations.extend(scan.paths.iter().filter(|found| found.path.ends_with(&function)).map(
            |found| Violation {
                rule: RULE,
                place: format!("{file}:{}", found.line),
                problem: format!(
                    "`{}` is called outside {}",
                    rule.function,
                    rule.only_in.join(", ")
                ),
                instead: rule.instead.clone(),
            },
        ));
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::super::rules::{Rules, fixture};
    use super::super::scan::scan;
    use super::*;

    fn found(rules: &Rules, file: &str, text: &str) -> Vec<String> {
        let scan = scan(text, &[]).expect("the fixture is Rust");
        check(rules, file, &scan).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_reserved_function_is_refused_under_any_name() {
        let rules = fixture("[tables]\n[modules]");
        for text in [
            "fn f() { jiff::Timestamp::now() }",
            "use jiff::Timestamp; fn f() { x.unwrap_or_else(Timestamp::now) }",
            "use jiff::Timestamp as Time; fn f() { info!(at = Time::now()) }",
        ] {
            let found = found(&rules, "crates/domain/src/event.rs", text);
            assert_eq!(found.len(), 1, "{text}: {found:#?}");
            assert!(found[0].contains("Take a `Clock`."), "{}", found[0]);
        }
    }

    #[test]
    fn its_adapter_and_other_functions_are_free() {
        let rules = fixture("[tables]\n[modules]");
        assert!(
            found(&rules, "crates/api/src/clock.rs", "fn f() { jiff::Timestamp::now() }")
                .is_empty()
        );
        assert!(
            found(&rules, "crates/domain/src/event.rs", "fn f() { std::time::Instant::now() }")
                .is_empty()
        );
    }

    #[test]
    fn this_repository_reserves_time_and_randomness() {
        let rules =
            Rules::parse(include_str!("../../../arch.toml")).expect("arch.toml is consistent");
        for function in ["Timestamp::now", "SystemTime::now", "Uuid::now_v7", "Uuid::new_v4"] {
            let found =
                found(&rules, "crates/domain/src/event.rs", &format!("fn f() {{ {function}() }}"));
            assert_eq!(found.len(), 1, "{function}");
        }
        assert!(
            found(&rules, "crates/domain/src/event.rs", "fn f() { Instant::now() }").is_empty()
        );
    }
}
