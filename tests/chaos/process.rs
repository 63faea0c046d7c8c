//! What this binary is when another one starts it: see [`convene_tests::process`].

pub(crate) use convene_tests::process::{Process, Settings, run};

#[test]
#[ignore = "run as a process of its own by the other tests"]
fn convene() {
    convene_tests::process::convene();
}
