//! Server-side request forgery, as one table: what must not be reached, and how somebody might write it. Each line is
//! tried when an endpoint is made, when a request is about to be sent, and as the answer of a resolver.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use convene_application::kernel::clock::SystemClock;
use convene_application::webhook::egress::{SignedRequest, UrlPolicy as _, WebhookSender as _};
use convene_integrations::egress::{Bounds, HttpWebhookSender, Lookup, Reach, WebhookUrlPolicy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Range, its first and its last address.
const RANGES: &str = "
    0.0.0.0/8         0.0.0.0           0.255.255.255
    10.0.0.0/8        10.0.0.0          10.255.255.255
    100.64.0.0/10     100.64.0.0        100.127.255.255
    127.0.0.0/8       127.0.0.0         127.255.255.255
    loopback          127.0.0.1         127.0.0.1
    169.254.0.0/16    169.254.0.0       169.254.255.255
    metadata          169.254.169.254   169.254.169.254
    metadata:azure    168.63.129.16     168.63.129.16
    metadata:alibaba  100.100.100.200   100.100.100.200
    metadata:aws      fd00:ec2::254     fd00:ec2::254
    172.16.0.0/12     172.16.0.0        172.31.255.255
    192.0.0.0/24      192.0.0.0         192.0.0.255
    documentation:1   192.0.2.0         192.0.2.255
    documentation:2   198.51.100.0      198.51.100.255
    documentation:3   203.0.113.0       203.0.113.255
    192.88.99.0/24    192.88.99.0       192.88.99.255
    192.168.0.0/16    192.168.0.0       192.168.255.255
    198.18.0.0/15     198.18.0.0        198.19.255.255
    multicast:4       224.0.0.0         239.255.255.255
    240.0.0.0/4       240.0.0.0         255.255.255.255
    unspecified       ::                ::
    loopback:6        ::1               ::1
    ::a.b.c.d         ::1.2.3.4         ::255.255.255.255
    ::ffff:0:0/96     ::ffff:0.0.0.0    ::ffff:255.255.255.255
    mapped:public     ::ffff:8.8.8.8    ::ffff:8.8.8.8
    fe80::/10         fe80::            febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff
    fec0::/10         fec0::            feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
    fc00::/7          fc00::            fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
    2001::/32         2001::            2001:0:ffff:ffff:ffff:ffff:ffff:ffff
    documentation:6   2001:db8::        2001:db8:ffff:ffff:ffff:ffff:ffff:ffff
    documentation:6b  3fff::            3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff
    2002::/16         2002::            2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff
    64:ff9b::/96      64:ff9b::         64:ff9b::255.255.255.255
    64:ff9b:1::/48    64:ff9b:1::       64:ff9b:1:ffff:ffff:ffff:ffff:ffff
    100::/64          100::             100::ffff:ffff:ffff:ffff
    5f00::/16         5f00::            5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff
    multicast:6       ff00::            ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff
";

/// What is odd about it, the URL, and what is said of it before a connection is made.
const FORMS: &str = "
    octal             https://0177.0.0.1/                 address_refused
    octal:one         https://017700000001/               address_refused
    octal:public      https://010.8.8.8/                  url_refused
    hex               https://0x7f.0.0.1/                 address_refused
    hex:one           https://0x7f000001/                 address_refused
    decimal           https://2130706433/                 address_refused
    decimal:metadata  https://2852039166/                 address_refused
    short:2           https://127.1/                      address_refused
    short:3           https://127.0.1/                    address_refused
    short:public      https://8.8.2056/                   url_refused
    zero              https://0/                          address_refused
    padded            https://127.0.0.01/                 address_refused
    trailing-dot      https://127.0.0.1./                 address_refused
    full-width        https://１２７.0.0.1/               address_refused
    circled           https://①②⑦.⓪.⓪.①/                 address_refused
    ideographic-dots  https://127。0。0。1/               address_refused
    percent           https://%31%32%37.0.0.1/            address_refused
    too-large         https://256.8.8.8/                  url_refused
    five-parts        https://8.8.8.8.8/                  url_refused
    zone              https://[fe80::1%25eth0]/           url_refused
    mapped            https://[::ffff:7f00:1]/            address_refused
    localhost         https://localhost/                  url_refused
    localhost.        https://localhost./                 url_refused
    a.localhost       https://a.localhost/                url_refused
    LOCALHOST         https://LOCALHOST/                  url_refused
    mdns              https://printer.local/              url_refused
    internal          https://metadata.google.internal/   url_refused
    one-label         https://intranet/                   url_refused
    name.             https://example.org./               url_refused
    user              https://user@example.org/           url_refused
    user:password     https://user:password@example.org/  url_refused
    empty-user        https://@example.org/               url_refused
    disguised-user    https://example.org@127.0.0.1/      url_refused
    backslash         https://example.org\\@127.0.0.1/     url_refused
    scheme:http       http://example.org/                 url_refused
    scheme:ftp        ftp://example.org/                  url_refused
    scheme:file       file:///etc/passwd                  url_refused
    scheme:gopher     gopher://example.org:6379/_FLUSHALL url_refused
    scheme:ws         wss://example.org/                  url_refused
    scheme:data       data:text/plain,x                   url_refused
    port:0            https://example.org:0/              url_refused
    port:22           https://example.org:22/             url_refused
    port:25           https://example.org:25/             url_refused
    port:80           https://example.org:80/             url_refused
    port:1023         https://example.org:1023/           url_refused
    port:65536        https://example.org:65536/          url_refused
    relative          //example.org/                      url_refused
    one-slash         https:/example.org/                 url_refused
    no-host           https:///path                       url_refused
";

const BOUNDS: Bounds = Bounds {
    connect: Duration::from_secs(1),
    exchange: Duration::from_secs(2),
    response_bytes: 16 * 1024,
};
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(93, 184, 216, 34));

fn lines(table: &str) -> Vec<[&str; 3]> {
    let lines = table.lines().filter(|line| !line.trim().is_empty());
    let fields = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields.map(|fields| fields.try_into().expect("three fields")).collect()
}

/// A resolver that gives each answer once, the last for ever.
#[derive(Clone)]
struct Resolver {
    answers: Arc<Mutex<VecDeque<Vec<IpAddr>>>>,
    asked: Arc<AtomicUsize>,
}

impl Resolver {
    fn new(answers: Vec<Vec<IpAddr>>) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.into())), asked: Arc::default() }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Lookup for Resolver {
    async fn lookup(&self, _name: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut answers = self.answers.lock().unwrap();
        let answer = answers.pop_front().unwrap_or_default();
        if answers.is_empty() {
            answers.push_back(answer.clone());
        }
        Ok(answer)
    }
}

/// What came of a request: the status, and what failed.
async fn sent(resolver: &Resolver, reach: Reach, url: &str) -> (Option<u16>, Option<String>) {
    let lookup = Arc::new(resolver.clone());
    let sender = HttpWebhookSender::with(reach, lookup, BOUNDS, Arc::new(SystemClock)).unwrap();
    let (url, body) = (url.to_owned(), Bytes::from_static(b"{}"));
    let attempted = sender.post(SignedRequest { url, headers: Vec::new(), body }).await;
    (attempted.status, attempted.error)
}

fn refused(word: &str) -> (Option<u16>, Option<String>) {
    (None, Some(word.to_owned()))
}

/// A server on loopback that takes connections, counts them, and answers with these bytes.
async fn server(answer: &'static [u8]) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            let mut request = [0; 4_096];
            if stream.read(&mut request).await.is_ok() && stream.write_all(answer).await.is_ok() {
                // How the connection ends is the client's business.
                drop(stream.shutdown().await);
            }
        }
    });
    (port, connections)
}

#[tokio::test]
async fn no_address_of_these_ranges_is_reached() {
    for [range, first, last] in lines(RANGES) {
        for text in [first, last] {
            let address: IpAddr = text.parse().unwrap();
            let url = match address {
                IpAddr::V4(address) => format!("https://{address}:8443/"),
                IpAddr::V6(address) => format!("https://[{address}]:8443/"),
            };
            assert!(
                WebhookUrlPolicy::new(Reach::Public).check(&url).is_err(),
                "{range}: {text} at creation"
            );
            let nobody = Resolver::new(vec![vec![PUBLIC]]);
            let literal = sent(&nobody, Reach::Public, &url).await;
            assert_eq!(literal, refused("address_refused"), "{range}: {text} at connect");
            assert_eq!(nobody.asked(), 0, "a literal address is resolved by nobody");

            // One bad record spoils the name, wherever it stands.
            for answer in [
                vec![address],
                vec![PUBLIC, address],
                vec![address, PUBLIC],
                vec![PUBLIC, address, PUBLIC],
            ] {
                let resolver = Resolver::new(vec![answer.clone()]);
                let resolved = sent(&resolver, Reach::Public, "https://hooks.example:8443/").await;
                assert_eq!(resolved, refused("address_refused"), "{range}: {answer:?}");
                assert_eq!(resolver.asked(), 1, "{range}: {answer:?}");
            }
        }
    }
}

#[tokio::test]
async fn no_url_of_these_forms_is_used() {
    for [form, url, word] in lines(FORMS) {
        assert!(
            WebhookUrlPolicy::new(Reach::Public).check(url).is_err(),
            "{form}: {url} at creation"
        );
        let nobody = Resolver::new(vec![vec![PUBLIC]]);
        let sent = sent(&nobody, Reach::Public, url).await;
        assert_eq!(sent, refused(word), "{form}: {url} at connect");
        assert_eq!(nobody.asked(), 0, "{form}: {url} is resolved by nobody");
    }
}

/// A name that was public when it was vetted, and is private a moment later.
#[tokio::test]
async fn a_connection_goes_where_the_vetted_answer_said() {
    let (port, connections) = server(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    let resolver = Resolver::new(vec![vec![PUBLIC], vec![LOOPBACK]]);
    let url = format!("https://rebind.example:{port}/");
    let (status, error) = sent(&resolver, Reach::Public, &url).await;
    // Whatever became of the connection to the public address: nobody asked again, and nobody came here.
    assert_eq!(status, None, "{error:?}");
    assert_eq!((resolver.asked(), connections.load(Ordering::Relaxed)), (1, 0));
    // The next connection asks again, and is told what must not be reached.
    assert_eq!(sent(&resolver, Reach::Public, &url).await, refused("address_refused"));
    assert_eq!((resolver.asked(), connections.load(Ordering::Relaxed)), (2, 0));
}

#[tokio::test]
async fn a_redirect_leads_nowhere() {
    let (port, connections) = server(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    for status in [301, 302, 303, 307, 308] {
        let answer = format!(
            "HTTP/1.1 {status} Elsewhere\r\nLocation: http://127.0.0.1:{port}/\r\nContent-Length: 0\r\n\r\n"
        );
        let (redirecting, asked) = server(answer.leak().as_bytes()).await;
        let resolver = Resolver::new(vec![vec![LOOPBACK]]);
        let url = format!("http://hooks.example:{redirecting}/");
        assert_eq!(sent(&resolver, Reach::Private, &url).await, (Some(status), None));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
    assert_eq!(connections.load(Ordering::Relaxed), 0);
}

/// No more is taken of an answer than is read of it and than lies on the way in buffers.
#[tokio::test]
async fn of_a_huge_answer_little_is_taken() {
    const PROMISED: usize = 1 << 30;
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4_096];
        assert!(stream.read(&mut request).await.unwrap() > 0, "a request arrives");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {PROMISED}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut taken = 0;
        while taken < PROMISED {
            match stream.write(&[b'x'; 64 * 1_024]).await {
                Ok(bytes) => taken += bytes,
                Err(_) => break,
            }
        }
        taken
    });
    let resolver = Resolver::new(vec![vec![LOOPBACK]]);
    let sent = sent(&resolver, Reach::Private, &format!("http://hooks.example:{port}/")).await;
    assert_eq!(sent, (Some(200), None), "nobody waited for the end, or until the time was over");
    let taken = taken.await.unwrap();
    assert!(taken < 32 * 1_024 * 1_024, "{taken} bytes were taken");
}

/// A body that comes a byte at a time is waited for as long as one exchange may take, and no longer.
#[tokio::test]
async fn a_slow_drip_is_cut_off() {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4_096];
        assert!(stream.read(&mut request).await.unwrap() > 0, "a request arrives");
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
        let mut open = stream.write_all(head).await.is_ok();
        while open {
            tokio::time::sleep(Duration::from_millis(20)).await;
            open = stream.write_all(b"x").await.is_ok();
        }
    });
    let resolver = Resolver::new(vec![vec![LOOPBACK]]);
    let started = tokio::time::Instant::now();
    let sent = sent(&resolver, Reach::Private, &format!("http://hooks.example:{port}/")).await;
    assert_eq!(sent, (Some(200), Some("timeout".to_owned())));
    let took = started.elapsed();
    assert!(took >= BOUNDS.exchange && took < BOUNDS.exchange * 2, "{took:?}");
    assert_eq!(Bounds::default().exchange, Duration::from_secs(15));
    assert_eq!(Bounds::default().response_bytes, 16 * 1_024);
    assert_eq!(Bounds::default().connect, Duration::from_secs(5));
}
