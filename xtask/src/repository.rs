//! The repository's files.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;

/// A text file of the repository.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// From the repository's root, with `/`.
    pub path: String,
    pub text: String,
}

/// The repository's root, wherever the command was called.
pub(crate) fn root() -> PathBuf {
    // Set by cargo when it runs this crate; the fallback serves a binary that was built once and
    // called by hand.
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    manifest.parent().map_or_else(|| manifest.clone(), Path::to_path_buf)
}

/// The cargo that runs this program, at the repository's root.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// The text of `path`, which is relative to `root`.
///
/// # Errors
/// The file cannot be read: the message names it.
pub(crate) fn read(root: &Path, path: &str) -> Result<String> {
    fs::read_to_string(root.join(path))
        .map_err(|error| format!("cannot read {path}: {error}").into())
}

/// Every file below `folders` whose name ends in `.extension`, in order of path. A folder that does
/// not exist is empty.
///
/// # Errors
/// A folder or a file cannot be read: the message names it.
pub(crate) fn files(root: &Path, folders: &[&str], extension: &str) -> Result<Vec<SourceFile>> {
    let mut paths = Vec::new();
    for folder in folders.iter().filter(|folder| root.join(folder).is_dir()) {
        collect(root, folder, extension, &mut paths)?;
    }
    paths.sort();
    paths.into_iter().map(|path| Ok(SourceFile { text: read(root, &path)?, path })).collect()
}

/// Every file at the root itself whose name ends in `.extension`, in order of name.
///
/// # Errors
/// The root or a file cannot be read: the message names it.
pub(crate) fn root_files(root: &Path, extension: &str) -> Result<Vec<SourceFile>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root).map_err(|error| format!("cannot read the root: {error}"))? {
        let entry = entry.map_err(|error| format!("cannot read the root: {error}"))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if Path::new(&name).extension().is_some_and(|found| found == extension) {
            names.push(name);
        }
    }
    names.sort();
    names.into_iter().map(|path| Ok(SourceFile { text: read(root, &path)?, path })).collect()
}

fn collect(root: &Path, folder: &str, extension: &str, paths: &mut Vec<String>) -> Result<()> {
    let unreadable = |error| format!("cannot read {folder}: {error}");
    for entry in fs::read_dir(root.join(folder)).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        let path = format!("{folder}/{name}");
        if entry.file_type().map_err(unreadable)?.is_dir() {
            if !matches!(name.as_str(), "target" | "node_modules") && !name.starts_with('.') {
                collect(root, &path, extension, paths)?;
            }
        } else if Path::new(&name).extension().is_some_and(|found| found == extension) {
            paths.push(path);
        }
    }
    Ok(())
}
