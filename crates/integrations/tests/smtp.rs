//! Mail to an SMTP server that speaks just enough of RFC 5321, and refuses on command.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use convene_application::kernel::clock::SystemClock;
use convene_application::kernel::mail::{MailError, Mailer, Message};
use convene_domain::text::EmailAddress;
use convene_integrations::email::{SmtpMailer, SmtpSilence, SmtpTimeouts};
use jiff::Timestamp;
use secrecy::SecretString;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Short enough for a test, long enough for a busy machine.
const TIMEOUTS: SmtpTimeouts =
    SmtpTimeouts { command: Duration::from_secs(2), exchange: Duration::from_secs(4) };

/// What the server answers to the command that begins with this word; everything else is fine with it.
type Refusals = &'static [(&'static str, &'static str)];

#[derive(Clone)]
struct SmtpServer {
    port: u16,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    connections: usize,
    commands: Vec<String>,
    mails: Vec<String>,
}

impl SmtpServer {
    async fn start(refusals: Refusals) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Self { port, seen: Arc::default() };
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepting.seen.lock().unwrap().connections += 1;
                // How the connection ends is the client's business.
                tokio::spawn(accepting.clone().converse(stream, refusals));
            }
        });
        server
    }

    async fn converse(self, stream: TcpStream, refusals: Refusals) -> std::io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        write.write_all(b"220 test ESMTP\r\n").await?;
        while let Some(line) = lines.next_line().await? {
            self.seen.lock().unwrap().commands.push(line.clone());
            let word = line.split([' ', ':']).next().unwrap_or_default().to_uppercase();
            if let Some((_, reply)) = refusals.iter().find(|(refused, _)| *refused == word) {
                write.write_all(format!("{reply}\r\n").as_bytes()).await?;
                continue;
            }
            let reply = match word.as_str() {
                "EHLO" => "250-test\r\n250-8BITMIME\r\n250 AUTH PLAIN",
                "DATA" => {
                    write.write_all(b"354 go on\r\n").await?;
                    let mut mail = String::new();
                    while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                        mail.push_str(&line);
                        mail.push('\n');
                    }
                    self.seen.lock().unwrap().mails.push(mail);
                    "250 taken"
                }
                "AUTH" => "235 welcome",
                "QUIT" => "221 bye",
                _ => "250 fine",
            };
            write.write_all(format!("{reply}\r\n").as_bytes()).await?;
        }
        Ok(())
    }

    fn mailer(&self, credentials: &str) -> SmtpMailer {
        let url = SecretString::from(format!("smtp://{credentials}127.0.0.1:{}", self.port));
        let from = "Convene <no-reply@convene.example>";
        SmtpMailer::new(&url, from, TIMEOUTS, Arc::new(SystemClock)).unwrap()
    }

    fn mails(&self) -> Vec<String> {
        self.seen.lock().unwrap().mails.clone()
    }
}

fn ada() -> EmailAddress {
    EmailAddress::new("ada@example.org").unwrap()
}

fn verify(display_name: &str) -> Message {
    Message::VerifyEmail {
        display_name: display_name.to_owned(),
        token: "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG".to_owned(),
        expires_at: Timestamp::UNIX_EPOCH,
    }
}

#[tokio::test]
async fn a_mail_arrives_with_its_token_in_plain_sight() {
    let server = SmtpServer::start(&[]).await;
    server.mailer("").send("job-1", &ada(), &verify("Ada")).await.unwrap();
    let [mail] = &server.mails()[..] else { panic!("one mail") };
    assert!(mail.contains("\ntoken: 0123456789abcdefghijklmnopqrstuvwxyzABCDEFG\n"), "{mail}");
    assert!(mail.contains("\nSubject: Confirm your e-mail address\n"), "{mail}");
    let seen = server.seen.lock().unwrap();
    assert!(seen.commands.iter().any(|line| line == "MAIL FROM:<no-reply@convene.example>"));
    assert!(seen.commands.iter().any(|line| line == "RCPT TO:<ada@example.org>"));
}

#[tokio::test]
async fn attempts_share_their_message_id() {
    let server = SmtpServer::start(&[]).await;
    let mailer = server.mailer("");
    for id in ["job-1", "job-1", "job-2"] {
        mailer.send(id, &ada(), &Message::SessionRevoked).await.unwrap();
    }
    let ids: Vec<String> = server
        .mails()
        .iter()
        .map(|mail| mail.lines().find(|line| line.starts_with("Message-ID:")).unwrap().to_owned())
        .collect();
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0], ids[2]);
    // A connection goes back behind the caller's back, so the second mail may need one of its own.
    assert!(server.seen.lock().unwrap().connections < 3, "connections are kept");
}

#[tokio::test]
async fn names_in_any_script_arrive_encoded_and_add_no_header() {
    let server = SmtpServer::start(&[]).await;
    let promoted = Message::Promoted {
        event: "Zürich\r\nBcc: all@example.org\r\n\r\n正しい馬".to_owned(),
        starts_at_local: "2027-05-01T20:00:00".parse().unwrap(),
        time_zone: "Europe/Zurich".to_owned(),
        party_size: 1,
    };
    server.mailer("").send("job-1", &ada(), &promoted).await.unwrap();
    let mail = &server.mails()[0];
    let head = mail.split("\n\n").next().unwrap();
    assert!(head.is_ascii() && head.contains("=?utf-8?"), "{head}");
    assert!(!head.lines().any(|line| line.starts_with("Bcc")), "{head}");
    let seen = server.seen.lock().unwrap();
    assert_eq!(seen.commands.iter().filter(|line| line.starts_with("RCPT")).count(), 1);
}

#[tokio::test]
async fn refusals_are_told_apart_by_whether_another_attempt_may_help() {
    let permanent: [Refusals; 3] = [
        &[("RCPT", "550 no such user")],
        &[("MAIL", "553 not from you")],
        &[("RCPT", "551-not here\r\n551 nor there")],
    ];
    for refusals in permanent {
        let server = SmtpServer::start(refusals).await;
        let sent = server.mailer("").send("job-1", &ada(), &verify("Ada")).await;
        assert!(matches!(sent, Err(MailError::Permanent(_))), "{refusals:?}: {sent:?}");
    }
    let transient: [Refusals; 4] = [
        &[("RCPT", "450 greylisted")],
        &[("MAIL", "421 too many connections")],
        &[("MAIL", "530 log in first")],
        &[("DATA", "452 disk full")],
    ];
    for refusals in transient {
        let server = SmtpServer::start(refusals).await;
        let sent = server.mailer("").send("job-1", &ada(), &verify("Ada")).await;
        assert!(matches!(sent, Err(MailError::Transient(_))), "{refusals:?}: {sent:?}");
    }
}

#[tokio::test]
async fn a_refused_login_is_for_the_operator_to_mend() {
    let server = SmtpServer::start(&[("AUTH", "535 wrong password")]).await;
    let sent = server.mailer("user:wrong@").send("job-1", &ada(), &verify("Ada")).await;
    assert!(matches!(sent, Err(MailError::Transient(_))), "{sent:?}");

    let server = SmtpServer::start(&[]).await;
    server.mailer("user:p%40ss@").send("job-1", &ada(), &verify("Ada")).await.unwrap();
    let seen = server.seen.lock().unwrap();
    // NUL user NUL p@ss
    assert!(
        seen.commands.iter().any(|line| line == "AUTH PLAIN AHVzZXIAcEBzcw=="),
        "{:?}",
        seen.commands
    );
}

#[tokio::test]
async fn an_address_that_the_server_cannot_write_is_refused_for_good() {
    let server = SmtpServer::start(&[]).await;
    let to = EmailAddress::new("zoë@example.org").unwrap();
    let sent = server.mailer("").send("job-1", &to, &verify("Zoë")).await;
    assert!(matches!(sent, Err(MailError::Permanent(_))), "{sent:?}");
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn a_server_that_is_down_is_tried_again_later() {
    let server = SmtpServer::start(&[]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let sent = SmtpServer { port, ..server }.mailer("").send("job-1", &ada(), &verify("Ada")).await;
    assert!(matches!(sent, Err(MailError::Transient(_))), "{sent:?}");
}

#[tokio::test]
async fn a_server_that_says_nothing_does_not_hold_the_job() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = SmtpServer { port, seen: Arc::default() };
    let started = std::time::Instant::now();
    let sent = server.mailer("").send("job-1", &ada(), &verify("Ada")).await;
    assert!(matches!(sent, Err(MailError::Transient(_))), "{sent:?}");
    assert!(started.elapsed() < TIMEOUTS.exchange * 2);
}

#[tokio::test]
async fn a_greeting_logs_in_and_sends_nothing() {
    let server = SmtpServer::start(&[]).await;
    server.mailer("user:p%40ss@").greet().await.unwrap();
    assert!(server.mails().is_empty());
    let commands = server.seen.lock().unwrap().commands.clone();
    assert!(commands.iter().any(|line| line.starts_with("EHLO")), "{commands:?}");
    assert!(commands.iter().any(|line| line.starts_with("AUTH")), "{commands:?}");
    assert!(!commands.iter().any(|line| line.starts_with("MAIL")), "{commands:?}");

    let refusing = SmtpServer::start(&[("AUTH", "535 wrong password")]).await;
    let greeted = refusing.mailer("user:wrong@").greet().await;
    assert!(matches!(greeted, Err(SmtpSilence::Refused(_))), "{greeted:?}");
    let busy = SmtpServer::start(&[("EHLO", "421 come back later")]).await;
    assert!(busy.mailer("").greet().await.is_err());
}
