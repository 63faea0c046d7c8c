//! Holds a throwaway PostgreSQL for another program: prints its URL, then serves until standard
//! input ends, and removes every trace.
//!
//! `cargo run --package convene-embedded --example postgres`
#![expect(clippy::print_stdout, reason = "its output is the URL")]

use std::error::Error;
use std::io;

use convene_embedded::{Postgres, ServerOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let server = Postgres::start(ServerOptions::temporary())?;
    println!("{}", server.url("postgres", "postgres"));
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}
