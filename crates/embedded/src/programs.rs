//! Where the servers' programs are installed.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::Error;

/// A server's programs and where to look for them.
pub(crate) struct Programs {
    pub(crate) server: &'static str,
    /// All must lie in one folder.
    pub(crate) names: &'static [&'static str],
    /// The same, for messages.
    pub(crate) listed: &'static str,
    pub(crate) package: &'static str,
    /// The environment variable that names the folder and ends the search.
    pub(crate) variable: &'static str,
    /// Folders besides those of the PATH; one `*` may stand for a path component.
    pub(crate) folders: &'static [&'static str],
    /// Whether `folders` come before the PATH.
    pub(crate) path_last: bool,
}

impl Programs {
    /// The folders that hold all the programs, best first. Not empty.
    pub(crate) fn locate(&self) -> Result<Vec<PathBuf>, Error> {
        if let Some(folder) = env::var_os(self.variable).map(PathBuf::from) {
            return match self.names.iter().find(|name| !folder.join(name).is_file()) {
                None => Ok(vec![folder]),
                Some(program) => {
                    Err(Error::OverrideWithoutProgram { variable: self.variable, folder, program })
                }
            };
        }
        let path = path_folders();
        let known = self.folders.iter().flat_map(|pattern| expand(pattern)).collect();
        let [first, second] = if self.path_last { [known, path] } else { [path, known] };
        let found: Vec<PathBuf> = first
            .into_iter()
            .chain(second)
            .filter(|folder| self.names.iter().all(|name| folder.join(name).is_file()))
            .collect();
        if found.is_empty() { Err(self.missing()) } else { Ok(found) }
    }

    fn missing(&self) -> Error {
        Error::ProgramsMissing {
            server: self.server,
            programs: self.listed,
            package: self.package,
            variable: self.variable,
        }
    }
}

/// The program's path, if the PATH has it.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    path_folders().into_iter().map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The PATH, and the system folders that ordinary users' PATHs leave out.
fn path_folders() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    folders.extend(["/usr/bin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    folders
}

/// The existing folders that a pattern with at most one `*`, within a component, stands for;
/// highest number first.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else { return vec![pattern.into()] };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or((".", before));
    // A parent that is not there, as where the server is not installed, stands for no folder.
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let mut folders: Vec<(u64, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let varying = name.strip_prefix(prefix)?;
            Some((number_in(varying), Path::new(&format!("{parent}/{name}{after}")).into()))
        })
        .collect();
    folders.sort_by(|a, b| b.cmp(a));
    folders.into_iter().map(|(_, folder)| folder).collect()
}

/// The first number in a name: the major version in `15` or `rabbitmq_server-3.10.8`.
fn number_in(name: &str) -> u64 {
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGINARY: Programs = Programs {
        server: "Imaginary",
        names: &["imaginaryd"],
        listed: "imaginaryd",
        package: "imaginary-server",
        variable: "CONVENE_IMAGINARY_BIN",
        folders: &["/nowhere/*/bin"],
        path_last: false,
    };

    #[test]
    fn what_is_missing_is_named_with_the_remedy() {
        assert_eq!(
            IMAGINARY.locate().unwrap_err().to_string(),
            "Imaginary's programs (imaginaryd) were not found: install the package \
             `imaginary-server` (`make setup` does) or set CONVENE_IMAGINARY_BIN to the folder \
             that holds them"
        );
    }

    #[test]
    fn the_highest_version_comes_first() {
        let root = tempfile::tempdir().unwrap();
        for name in ["pg-9", "pg-15", "pg-17", "other"] {
            fs::create_dir_all(root.path().join(name)).unwrap();
        }
        let pattern = format!("{}/pg-*/bin", root.path().display());
        let found: Vec<_> = expand(&pattern)
            .iter()
            .map(|path| path.strip_prefix(root.path()).unwrap().display().to_string())
            .collect();
        assert_eq!(found, ["pg-17/bin", "pg-15/bin", "pg-9/bin"]);
    }
}
