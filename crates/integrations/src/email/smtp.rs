//! Mail through an SMTP server.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use convene_application::kernel::clock::Clock;
use convene_application::kernel::mail::{MailError, Mailer, Message};
use convene_domain::text::EmailAddress;
use lettre::message::Mailbox;
use lettre::transport::smtp::PoolConfig;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

use super::compose::compose;
use super::templates::Templates;

const MAX_CONNECTIONS: u32 = 4;

/// How long a mail server is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmtpTimeouts {
    /// For connecting, and for each answer of the server.
    pub command: Duration,
    /// For the whole exchange: shorter than the job that sends the mail may run.
    pub exchange: Duration,
}

impl Default for SmtpTimeouts {
    fn default() -> Self {
        Self { command: Duration::from_secs(10), exchange: Duration::from_secs(20) }
    }
}

/// A mail configuration that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum SmtpConfigError {
    /// The URL is none that names a mail server.
    #[error(
        "the SMTP URL must be smtp://host:port, smtp://host:port?tls=required or smtps://host:port"
    )]
    Url,
    /// A password would cross the network in the clear.
    #[error(
        "an SMTP URL with a password needs smtps:// or ?tls=required, unless it names this machine"
    )]
    PlainPassword,
    /// The sender is no mailbox.
    #[error("the sender must be an address such as Convene <no-reply@example.org>")]
    From,
    /// A built-in template is broken: a defect.
    #[error("a mail template does not parse")]
    Templates(#[source] minijinja::Error),
}

/// Sends mail through an SMTP server, over a few connections that are kept.
pub struct SmtpMailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    templates: Templates,
    timeouts: SmtpTimeouts,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for SmtpMailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmtpMailer").field("from", &self.from).finish_non_exhaustive()
    }
}

impl SmtpMailer {
    /// A mailer for a URL: `smtp://[user:password@]host[:port]`, with `?tls=required` for STARTTLS, or `smtps://`. A path
    /// is the name to greet the server with. To be called inside a runtime.
    ///
    /// # Errors
    /// [`SmtpConfigError`]; the message never repeats the URL, which may hold a password.
    pub fn new(
        url: &SecretString,
        from: &str,
        timeouts: SmtpTimeouts,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SmtpConfigError> {
        let url = url.expose_secret();
        refuse_plain_password(url)?;
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
            .map_err(|_| SmtpConfigError::Url)?
            .timeout(Some(timeouts.command))
            .pool_config(PoolConfig::new().max_size(MAX_CONNECTIONS))
            .build();
        let from = from.parse().map_err(|_| SmtpConfigError::From)?;
        let templates = Templates::load().map_err(SmtpConfigError::Templates)?;
        Ok(Self { transport, from, templates, timeouts, clock })
    }
}

/// A mail server that cannot be used now.
#[derive(Debug, thiserror::Error)]
pub enum SmtpSilence {
    /// It cannot be reached, does not greet, or refuses the login.
    #[error("the mail server cannot be used")]
    Refused(#[from] lettre::transport::smtp::Error),
    /// It answers, but not as a mail server that is ready.
    #[error("the mail server is not ready")]
    NotReady,
    /// It does not answer.
    #[error("the mail server does not answer in time")]
    Late(#[from] tokio::time::error::Elapsed),
}

impl SmtpMailer {
    /// Greets the server (EHLO), encrypts and logs in as for a mail, and sends none.
    ///
    /// # Errors
    /// [`SmtpSilence`].
    pub async fn greet(&self) -> Result<(), SmtpSilence> {
        let greeting = self.transport.test_connection();
        if tokio::time::timeout(self.timeouts.exchange, greeting).await?? {
            Ok(())
        } else {
            Err(SmtpSilence::NotReady)
        }
    }
}

#[async_trait]
impl Mailer for SmtpMailer {
    async fn send(&self, id: &str, to: &EmailAddress, message: &Message) -> Result<(), MailError> {
        let rendered =
            self.templates.render(message).map_err(|error| MailError::Permanent(error.into()))?;
        let mail = compose(id, &self.from, to, rendered, self.clock.now())
            .map_err(|error| MailError::Permanent(error.into()))?;
        match tokio::time::timeout(self.timeouts.exchange, self.transport.send(mail)).await {
            Ok(Ok(_accepted)) => Ok(()),
            Ok(Err(error)) if is_permanent(&error, to) => Err(MailError::Permanent(error.into())),
            Ok(Err(error)) => Err(MailError::Transient(error.into())),
            Err(elapsed) => Err(MailError::Transient(elapsed.into())),
        }
    }
}

fn refuse_plain_password(url: &str) -> Result<(), SmtpConfigError> {
    let url = Url::parse(url).map_err(|_| SmtpConfigError::Url)?;
    let encrypts = url.scheme() == "smtps"
        || url.query_pairs().any(|(name, value)| name == "tls" && value == "required");
    let is_here = match url.host().ok_or(SmtpConfigError::Url)? {
        // The host of a scheme that the URL standard does not know is never read as an address.
        Host::Domain(name) => {
            name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        }
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    if url.password().is_some() && !encrypts && !is_here {
        return Err(SmtpConfigError::PlainPassword);
    }
    Ok(())
}

/// Whether another attempt would fail as well. A server that refuses our login (RFC 4954) or wants encryption first says
/// nothing about the message: an operator can mend that, and the mail should still go out.
fn is_permanent(error: &lettre::transport::smtp::Error, to: &EmailAddress) -> bool {
    const ABOUT_US: [u16; 4] = [530, 534, 535, 538];
    if error.is_permanent() {
        return error.status().is_none_or(|code| !ABOUT_US.contains(&code.into()));
    }
    // The server cannot write the address (RFC 6531).
    error.is_client() && !to.as_str().is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;
    use convene_application::kernel::clock::SystemClock;

    fn mailer(url: &str, from: &str) -> Result<SmtpMailer, SmtpConfigError> {
        let timeouts = SmtpTimeouts::default();
        SmtpMailer::new(&SecretString::from(url), from, timeouts, Arc::new(SystemClock))
    }

    #[tokio::test]
    async fn urls_of_every_kind_are_understood() {
        for url in [
            "smtp://127.0.0.1:1025",
            "smtp://mail.example.org",
            "smtp://mail.example.org:587/convene.example.org?tls=required",
            "smtps://mail.example.org",
            "smtps://user:p%40ss@mail.example.org:465",
            "smtp://user:pass@mail.example.org?tls=required",
            "smtp://user:pass@localhost:1025",
            "smtp://user:pass@127.0.0.1:1025",
            "smtp://user:pass@[::1]:1025",
        ] {
            let mailer = mailer(url, "Convene <no-reply@convene.example>");
            assert!(mailer.is_ok(), "{url}: {mailer:?}");
        }
    }

    #[tokio::test]
    async fn mistakes_are_told_without_repeating_the_password() {
        for url in ["", "mail.example.org:25", "http://mail.example.org", "smtp://h?tls=sometimes"]
        {
            assert!(matches!(mailer(url, "a@example.org"), Err(SmtpConfigError::Url)), "{url}");
        }
        for url in [
            "smtp://user:hunter2@mail.example.org",
            "smtp://user:hunter2@mail.example.org?tls=opportunistic",
            "smtp://user:hunter2@10.0.0.1:25",
        ] {
            let error = mailer(url, "a@example.org").unwrap_err();
            assert!(matches!(error, SmtpConfigError::PlainPassword), "{url}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
        for from in ["", "Convene", "a@b@c", "Convene <a@example.org>\r\nBcc: x@example.org"] {
            let result = mailer("smtp://127.0.0.1:25", from);
            assert!(matches!(result, Err(SmtpConfigError::From)), "{from}");
        }
    }
}
