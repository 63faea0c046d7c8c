//! Mail to people.

use std::sync::Arc;

use async_trait::async_trait;
use convene_domain::text::EmailAddress;
use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};

use super::store::Source;

/// A message to one person. What it says is a template of the adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Proves that the address belongs to who registered.
    VerifyEmail {
        /// Who registered.
        display_name: String,
        /// The single-use token.
        token: String,
        /// When the token expires.
        expires_at: Timestamp,
    },
    /// Somebody registered with an address that has an account already.
    AlreadyRegistered,
    /// Lets a person choose a new password.
    ResetPassword {
        /// The single-use token.
        token: String,
        /// When the token expires.
        expires_at: Timestamp,
    },
    /// A refresh token was used twice, so the session was ended.
    SessionRevoked,
    /// A person who waited has a seat.
    Promoted {
        /// The event's title.
        event: String,
        /// When it starts, in its own zone.
        starts_at_local: DateTime,
        /// The zone's IANA name.
        time_zone: String,
        /// For how many people.
        party_size: u32,
    },
    /// An event that the person had a seat at, or waited for, was cancelled.
    EventCancelled {
        /// The event's title.
        event: String,
        /// When it would have started, in its own zone.
        starts_at_local: DateTime,
        /// The zone's IANA name.
        time_zone: String,
    },
    /// Every attempt to deliver to a webhook endpoint failed, or the endpoint was disabled.
    WebhookFailing {
        /// The endpoint's URL.
        url: String,
        /// Whether it was disabled.
        disabled: bool,
    },
}

/// Sends mail. Called by jobs alone, so a failure is tried again.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// Sends one message. `id` is the same for each attempt to send the same message.
    ///
    /// # Errors
    /// [`MailError`]; permanent ones are not worth another attempt.
    async fn send(&self, id: &str, to: &EmailAddress, message: &Message) -> Result<(), MailError>;
}

/// Mail that could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// It may work later.
    #[error("the mail server did not take the message")]
    Transient(#[source] Source),
    /// It will never work.
    #[error("the message was refused for good")]
    Permanent(#[source] Source),
}

/// A mail that a development mailbox kept instead of sending it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentMail {
    /// Its id, safe in a URL.
    pub id: String,
    /// The recipient's address.
    pub to: String,
    /// The subject.
    pub subject: String,
    /// The body as plain text.
    pub text: String,
    /// The body as HTML.
    pub html: String,
    /// When it was sent.
    pub sent_at: Timestamp,
}

/// Reads what a development mailbox kept.
pub trait Mailbox: Send + Sync {
    /// The mails, newest first.
    fn list(&self) -> Vec<Arc<SentMail>>;

    /// One mail.
    fn get(&self, id: &str) -> Option<Arc<SentMail>>;
}
