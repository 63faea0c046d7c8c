//! Against an echo server.

use std::{io::ErrorKind, time::Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::*;
use crate::poll::poll_until;

const SOON: Duration = Duration::from_secs(10);
/// Long enough to believe that nothing comes.
const NEVER: Duration = Duration::from_millis(200);

/// An echo server that says goodbye when its client has sent all, and a proxy before it.
async fn proxied_echo() -> FaultProxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                if tokio::io::copy(&mut from, &mut to).await.is_ok() {
                    to.write_all(b"bye").await.unwrap();
                }
            });
        }
    });
    FaultProxy::start(upstream).unwrap()
}

async fn connect(proxy: &FaultProxy) -> TcpStream {
    TcpStream::connect(proxy.addr()).await.unwrap()
}

/// Sends a word and waits for its echo.
async fn echo(stream: &mut TcpStream) -> io::Result<Duration> {
    let begun = Instant::now();
    stream.write_all(b"hello").await?;
    let mut reply = [0; 5];
    timeout(SOON, stream.read_exact(&mut reply)).await??;
    assert_eq!(&reply, b"hello");
    Ok(begun.elapsed())
}

#[tokio::test]
async fn it_passes_bytes_and_the_end_of_each_direction() {
    let proxy = proxied_echo().await;
    let mut stream = connect(&proxy).await;
    echo(&mut stream).await.unwrap();
    assert_eq!(proxy.connections(), 1);
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"bye");
    poll_until(SOON, "no connection is left", async || (proxy.connections() == 0).then_some(()))
        .await;
}

#[tokio::test]
async fn a_delay_holds_both_directions_and_does_not_limit_bandwidth() {
    let proxy = proxied_echo().await;
    let mut stream = connect(&proxy).await;
    echo(&mut stream).await.unwrap();
    proxy.set(Fault::Delay(Duration::from_millis(100)));
    assert!(echo(&mut stream).await.unwrap() >= Duration::from_millis(200));

    let begun = Instant::now();
    for _ in 0..20 {
        stream.write_all(b"hello").await.unwrap();
        sleep(Duration::from_millis(2)).await;
    }
    let mut replies = [0; 100];
    stream.read_exact(&mut replies).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(2000), "delays added up");

    proxy.set(Fault::Delay(Duration::from_secs(3600)));
    stream.write_all(b"hello").await.unwrap();
    assert!(timeout(NEVER, stream.read(&mut [0; 1])).await.is_err(), "not delayed");
    proxy.set(Fault::Pass);
    let mut reply = [0; 5];
    timeout(SOON, stream.read_exact(&mut reply)).await.expect("the delay has ended").unwrap();
}

#[tokio::test]
async fn a_throttle_limits_bandwidth() {
    let proxy = proxied_echo().await;
    let mut stream = connect(&proxy).await;
    proxy.set(Fault::Throttle { bytes_per_second: 10_000 });
    let begun = Instant::now();
    stream.write_all(&[7; 5_000]).await.unwrap();
    let mut reply = [0; 5_000];
    stream.read_exact(&mut reply).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(400), "{:?}", begun.elapsed());
    assert_eq!(reply, [7; 5_000]);
}

#[tokio::test]
async fn a_cut_closes_connections_and_refuses_new_ones_until_it_ends() {
    let proxy = proxied_echo().await;
    let mut stream = connect(&proxy).await;
    echo(&mut stream).await.unwrap();

    proxy.set(Fault::Cut);
    assert_eq!(timeout(SOON, stream.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
    let error = TcpStream::connect(proxy.addr()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);

    proxy.set(Fault::Pass);
    echo(&mut connect(&proxy).await).await.unwrap();
}

#[tokio::test]
async fn a_partition_is_silent_and_loses_nothing() {
    let proxy = proxied_echo().await;
    let mut old = connect(&proxy).await;
    echo(&mut old).await.unwrap();

    proxy.set(Fault::HalfOpen);
    let mut new = connect(&proxy).await;
    let mut reply = [0; 5];
    for stream in [&mut old, &mut new] {
        stream.write_all(b"hello").await.unwrap();
        assert!(timeout(NEVER, stream.read(&mut reply)).await.is_err(), "not silent");
    }

    proxy.set(Fault::Pass);
    for stream in [&mut old, &mut new] {
        timeout(SOON, stream.read_exact(&mut reply)).await.unwrap().unwrap();
        assert_eq!(&reply, b"hello");
    }
}

#[tokio::test]
async fn a_reset_is_felt_as_one() {
    let proxy = proxied_echo().await;
    let mut old = connect(&proxy).await;
    echo(&mut old).await.unwrap();
    proxy.set(Fault::Reset);
    let error = timeout(SOON, old.read(&mut [0; 1])).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);

    // The reset may come before `connect` has returned, or after.
    let new = async { TcpStream::connect(proxy.addr()).await?.read(&mut [0; 1]).await };
    let error = timeout(SOON, new).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);

    proxy.set(Fault::Pass);
    echo(&mut connect(&proxy).await).await.unwrap();
}

#[tokio::test]
async fn an_upstream_that_is_not_there_shows_as_a_closed_connection() {
    let proxy = FaultProxy::start(("127.0.0.1", convene_embedded::port::free().unwrap())).unwrap();
    let mut stream = connect(&proxy).await;
    assert_eq!(timeout(SOON, stream.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn dropping_it_closes_everything() {
    let proxy = proxied_echo().await;
    let mut stream = connect(&proxy).await;
    echo(&mut stream).await.unwrap();
    let addr = proxy.addr();
    drop(proxy);
    // The client may have been told by FIN or, with bytes unread, by RST.
    assert!(!matches!(timeout(SOON, stream.read(&mut [0; 1])).await.unwrap(), Ok(1)));
    assert!(TcpStream::connect(addr).await.is_err());
}
