use super::*;

fn paths(text: &str, module: &[&str]) -> Vec<String> {
    let module: Path = module.iter().map(ToString::to_string).collect();
    let scan = scan(text, &module).expect("the fixture is Rust");
    scan.paths.iter().map(|found| found.path.join("::")).collect()
}

#[test]
fn use_trees_are_taken_apart() {
    assert_eq!(
        paths("use crate::{kernel::error::{self, StoreError as Oops}, user::*};", &["rsvp"]),
        ["crate::kernel::error", "crate::kernel::error::StoreError", "crate::user::*"],
    );
}

#[test]
fn relative_paths_become_absolute() {
    assert_eq!(
        paths(
            "use super::super::user::ports; use self::own::X; fn f() { super::lane::go() }",
            &["rsvp", "service"]
        ),
        ["crate::user::ports", "crate::rsvp::service::own::X", "crate::rsvp::lane::go"],
    );
}

#[test]
fn inline_modules_count_as_a_level() {
    assert_eq!(paths("mod tests { use super::*; }", &["rsvp"]), ["crate::rsvp::*"]);
}

#[test]
fn a_declared_submodule_is_not_taken_for_a_crate() {
    assert_eq!(paths("mod user; pub use user::Profile;", &[]), ["crate::user::Profile"]);
}

#[test]
fn renames_are_followed() {
    let text =
        "use convene_application as app; use app::user as people; fn f() { people::ports::find() }";
    assert_eq!(
        paths(text, &["rsvp"]),
        [
            "convene_application",
            "convene_application::user",
            "convene_application::user::ports::find",
        ],
    );
}

#[test]
fn a_use_of_a_name_under_itself_ends() {
    assert_eq!(
        paths("use uuid::uuid; fn f() { uuid::new() }", &[]),
        ["uuid::uuid", "uuid::uuid::new"]
    );
}

#[test]
fn macro_bodies_and_attributes_are_read() {
    let text = r#"
        #[utoipa::path(responses((status = 200, body = crate::user::dto::Profile)))]
        fn f() { select! { _ = crate::event::run() => {} } }
    "#;
    let found = paths(text, &["rsvp"]);
    assert!(found.contains(&"crate::user::dto::Profile".to_owned()), "{found:?}");
    assert!(found.contains(&"crate::event::run".to_owned()), "{found:?}");
}

#[test]
fn generics_and_qualified_paths_are_read() {
    let text = "type T = Vec<<crate::user::Store as crate::kernel::Port>::Item>;";
    assert_eq!(paths(text, &["rsvp"]), ["crate::user::Store", "crate::kernel::Port"]);
}

#[test]
fn documentation_holds_no_literals() {
    let scan =
        scan("/// SELECT FROM users\nconst A: &str = r\"one\"; const B: &str = \"t\\\"wo\";", &[])
            .expect("the fixture is Rust");
    let values: Vec<_> =
        scan.literals.iter().map(|literal| (literal.value.as_str(), literal.line)).collect();
    assert_eq!(values, [("one", 2), ("t\"wo", 2)]);
}

#[test]
fn literals_under_cfg_test_are_marked() {
    let text = "
        const A: &str = \"a\";
        #[cfg(test)] mod tests { const B: &str = \"b\"; }
        #[cfg(test)] const C: &str = \"c\";
        const D: &str = \"d\";
    ";
    let scan = scan(text, &[]).expect("the fixture is Rust");
    let marked: Vec<_> = scan.literals.iter().map(|literal| literal.in_test).collect();
    assert_eq!(marked, [false, true, true, false]);
}

#[test]
fn calls_and_row_locks_know_what_they_touch() {
    let text = "
        use crate::postgres::schema::members;
        fn f() {
            diesel::update(members::table).execute(c);
            members::table.find(id).for_update().first(c);
        }
    ";
    let scan = scan(text, &[]).expect("the fixture is Rust");
    assert!(scan.calls.iter().any(|call| call.name == "update"
        && call.argument.join("::") == "crate::postgres::schema::members::table"));
    assert_eq!(scan.row_locks.len(), 1);
    assert_eq!(scan.row_locks[0].paths.len(), 1, "only its own statement counts");
}

#[test]
fn what_is_not_rust_is_an_error() {
    assert!(scan("fn f( {", &[]).is_err());
}
