//! A connection to the broker that ends when it is dropped, whatever state it is in.

use std::sync::Arc;
use std::time::Duration;

use lapin::{AsyncTcpStream, Channel, Connection, ConnectionProperties, Event};
use tokio::time::timeout;

use super::transport::{self, Tether};
use super::{BrokerError, RabbitOptions};

/// How long the broker may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// A connection to the broker.
pub(super) struct Link {
    connection: Connection,
    /// Dropped last: a connection that was closed properly has nothing left to cut.
    _tether: Arc<Tether>,
}

impl Link {
    /// Connects and logs in; `purpose` is what the broker shows its operators.
    pub(super) async fn open(options: &RabbitOptions, purpose: &str) -> Result<Self, BrokerError> {
        let patience = options.connect;
        let tether = Arc::new(Tether::default());
        let held = Arc::downgrade(&tether);
        let connecting = Connection::connector(
            options.uri()?,
            transport::runtime(),
            // Runs on lapin's thread, which does not hear that nobody waits any more.
            async move |uri, _| match timeout(patience, transport::open(&uri, &held)).await {
                Ok(opened) => Ok(AsyncTcpStream::Plain(opened?)),
                Err(late) => Err(std::io::Error::from(late).into()),
            },
            ConnectionProperties::default()
                .with_connection_name(format!("convene {purpose}").into()),
        );
        let connection = timeout(patience, connecting).await.map_err(|_| BrokerError::Late)??;
        Ok(Self { connection, _tether: tether })
    }

    /// Opens a channel.
    pub(super) async fn channel(&self) -> Result<Channel, BrokerError> {
        Ok(self.connection.create_channel().await?)
    }

    /// What happens to the connection from now on. To be asked for once: each event goes to one listener.
    pub(super) fn events(&self) -> impl futures::Stream<Item = Event> + Send + 'static {
        self.connection.events_listener()
    }

    /// Whether it can be used, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        self.connection.status().connected()
    }

    /// Whether the broker takes nothing from it now.
    pub(super) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Ends it as the protocol wants, after all that was sent on it. A broker that does not answer is left to find out.
    pub(super) async fn close(self) {
        let closing = self.connection.close(200, "OK".into());
        match timeout(GOODBYE, closing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "a connection ended before it was closed"
                );
            }
            Err(_) => tracing::debug!("the broker did not answer the end of a connection"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpListener;

    use secrecy::SecretString;

    use super::*;

    /// A listener that accepts and says nothing, and what is sent to it until the stream ends.
    async fn sent_to_nobody(scheme: &str, patience: Duration) -> Vec<u8> {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{scheme}://{}", silent.local_addr().unwrap());
        let options =
            RabbitOptions { connect: patience, ..RabbitOptions::new(SecretString::from(url)) };
        assert!(Link::open(&options, "test").await.is_err());

        let (mut accepted, _) = silent.accept().unwrap();
        accepted.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut sent = Vec::new();
        accepted.read_to_end(&mut sent).expect("the end of the stream, not a silence");
        sent
    }

    #[tokio::test]
    async fn a_handshake_that_nobody_answers_ends_and_leaves_nothing_open() {
        let sent = sent_to_nobody("amqp", Duration::from_millis(200)).await;
        assert_eq!(sent, b"AMQP\x00\x00\x09\x01");
    }

    #[tokio::test]
    async fn amqps_begins_with_tls() {
        // The trust anchors are read first, which takes a moment.
        let client_hello = sent_to_nobody("amqps", Duration::from_secs(3)).await;
        // A handshake record of TLS, RFC 8446, section 5.1.
        assert_eq!(client_hello[..2], [22, 3]);
    }
}
