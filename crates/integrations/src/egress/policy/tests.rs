//! Every way that we know to write an address so that one program reads it and another does not.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use UrlRefused::{Address, Credentials, Malformed, Port, Scheme};

const HOST: UrlRefused = UrlRefused::Host;

fn public(url: &str) -> Result<(), UrlRefused> {
    WebhookUrlPolicy::new(Reach::Public).check(url)
}

fn private(url: &str) -> Result<(), UrlRefused> {
    WebhookUrlPolicy::new(Reach::Private).check(url)
}

#[test]
fn ordinary_urls_are_fine() {
    for url in [
        "https://hooks.example.org",
        "https://hooks.example.org/",
        "HTTPS://Hooks.Example.ORG/Path?query=1",
        "https://example.org:443/x",
        "https://example.org:1024/x",
        "https://example.org:65535/x",
        "https://8.8.8.8/x",
        "https://8.8.8.8:8443/x",
        "https://[2606:4700:4700::1111]:8443/x",
        "https://bücher.example/eingang",
        "https://xn--bcher-kva.example/",
        "https://example.org/a%20b/%2e%2e?u=https://user:pw@10.0.0.1/#part",
        "https://0x.example.org/",
        "https://127.0.0.1.example.org/",
        "https://localhost.example.org/",
        "https://mylocalhost.org/",
    ] {
        assert_eq!(public(url), Ok(()), "{url}");
        assert_eq!(private(url), Ok(()), "{url}");
    }
}

#[test]
fn numeric_hosts_are_refused_in_every_form_but_the_canonical() {
    for url in [
        "https://0177.0.0.1/",
        "https://0x7f.0.0.1/",
        "https://0x7f000001/",
        "https://2130706433/",
        "https://017700000001/",
        "https://127.1/",
        "https://127.0.1/",
        "https://127.0.0.01/",
        "https://127.0.0.1./",
        "https://%31%32%37.0.0.1/",
        "https://１２７.0.0.1/",
        "https://①②⑦.⓪.⓪.①/",
        "https://127。0。0。1/",
        "https://0/",
        "https://0x0/",
        "https://0xA9FEA9FE/",
    ] {
        assert!(matches!(public(url), Err(UrlRefused::Host | Address)), "{url}");
        assert!(matches!(private(url), Err(UrlRefused::Host | Address)), "{url}");
    }
    // Public addresses in disguise are refused for the disguise.
    for url in [
        "https://010.8.8.8/",
        "https://0x08080808/",
        "https://134744072/",
        "https://8.8.2056/",
        "https://8.8.8.8./",
        "https://８.8.8.8/",
        "https://256.8.8.8/",
        "https://8.8.8.8.8/",
        "https://99999999999/",
        "https://1.2.3.4.0x5/",
    ] {
        assert_eq!(public(url), Err(HOST), "{url}");
        assert_eq!(private(url), Err(HOST), "{url}");
    }
}

#[test]
fn literal_addresses_are_vetted() {
    for url in [
        "https://127.0.0.1/",
        "https://10.0.0.1:8443/",
        "https://169.254.169.254/latest/meta-data/",
        "https://192.168.1.1/",
        "https://0.0.0.0/",
        "https://255.255.255.255/",
        "https://[::1]/",
        "https://[::]/",
        "https://[0:0:0:0:0:0:0:1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:7f00:1]/",
        "https://[::ffff:8.8.8.8]/",
        "https://[::127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[64:ff9b:1::1]/",
        "https://[2002:7f00:1::]/",
        "https://[2001::1]/",
        "https://[fe80::1]/",
        "https://[fec0::1]/",
        "https://[fd00:ec2::254]/",
        "https://[100::1]/",
        "https://[5f00::1]/",
        "https://[ff02::1]/",
    ] {
        assert_eq!(public(url), Err(Address), "{url}");
    }
    assert!(public("https://[fe80::1%25eth0]/").is_err(), "zone identifiers");
    assert!(public("https://[::1/").is_err());
}

#[test]
fn local_names_are_refused() {
    for url in [
        "https://localhost/",
        "https://LOCALHOST/",
        "https://localhost./",
        "https://a.localhost/",
        "https://a.b.localhost/",
        "https://ⓛocalhost/",
        "https://loc%61lhost/",
        "https://printer.local/",
        "https://metadata.google.internal/",
        "https://router.home.arpa/",
        "https://intranet/",
        "https://example.org./",
        "https://.example.org/",
        "https://example..org/",
    ] {
        assert!(matches!(public(url), Err(UrlRefused::Host | Malformed)), "{url}");
    }
}

#[test]
fn credentials_are_refused() {
    for url in [
        "https://user@example.org/",
        "https://user:password@example.org/",
        "https://:password@example.org/",
        "https://@example.org/",
        "https://example.org@8.8.8.8/",
        "https://a:b@c@example.org/",
    ] {
        assert_eq!(public(url), Err(Credentials), "{url}");
        assert_eq!(private(url), Err(Credentials), "{url}");
    }
}

#[test]
fn odd_schemes_are_refused() {
    for url in [
        "http://example.org/",
        "ftp://example.org/",
        "file:///etc/passwd",
        "gopher://example.org:6379/_FLUSHALL",
        "ws://example.org/",
        "unix:///var/run/docker.sock",
        "javascript://example.org/%0aalert(1)",
        "httpss://example.org/",
    ] {
        assert!(matches!(public(url), Err(Scheme | Malformed)), "{url}: {:?}", public(url));
    }
    assert_eq!(public("http://example.org/"), Err(Scheme));
    assert_eq!(private("ftp://example.org/"), Err(Scheme));
}

#[test]
fn odd_ports_are_refused() {
    for port in [0, 1, 22, 25, 80, 442, 444, 1_023] {
        assert_eq!(public(&format!("https://example.org:{port}/")), Err(Port), "{port}");
    }
    assert_eq!(public("https://example.org:65536/"), Err(Malformed));
    assert_eq!(public("https://example.org:x/"), Err(Malformed));
    assert_eq!(private("http://127.0.0.1:0/"), Err(Port));
}

#[test]
fn what_programs_read_differently_is_no_url() {
    for url in [
        "",
        "example.org",
        "//example.org/",
        "/path",
        "https:",
        "https://",
        "https:example.org",
        "https:/example.org",
        "https:///example.org",
        "https:\\\\example.org\\",
        "https://example.org\\@8.8.8.8/",
        " https://example.org/",
        "https://example.org/ ",
        "https://exam\nple.org/",
        "ht\ttps://example.org/",
        "https://example.org/\0",
        "https://exa mple.org/",
        "https://?",
        "https://#",
    ] {
        assert_eq!(public(url), Err(Malformed), "{url:?}");
        assert_eq!(private(url), Err(Malformed), "{url:?}");
    }
    let longest = format!("https://example.org/{}", "a".repeat(2_048 - 20));
    assert_eq!(public(&longest), Ok(()));
    assert_eq!(public(&(longest + "a")), Err(Malformed));
}

#[test]
fn private_reach_adds_http_loopback_and_any_port() {
    for url in [
        "http://127.0.0.1:9000/hook",
        "http://localhost:9000/hook",
        "http://[::1]:9000/",
        "http://receiver:80/",
        "https://10.0.0.1:22/",
        "http://example.org/",
        "http://host.docker.internal:9000/",
    ] {
        assert_eq!(private(url), Ok(()), "{url}");
        assert!(public(url).is_err(), "{url}");
    }
    assert_eq!(private("http://a.localhost:9000/"), Err(HOST));
    assert_eq!(private("http://localhost.:9000/"), Err(HOST));
    assert_eq!(private("http://169.254.169.254/"), Err(Address));
}
/// An address in one of the ways that C libraries, browsers and curl read it.
fn disguised(address: Ipv4Addr, form: u8) -> String {
    let [a, b, c, d] = address.octets();
    let bits = address.to_bits();
    match form {
        0 => format!("{bits}"),
        1 => format!("0x{bits:x}"),
        2 => format!("0{bits:o}"),
        3 => format!("0{a:o}.{b}.{c}.{d}"),
        4 => format!("{a}.{b}.{c}.0x{d:x}"),
        5 => format!("{a}.{}", bits & 0x00ff_ffff),
        6 => format!("{a}.{b}.{}", bits & 0xffff),
        7 => format!("{address}."),
        8 => address.to_string().chars().map(|c| format!("%{:02x}", c as u32)).collect(),
        _ => address.to_string().replace('.', "\u{ff0e}"),
    }
}

proptest! {
    #[test]
    fn no_disguise_of_an_address_is_accepted(bits: u32, form in 0..=9_u8) {
        let host = disguised(Ipv4Addr::from_bits(bits), form);
        prop_assert!(public(&format!("https://{host}/")).is_err(), "{}", host);
        prop_assert!(private(&format!("http://{host}:8080/")).is_err(), "{}", host);
    }

    #[test]
    fn whatever_is_accepted_names_a_public_host(
        text in "(https?:/{0,3})?[0-9a-fxl.%:@\\[\\]\\\\/?#\u{3002}\u{ff11}]{0,40}"
    ) {
        if let Ok(url) = WebhookUrlPolicy::new(Reach::Public).accept(&text) {
            prop_assert_eq!(url.scheme(), "https");
            match url.host() {
                Some(Host::Domain(name)) => prop_assert!(name.contains('.')),
                Some(Host::Ipv4(address)) => prop_assert!(Reach::Public.covers(address.into())),
                Some(Host::Ipv6(address)) => prop_assert!(Reach::Public.covers(address.into())),
                None => prop_assert!(false, "{} has no host", text),
            }
        }
    }
}
