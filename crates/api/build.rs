//! Stamps the binary with the commit that it was built from.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=../../.git/HEAD");
    println!("cargo::rerun-if-env-changed=CONVENE_COMMIT");
    let commit = std::env::var("CONVENE_COMMIT").ok().or_else(|| {
        let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    });
    println!("cargo::rustc-env=CONVENE_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}
