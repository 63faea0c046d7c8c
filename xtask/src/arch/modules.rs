//! Which feature module may reach which, and through what.

use super::Violation;
use super::rules::{LayerRule, Rules};
use super::scan::Scan;

const RULE: &str = "modules";

/// The layer whose modules offer single items, named in `arch.toml`, in place of an `offers`
/// module.
const DOMAIN: &str = "domain";
/// What a module offers to others stands in a module of this name.
const OFFERS: &str = "offers";

/// Where a file stands among layers and modules.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place<'r> {
    pub layer: &'r str,
    /// The feature module; `None` for what all modules of the layer share.
    pub module: Option<&'r str>,
    /// Puts the modules together, and so may name all of them.
    assembles: bool,
}

/// Finds the place of `file` (from the repository's root); `None` outside the layers.
pub(crate) fn place<'r>(rules: &'r Rules, file: &str) -> Option<Place<'r>> {
    rules.layers.iter().find_map(|(layer, rule)| {
        let inside = file.strip_prefix(&rule.root)?.strip_prefix('/')?;
        let top = inside.split('/').next()?;
        let top = top.strip_suffix(".rs").unwrap_or(top);
        let module = rules.modules.keys().find(|module| *module == top).map(String::as_str);
        let assembles = rule.assembles.iter().any(|path| covers(path, inside));
        Some(Place { layer, module, assembles })
    })
}

/// Whether `path`, a file or a folder ending in `/`, is or holds `file`.
pub(crate) fn covers(path: &str, file: &str) -> bool {
    path == file || (path.ends_with('/') && file.starts_with(path))
}

/// Holds one file's paths against the declared relation.
///
/// `own_module` is the file's path inside its crate.
pub(crate) fn check(
    rules: &Rules,
    file: &str,
    own_module: &[String],
    scan: &Scan,
) -> Vec<Violation> {
    let Some(place) = place(rules, file) else { return Vec::new() };
    if place.assembles {
        return Vec::new();
    }
    let mut violations = Vec::new();
    for found in &scan.paths {
        let Some(target) = Target::of(rules, place.layer, &found.path) else { continue };
        let problem = match (target.module, place.module) {
            (None, _) if is_own_root(own_module, &found.path) => None,
            (None, _) => Some(glob(&found.path)),
            (Some(to), Some(from)) if to == from => None,
            (Some(to), Some(_)) => reach(rules, &place, to, &target),
            (Some(to), None) => Some(from_shared_code(to, &found.path)),
        };
        violations.extend(problem.map(|(problem, instead)| Violation {
            rule: RULE,
            place: format!("{file}:{}", found.line),
            problem,
            instead,
        }));
    }
    violations
}

type Problem = (String, String);

fn reach(rules: &Rules, from: &Place<'_>, to: &str, target: &Target<'_>) -> Option<Problem> {
    let from_module = from.module.unwrap_or_default();
    let written = &target.written;
    let Some(arrow) = missing_arrow(rules, from, to, target) else {
        return (!target.is_offered(rules, to)).then(|| {
            (
                format!("`{from_module}` reaches past what `{to}` offers (`{written}`)"),
                way_in(to, target),
            )
        });
    };
    Some((
        format!(
            "`{from_module}` reaches into `{to}` (`{written}`), which arch.toml does not declare"
        ),
        format!(
            "If `{from_module}` may know `{to}`, add it to `{arrow}` of `{from_module}` in \
             arch.toml; otherwise let `{to}` publish an event, or pass the value in."
        ),
    ))
}

/// The key in `arch.toml` that would have to name `to`, if none does.
fn missing_arrow(
    rules: &Rules,
    from: &Place<'_>,
    to: &str,
    target: &Target<'_>,
) -> Option<&'static str> {
    let rule = rules.modules.get(from.module.unwrap_or_default())?;
    let uses = rule.uses.iter().any(|used| used == to);
    let domain_uses = rule.domain_uses.iter().any(|used| used == to);
    match (target.layer, from.layer) {
        (DOMAIN, DOMAIN) => (!domain_uses).then_some("domain_uses"),
        // What a port of another module speaks of may be named along with the port.
        (DOMAIN, _) => (!domain_uses && !uses).then_some("domain_uses"),
        _ => (!uses).then_some("uses"),
    }
}

/// How to reach what a module does not offer yet.
fn way_in(to: &str, target: &Target<'_>) -> String {
    if target.layer == DOMAIN {
        return format!(
            "Add the item to `domain_offers` of `{to}` in arch.toml, or move it to a module that \
             both share."
        );
    }
    format!(
        "Go through `{to}::{OFFERS}`: put there the trait or job type that `{to}` offers to others."
    )
}

fn from_shared_code(to: &str, path: &[String]) -> Problem {
    (
        format!("shared code names the module `{to}` (`{}`)", path.join("::")),
        "Let the module bring it in: take a trait or a value. A file whose task is to put modules \
         together is listed under `assembles` of its layer in arch.toml."
            .into(),
    )
}

fn glob(path: &[String]) -> Problem {
    (
        format!("`{}` brings every module into scope", path.join("::")),
        "Name what you import.".into(),
    )
}

/// `use super::*` in the tests of a file at the root of its layer.
fn is_own_root(own_module: &[String], path: &[String]) -> bool {
    path.split_first()
        .is_some_and(|(_, rest)| rest.split_last().is_some_and(|(_, parent)| parent == own_module))
        && path.first().is_some_and(|first| first == "crate")
}

/// A path that leads to a feature module, or to all of them by a glob.
struct Target<'r> {
    layer: &'r str,
    module: Option<&'r str>,
    /// The segments after the module's.
    inside: Vec<String>,
    written: String,
}

impl<'r> Target<'r> {
    fn of(rules: &'r Rules, own_layer: &str, path: &[String]) -> Option<Self> {
        let (crate_name, path_in_crate) = path.split_first()?;
        let layer_name =
            if crate_name == "crate" { own_layer } else { crate_name.strip_prefix("convene_")? };
        rules.layers.get_key_value(layer_name).and_then(|(layer, rule)| {
            let in_layer = path_in_crate.strip_prefix(rule.module_path().as_slice())?;
            let (first, inside) = in_layer.split_first()?;
            let module = rules.modules.keys().find(|module| *module == first).map(String::as_str);
            (module.is_some() || first == "*").then(|| Self {
                layer,
                module,
                inside: inside.to_vec(),
                written: path.join("::"),
            })
        })
    }

    fn is_offered(&self, rules: &Rules, module: &str) -> bool {
        if self.layer != DOMAIN {
            return self.inside.first().is_some_and(|first| first == OFFERS);
        }
        rules.modules.get(module).is_some_and(|rule| {
            let starts = |offered: &String| {
                let offered: Vec<String> = offered.split("::").map(str::to_owned).collect();
                self.inside.starts_with(&offered)
            };
            rule.domain_offers.iter().any(starts)
        })
    }
}

impl LayerRule {
    /// `["postgres"]` for `crates/infrastructure/src/postgres`.
    fn module_path(&self) -> Vec<String> {
        let below = self.root.split_once("/src/").map_or("", |(_, below)| below);
        below.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::fixture;
    use super::super::scan::scan;
    use super::*;

    const RELATION: &str = "
        [tables]
        [modules]
        user = { domain_offers = ['Handle', 'zone::TimeZone'] }
        rsvp = { uses = ['user'], domain_uses = ['event'], domain_offers = ['Seats'] }
        event = { uses = ['rsvp'], domain_offers = ['Status'] }
        community = { domain_uses = ['user'] }
    ";

    fn found(file: &str, text: &str) -> Vec<String> {
        let own_module = super::super::module_path(file);
        let scan = scan(text, &own_module).expect("the fixture is Rust");
        check(&fixture(RELATION), file, &own_module, &scan)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[track_caller]
    fn assert_refused(file: &str, text: &str, expected: &str) {
        let found = found(file, text);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].contains(expected), "{}", found[0]);
    }

    #[test]
    fn an_undeclared_module_is_out_of_reach_however_it_is_named() {
        for text in [
            "use crate::event::offers::Schedule;",
            "use super::super::event::offers::Schedule;",
            "use convene_application::{event::{offers::Schedule}};",
            "fn f() -> Option<crate::event::offers::Schedule> { None }",
            "fn f() { tokio::select! { _ = crate::event::offers::run() => {} } }",
            "pub use crate::event;",
        ] {
            assert_refused(
                "crates/application/src/rsvp/service.rs",
                text,
                "`rsvp` reaches into `event`",
            );
        }
        let found =
            found("crates/application/src/rsvp/service.rs", "use crate::event::ports::Store;");
        assert!(found[0].contains("let `event` publish an event"), "{}", found[0]);
    }

    #[test]
    fn a_renamed_crate_is_seen_through() {
        let text = "use convene_application as app;\nfn f() { app::event::offers::run() }";
        assert_refused("crates/http/src/rsvp/routes.rs", text, "routes.rs:2");
    }

    #[test]
    fn a_declared_module_is_reached_through_its_offers_only() {
        let file = "crates/application/src/event/service.rs";
        assert!(
            found(file, "use crate::rsvp::offers::Seats; use crate::kernel::error::StoreError;")
                .is_empty()
        );
        assert_refused(file, "use crate::rsvp::ports::RsvpStore;", "Go through `rsvp::offers`");
        assert_refused(file, "use crate::rsvp;", "Go through `rsvp::offers`");
        assert!(
            found(
                "crates/http/src/event/routes.rs",
                "use convene_application::rsvp::offers::Seats;"
            )
            .is_empty()
        );
        assert_refused(
            "crates/infrastructure/src/postgres/event.rs",
            "use crate::postgres::rsvp::lock_seats;",
            "Go through `rsvp::offers`",
        );
    }

    #[test]
    fn the_domain_offers_single_items() {
        let file = "crates/domain/src/community/name.rs";
        let offered = "use crate::ids::UserId; use crate::user::{Handle, zone::TimeZone};";
        assert!(found(file, offered).is_empty());
        assert_refused(file, "use crate::user::Profile;", "`domain_offers` of `user`");
        assert_refused(file, "use crate::event::Status;", "`domain_uses` of `community`");
    }

    #[test]
    fn an_arrow_above_the_domain_is_none_inside_it() {
        let text = "use convene_domain::rsvp::Seats;";
        assert!(found("crates/application/src/event/service.rs", text).is_empty());
        let text = "use crate::rsvp::Seats;";
        assert_refused("crates/domain/src/event/mod.rs", text, "`domain_uses` of `event`");
    }

    #[test]
    fn an_arrow_inside_the_domain_is_none_to_the_use_cases() {
        let file = "crates/application/src/rsvp/service.rs";
        assert!(found(file, "use convene_domain::event::Status;").is_empty());
        assert_refused(file, "use convene_domain::event::Event;", "`domain_offers` of `event`");
        assert_refused(file, "use crate::event::offers::Schedule;", "`uses` of `rsvp`");
    }

    #[test]
    fn a_module_reaches_itself_in_every_layer() {
        let text = "
            use convene_domain::rsvp::Seats;
            use convene_application::rsvp::ports::X;
            use super::super::rsvp::Y;
        ";
        assert!(found("crates/http/src/rsvp/routes.rs", text).is_empty());
        assert!(
            found("crates/infrastructure/src/postgres/rsvp.rs", "use crate::postgres::tx::Tx;")
                .is_empty()
        );
    }

    #[test]
    fn shared_code_names_no_module() {
        let instead = "Let the module bring it in";
        assert_refused(
            "crates/application/src/kernel/uow.rs",
            "use crate::rsvp::offers::Seats;",
            instead,
        );
        assert_refused("crates/domain/src/lib.rs", "pub mod rsvp; pub use rsvp::Seats;", instead);
        assert_refused(
            "crates/infrastructure/src/postgres/tx.rs",
            "fn f() { super::rsvp::go() }",
            instead,
        );
        assert!(found("crates/application/src/lib.rs", "pub mod rsvp; pub mod kernel;").is_empty());
    }

    #[test]
    fn what_assembles_names_every_module() {
        assert!(
            found(
                "crates/http/src/routes/v1.rs",
                "use crate::rsvp::routes; use crate::event::routes as e;"
            )
            .is_empty()
        );
        assert!(found("crates/application/src/registry.rs", "use crate::rsvp::jobs;").is_empty());
    }

    #[test]
    fn a_glob_over_all_modules_is_refused() {
        assert_refused(
            "crates/application/src/rsvp/service.rs",
            "use crate::*;",
            "Name what you import",
        );
        assert_refused(
            "crates/http/src/rsvp/routes.rs",
            "use convene_domain::*;",
            "Name what you import",
        );
        assert!(found("crates/domain/src/lib.rs", "mod tests { use super::*; }").is_empty());
    }

    #[test]
    fn other_crates_are_outside_the_layers() {
        assert!(
            found("crates/worker/src/lib.rs", "use convene_application::rsvp::jobs::X;").is_empty()
        );
    }
}
