//! Folders of throw-away servers.

use std::{fs, io, path::Path};

use tempfile::TempDir;

use crate::{Error, error::Attempt, process::ProcessId, state::State};

/// Creates a folder that is removed when dropped, and removes those whose processes were killed
/// before they could drop theirs.
pub(crate) fn create(slug: &str) -> Result<TempDir, Error> {
    let prefix = format!("convene-{slug}-");
    let parent = std::env::temp_dir();
    sweep(&parent, &prefix).attempt(|| format!("list {}", parent.display()))?;
    let folder = tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir_in(&parent)
        .attempt(|| format!("create a folder in {}", parent.display()))?;
    let owner = ProcessId::of(std::process::id());
    State { owner, ..State::default() }.save(folder.path())?;
    Ok(folder)
}

fn sweep(parent: &Path, prefix: &str) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix)
            && is_abandoned(&entry.path())
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            // Another test sweeps at the same time, or it is another user's.
            tracing::debug!(%error, path = %entry.path().display(), "left a folder behind");
        }
    }
    Ok(())
}

/// Whether the folder's creator and server are both gone. A folder without a record is too young.
fn is_abandoned(folder: &Path) -> bool {
    State::load(folder).is_ok_and(|state| {
        state.owner.is_some_and(|owner| !owner.is_alive()) && state.running().is_none()
    })
}
