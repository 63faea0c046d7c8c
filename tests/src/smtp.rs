//! A mail server that keeps what it gets: it speaks just enough of RFC 5321.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use convene_testkit::poll::poll_until;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::client::PATIENCE;

/// A mail server on a port of its own.
#[derive(Clone)]
pub struct MailServer {
    address: SocketAddr,
    mails: Arc<Mutex<Vec<Mail>>>,
}

/// One mail as it arrived.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Whom the envelope names.
    pub to: String,
    /// Headers and body.
    pub source: String,
}

impl MailServer {
    /// Starts one that takes everything.
    ///
    /// # Panics
    /// If no port of loopback is free.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        let address = listener.local_addr().expect("a bound socket has an address");
        let server = Self { address, mails: Arc::default() };
        let taking = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // How the connection ends is the client's business.
                tokio::spawn(taking.clone().converse(stream));
            }
        });
        server
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// How many mails somebody got.
    #[must_use]
    pub fn count(&self, to: &str) -> usize {
        let mails = self.mails.lock().unwrap_or_else(PoisonError::into_inner);
        mails.iter().filter(|mail| mail.to == to).count()
    }

    /// Waits for a mail to somebody that holds a text.
    pub async fn wait_for(&self, to: &str, text: &str) -> Mail {
        poll_until(PATIENCE, &format!("a mail to {to} says {text:?}"), async || {
            let mails = self.mails.lock().unwrap_or_else(PoisonError::into_inner);
            mails.iter().find(|mail| mail.to == to && mail.source.contains(text)).cloned()
        })
        .await
    }

    async fn converse(self, stream: TcpStream) -> std::io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        let mut to = String::new();
        write.write_all(b"220 test ESMTP\r\n").await?;
        while let Some(line) = lines.next_line().await? {
            let word = line.split([' ', ':']).next().unwrap_or_default().to_uppercase();
            let reply = match word.as_str() {
                "EHLO" => "250-test\r\n250 8BITMIME",
                "RCPT" => {
                    to = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                    "250 fine"
                }
                "DATA" => {
                    write.write_all(b"354 go on\r\n").await?;
                    let mut source = String::new();
                    while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                        source.push_str(&line);
                        source.push('\n');
                    }
                    let mail = Mail { to: std::mem::take(&mut to), source };
                    self.mails.lock().unwrap_or_else(PoisonError::into_inner).push(mail);
                    "250 taken"
                }
                "QUIT" => "221 bye",
                _ => "250 fine",
            };
            write.write_all(format!("{reply}\r\n").as_bytes()).await?;
        }
        Ok(())
    }
}

impl Mail {
    /// The token that the mail shows on a line of its own, if it does.
    #[must_use]
    pub fn token(&self) -> Option<String> {
        self.source.lines().find_map(|line| line.trim().strip_prefix("token: ").map(str::to_owned))
    }
}
