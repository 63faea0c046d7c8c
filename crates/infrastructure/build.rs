//! Takes a digest of the migrations: a migrated database can be known by it. That this looks at the folder also has the
//! crate compiled anew when a migration is added, which `embed_migrations!` alone would overlook.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const MIGRATIONS: &str = "../../migrations";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed={MIGRATIONS}");
    let mut files = Vec::new();
    collect(Path::new(MIGRATIONS), &mut files)?;
    files.sort();
    let mut digest = Fnv::default();
    for file in files {
        digest.update(file.to_string_lossy().as_bytes());
        digest.update(&fs::read(&file)?);
    }
    println!("cargo::rustc-env=CONVENE_MIGRATIONS_HASH={:032x}", digest.0);
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "sql") {
            files.push(path);
        }
    }
    Ok(())
}

/// FNV-1a with 128 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>): the same everywhere, and enough against chance.
struct Fnv(u128);

impl Default for Fnv {
    fn default() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl Fnv {
    fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u128::from(*byte))
                .wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
        // Keeps a name and a content that follow each other from being read as another pair.
        self.0 = (self.0 ^ 0xff).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
}
