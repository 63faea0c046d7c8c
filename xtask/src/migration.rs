//! `cargo xtask migration NAME`: the files of a new database migration.

use std::fs;
use std::path::Path;

use jiff::Timestamp;

use crate::Result;

const FOLDER: &str = "migrations";
const UP: &str = "\
-- Say why. While this runs, the previous version of the code still serves:
-- expand now, contract in a later release.
";
const DOWN: &str = "-- Takes back exactly what up.sql made.\n";

/// Creates `migrations/<UTC time>_<name>/{up,down}.sql` and says so on stdout.
///
/// # Errors
/// The name is not in lower case with underscores, a migration of that name or of a later time
/// exists, or a file cannot be written.
pub(crate) fn create(root: &Path, name: &str, now: Timestamp) -> Result<()> {
    let folder = folder(root, name, now)?;
    let path = root.join(FOLDER).join(&folder);
    fs::create_dir_all(&path)
        .map_err(|error| format!("cannot create {FOLDER}/{folder}: {error}"))?;
    for (file, text) in [("up.sql", UP), ("down.sql", DOWN)] {
        fs::write(path.join(file), text)
            .map_err(|error| format!("cannot write {FOLDER}/{folder}/{file}: {error}"))?;
        println!("created {FOLDER}/{folder}/{file}");
    }
    println!(
        "A new table also needs an owner: [tables] in arch.toml. Afterwards: cargo xtask snapshots --update"
    );
    Ok(())
}

/// The folder's name of a new migration: `<UTC time>_<name>`.
///
/// # Errors
/// The name is not in lower case with underscores, or a migration of that name or of a later time
/// exists.
pub(crate) fn folder(root: &Path, name: &str, now: Timestamp) -> Result<String> {
    folder_name(name, now, &existing(root)?)
}

/// The names of the migrations' folders.
fn existing(root: &Path) -> Result<Vec<String>> {
    let folder = root.join(FOLDER);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| format!("cannot read {FOLDER}: {error}"))? {
        let entry = entry.map_err(|error| format!("cannot read {FOLDER}: {error}"))?;
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

fn folder_name(name: &str, now: Timestamp, existing: &[String]) -> Result<String> {
    let is_well_formed = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !is_well_formed {
        return Err(format!("`{name}` is no name for a migration: use lower case and underscores, like add_event_tags").into());
    }
    if let Some(other) = existing
        .iter()
        .find(|folder| folder.split_once('_').is_some_and(|(_, taken)| taken == name))
    {
        return Err(format!("{FOLDER}/{other} has that name").into());
    }
    let version = now.strftime("%Y-%m-%d-%H%M%S").to_string();
    if let Some(later) = existing.iter().find(|folder| digits(folder) >= digits(&version)) {
        return Err(format!(
            "{FOLDER}/{later} is not older than the clock ({version}): it would run after this one"
        )
        .into());
    }
    Ok(format!("{version}_{name}"))
}

/// The version as Diesel orders it: the part before the first underscore without its hyphens.
fn digits(folder: &str) -> String {
    folder.split('_').next().unwrap_or_default().replace('-', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> Timestamp {
        time.parse().expect("the fixture is a time")
    }

    #[test]
    fn both_files_are_made_under_the_time_and_name() {
        let root = tempfile::tempdir().expect("a temporary folder");
        create(root.path(), "add_event_tags", at("2027-05-01T18:00:00Z"))
            .expect("the name is good");
        let folder = root.path().join("migrations/2027-05-01-180000_add_event_tags");
        assert!(folder.join("up.sql").is_file() && folder.join("down.sql").is_file());
    }

    #[test]
    fn a_bad_or_taken_name_is_refused() {
        let existing = ["2027-01-01-000000_add_tags".to_owned()];
        for name in ["", "Add", "add-tags", "../x", "1st", "add_tags"] {
            assert!(folder_name(name, at("2027-05-01T18:00:00Z"), &existing).is_err(), "{name}");
        }
    }

    #[test]
    fn a_migration_never_sorts_before_an_existing_one() {
        let existing = ["20270501180000_first".to_owned()];
        let refusal = folder_name("second", at("2027-05-01T18:00:00Z"), &existing)
            .expect_err("the same second");
        assert!(refusal.to_string().contains("first is not older"), "{refusal}");
        assert!(folder_name("second", at("2027-05-01T18:00:01Z"), &existing).is_ok());
    }
}
