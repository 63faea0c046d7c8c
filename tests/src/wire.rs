//! Requests that no client library would send, over a plain connection.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::app::App;

const PATIENCE: Duration = Duration::from_secs(40);

impl App {
    /// Sends bytes, and reads until the server closes the connection or has answered and says no more.
    ///
    /// # Panics
    /// If the server neither answers nor closes in time.
    pub async fn raw(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        // A server that refuses early may close while it is still being written to.
        let _ = stream.write_all(request).await;
        let _ = stream.shutdown().await;
        read(&mut stream).await
    }

    /// Sends a beginning at once and then a byte now and then, until the server has had enough. Returns what it answered
    /// and after how long.
    ///
    /// # Panics
    /// If the server takes it all.
    pub async fn drip(&self, beginning: &[u8], pause: Duration) -> (String, Duration) {
        let begun = Instant::now();
        let mut stream = self.connect().await;
        stream.write_all(beginning).await.expect("the server takes the beginning");
        let (mut reading, mut writing) = stream.into_split();
        let dripping = tokio::spawn(async move {
            while writing.write_all(b" ").await.is_ok() {
                sleep(pause).await;
            }
        });
        let mut reply = Vec::new();
        let mut chunk = [0; 4096];
        let read = timeout(PATIENCE, reading.read(&mut chunk)).await;
        if let Ok(length) = read.expect("the server has had enough some time") {
            reply.extend_from_slice(&chunk[..length]);
        }
        dripping.abort();
        (String::from_utf8_lossy(&reply).into_owned(), begun.elapsed())
    }

    async fn connect(&self) -> TcpStream {
        let address = self.base.trim_start_matches("http://");
        TcpStream::connect(address).await.expect("the server listens")
    }
}

async fn read(stream: &mut TcpStream) -> String {
    let mut reply = Vec::new();
    // A reset after an early refusal takes nothing away from what arrived before it.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut reply)).await.expect("the server closes");
    String::from_utf8_lossy(&reply).into_owned()
}
