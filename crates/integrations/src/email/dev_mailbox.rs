//! A mailbox in memory, for development: everything that would be sent can be read on a page.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use convene_application::kernel::clock::Clock;
use convene_application::kernel::mail::{MailError, Mailbox, Mailer, Message, SentMail};
use convene_domain::text::EmailAddress;

use super::compose::stable_name;
use super::templates::Templates;

/// How many mails are kept; the oldest goes first.
const CAPACITY: usize = 1_000;

/// A mailbox that could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DevMailboxError {
    /// The folder cannot be made or read.
    #[error("the mail folder cannot be used")]
    Folder(#[source] io::Error),
    /// A built-in template is broken: a defect.
    #[error("a mail template does not parse")]
    Templates(#[source] minijinja::Error),
}

/// Keeps the last 1,000 mails in memory and, with a folder, also as files that survive a restart.
pub struct DevMailbox {
    mails: Mutex<VecDeque<Arc<SentMail>>>,
    folder: Option<PathBuf>,
    templates: Templates,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for DevMailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DevMailbox").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl DevMailbox {
    /// Opens a mailbox, with what the folder still holds if there is one.
    ///
    /// # Errors
    /// [`DevMailboxError`]. A file that is no mail is skipped with a warning.
    pub fn open(folder: Option<PathBuf>, clock: Arc<dyn Clock>) -> Result<Self, DevMailboxError> {
        let templates = Templates::load().map_err(DevMailboxError::Templates)?;
        let mails = match &folder {
            Some(folder) => load(folder).map_err(DevMailboxError::Folder)?,
            None => VecDeque::new(),
        };
        Ok(Self { mails: Mutex::new(mails), folder, templates, clock })
    }

    fn mails(&self) -> MutexGuard<'_, VecDeque<Arc<SentMail>>> {
        self.mails.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a mail in memory; returns the one that had to make room.
    fn keep(&self, mail: Arc<SentMail>) -> Option<Arc<SentMail>> {
        let mut mails = self.mails();
        mails.push_back(mail);
        if mails.len() > CAPACITY { mails.pop_front() } else { None }
    }
}

impl Mailbox for DevMailbox {
    fn list(&self) -> Vec<Arc<SentMail>> {
        self.mails().iter().rev().cloned().collect()
    }

    fn get(&self, id: &str) -> Option<Arc<SentMail>> {
        self.mails().iter().find(|mail| mail.id == id).cloned()
    }
}

#[async_trait]
impl Mailer for DevMailbox {
    async fn send(&self, id: &str, to: &EmailAddress, message: &Message) -> Result<(), MailError> {
        let id = stable_name(id);
        if self.get(&id).is_some() {
            return Ok(());
        }
        let rendered =
            self.templates.render(message).map_err(|error| MailError::Permanent(error.into()))?;
        let mail = Arc::new(SentMail {
            id,
            to: to.to_string(),
            subject: rendered.subject,
            text: rendered.text,
            html: rendered.html,
            sent_at: self.clock.now(),
        });
        if let Some(folder) = &self.folder {
            write(folder, &mail).await.map_err(|error| MailError::Transient(error.into()))?;
        }
        if let (Some(evicted), Some(folder)) = (self.keep(mail), &self.folder) {
            let path = folder.join(file_name(&evicted));
            warn_unless_removed(&path, tokio::fs::remove_file(&path).await);
        }
        Ok(())
    }
}

/// The name under which a mail is filed: in the order of time.
fn file_name(mail: &SentMail) -> String {
    format!("{:020}-{}.json", mail.sent_at.as_microsecond(), mail.id)
}

/// Writes a file that is there as a whole or not at all.
async fn write(folder: &Path, mail: &SentMail) -> io::Result<()> {
    let json = serde_json::to_vec_pretty(mail)?;
    let unfinished = folder.join(format!("{}.tmp", mail.id));
    tokio::fs::write(&unfinished, json).await?;
    tokio::fs::rename(&unfinished, folder.join(file_name(mail))).await
}

fn load(folder: &Path) -> io::Result<VecDeque<Arc<SentMail>>> {
    std::fs::create_dir_all(folder)?;
    let mut files = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort_unstable();
    for forgotten in files.drain(..files.len().saturating_sub(CAPACITY)) {
        warn_unless_removed(&forgotten, std::fs::remove_file(&forgotten));
    }
    Ok(files.iter().filter_map(|path| read(path)).map(Arc::new).collect())
}

fn read(path: &Path) -> Option<SentMail> {
    let mail = std::fs::read(path).and_then(|json| Ok(serde_json::from_slice(&json)?));
    mail.inspect_err(|error| tracing::warn!(path = %path.display(), %error, "not a mail; skipped"))
        .ok()
}

fn warn_unless_removed(path: &Path, removed: io::Result<()>) {
    if let Err(error) = removed {
        tracing::warn!(path = %path.display(), %error, "an old mail could not be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use convene_application::kernel::clock::SystemClock;

    fn ada() -> EmailAddress {
        EmailAddress::new("ada@example.org").unwrap()
    }

    fn reset(token: &str) -> Message {
        Message::ResetPassword { token: token.into(), expires_at: jiff::Timestamp::UNIX_EPOCH }
    }

    fn open(folder: Option<&Path>) -> DevMailbox {
        DevMailbox::open(folder.map(Into::into), Arc::new(SystemClock)).unwrap()
    }

    #[tokio::test]
    async fn mails_are_listed_newest_first_and_found_by_id() {
        let mailbox = open(None);
        mailbox.send("1", &ada(), &reset("one")).await.unwrap();
        mailbox.send("2", &ada(), &Message::SessionRevoked).await.unwrap();
        let mails = mailbox.list();
        assert_eq!(mails.len(), 2);
        assert_eq!(mails[0].subject, "One of your sessions was ended");
        assert!(mails[1].text.contains("\ntoken: one\n"));
        assert_eq!(mailbox.get(&mails[1].id).as_ref(), Some(&mails[1]));
        assert_eq!(mailbox.get("unknown"), None);
    }

    #[tokio::test]
    async fn a_repeated_attempt_is_one_mail() {
        let mailbox = open(None);
        for _ in 0..3 {
            mailbox.send("same", &ada(), &reset("one")).await.unwrap();
        }
        assert_eq!(mailbox.list().len(), 1);
    }

    #[tokio::test]
    async fn a_folder_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let before = open(Some(folder.path()));
        for id in ["1", "2/../../etc", "3\n"] {
            before.send(id, &ada(), &reset(id)).await.unwrap();
        }
        let after = open(Some(folder.path()));
        assert_eq!(after.list(), before.list());
        after.send("1", &ada(), &reset("1")).await.unwrap();
        assert_eq!(
            after.list().len(),
            3,
            "a job that is run again after the restart sends nothing twice"
        );
    }

    #[tokio::test]
    async fn what_is_no_mail_is_skipped() {
        let folder = tempfile::tempdir().unwrap();
        open(Some(folder.path())).send("1", &ada(), &reset("one")).await.unwrap();
        std::fs::write(folder.path().join("00-broken.json"), "{").unwrap();
        std::fs::write(folder.path().join("unfinished.tmp"), "{").unwrap();
        std::fs::create_dir(folder.path().join("folder.json")).unwrap();
        assert_eq!(open(Some(folder.path())).list().len(), 1);
    }

    #[tokio::test]
    async fn the_oldest_make_room_on_disk_too() {
        let folder = tempfile::tempdir().unwrap();
        let mailbox = open(Some(folder.path()));
        for number in 0..CAPACITY + 5 {
            mailbox.send(&number.to_string(), &ada(), &Message::SessionRevoked).await.unwrap();
        }
        assert_eq!(mailbox.list().len(), CAPACITY);
        assert!(mailbox.get(&stable_name("4")).is_none());
        assert!(mailbox.get(&stable_name("5")).is_some());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), CAPACITY);
        assert_eq!(open(Some(folder.path())).list().len(), CAPACITY);
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_written_is_tried_again_later() {
        let folder = tempfile::tempdir().unwrap();
        let mailbox = open(Some(&folder.path().join("mail")));
        std::fs::remove_dir(folder.path().join("mail")).unwrap();
        let failed = mailbox.send("1", &ada(), &reset("one")).await;
        assert!(matches!(failed, Err(MailError::Transient(_))), "{failed:?}");
        assert!(mailbox.list().is_empty());
        std::fs::create_dir(folder.path().join("mail")).unwrap();
        assert!(mailbox.send("1", &ada(), &reset("one")).await.is_ok());
        let not_a_folder = folder.path().join("file");
        std::fs::write(&not_a_folder, "").unwrap();
        let opened = DevMailbox::open(Some(not_a_folder), Arc::new(SystemClock));
        assert!(matches!(opened, Err(DevMailboxError::Folder(_))));
    }
}
