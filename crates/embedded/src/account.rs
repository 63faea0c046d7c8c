//! The user that runs a server which refuses to run as root.

use std::{
    fs, io,
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::Path,
    process::Command,
};

use crate::{Error, error::Attempt};

const PASSWD: &str = "/etc/passwd";
const ROOT: u32 = 0;

/// An unprivileged user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    uid: u32,
    gid: u32,
}

impl Account {
    /// As whom a server must run that refuses root: `None` if as ourselves. The owner of data that
    /// is already there comes first, then `postgres`, then `nobody`.
    pub(crate) fn for_unprivileged(data: &Path) -> Result<Option<Self>, Error> {
        let us = rustix::process::geteuid().as_raw();
        let owned_by = match fs::metadata(data) {
            Ok(metadata) => Some((metadata.uid(), metadata.gid())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).attempt(|| format!("look at {}", data.display())),
        };
        match owned_by {
            Some((uid, _)) if us != ROOT && uid != us => {
                Err(Error::ForeignOwner { folder: data.to_owned(), owner: owner(data)? })
            }
            _ if us != ROOT => Ok(None),
            Some((uid, gid)) if uid != ROOT => {
                Ok(Some(Self { name: format!("user `{}`", name_of(uid)?), uid, gid }))
            }
            _ => Self::installed().map(Some),
        }
    }

    fn installed() -> Result<Self, Error> {
        let passwd = fs::read_to_string(PASSWD).attempt(|| format!("read {PASSWD}"))?;
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| Self::named(name, &passwd))
            .ok_or(Error::NoUnprivilegedUser)
    }

    fn named(name: &str, passwd: &str) -> Option<Self> {
        let mut fields = passwd
            .lines()
            .map(|line| line.split(':'))
            .find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Self { name: format!("user `{name}`"), uid, gid })
    }

    /// Makes `command` run as this user, with none of our groups.
    pub(crate) fn run(&self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    /// Gives a folder to this user.
    pub(crate) fn give(&self, folder: &Path) -> Result<(), Error> {
        chown(folder, Some(self.uid), Some(self.gid))
            .attempt(|| format!("give {} to {}", folder.display(), self.name))
    }

    /// Checks that this user may enter `folder` and all above it, which the server would otherwise
    /// report in words of its own.
    pub(crate) fn may_enter(&self, folder: &Path) -> Result<(), Error> {
        let folder = folder.canonicalize().attempt(|| format!("resolve {}", folder.display()))?;
        for ancestor in folder.ancestors() {
            let metadata = fs::metadata(ancestor)
                .attempt(|| format!("read the permissions of {}", ancestor.display()))?;
            let execute = match () {
                () if metadata.uid() == self.uid => 0o100,
                () if metadata.gid() == self.gid => 0o010,
                () => 0o001,
            };
            if metadata.mode() & execute == 0 {
                let folder = ancestor.to_owned();
                return Err(Error::Untraversable { folder, user: self.name.clone() });
            }
        }
        Ok(())
    }
}

/// Who owns a folder, for messages.
pub(crate) fn owner(folder: &Path) -> Result<String, Error> {
    let metadata = fs::metadata(folder).attempt(|| format!("look at {}", folder.display()))?;
    Ok(format!("user `{}`", name_of(metadata.uid())?))
}

/// The user's name, or the number where /etc/passwd lists none.
fn name_of(uid: u32) -> Result<String, Error> {
    let passwd = fs::read_to_string(PASSWD).attempt(|| format!("read {PASSWD}"))?;
    let number = uid.to_string();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(&number)).then(|| name.to_owned())
    });
    Ok(name.unwrap_or(number))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_account_is_read_from_passwd() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\n\
                      postgresql:x:9:9::/:/bin/false\n\
                      postgres:x:101:104:PostgreSQL:/var/lib/postgresql:/bin/bash\n";
        let account = Account::named("postgres", passwd).unwrap();
        assert_eq!((account.uid, account.gid), (101, 104));
        assert_eq!(Account::named("nobody", passwd), None);
    }

    #[test]
    fn a_closed_folder_on_the_way_is_named() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("closed/data");
        fs::create_dir_all(&data).unwrap();
        let closed = root.path().join("closed").canonicalize().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();

        // No user has this number, so the bits for others decide.
        let stranger = Account { name: "user `stranger`".into(), uid: 4_000_001, gid: 4_000_001 };
        match stranger.may_enter(&data).unwrap_err() {
            Error::Untraversable { folder, .. } => assert_eq!(folder, closed),
            other => panic!("{other}"),
        }
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o711)).unwrap();
        stranger.may_enter(&data).unwrap();
    }
}
