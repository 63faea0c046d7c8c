//! Mail: what each message says, and two ways to send it.

mod compose;
mod dev_mailbox;
mod smtp;
mod templates;

pub use dev_mailbox::{DevMailbox, DevMailboxError};
pub use smtp::{SmtpConfigError, SmtpMailer, SmtpSilence, SmtpTimeouts};
