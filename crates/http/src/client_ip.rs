//! The client's address behind proxies.

use std::net::IpAddr;

use actix_web::dev::RequestHead;
use ipnet::IpNet;

/// The address nearest to us that is not a proxy of ours. `X-Forwarded-For` is read from the right, and only as long as
/// whoever wrote the next entry is trusted: everything left of that may be made up.
pub(crate) fn client_ip(head: &RequestHead, trusted: &[IpNet]) -> Option<IpAddr> {
    let mut address = unmapped(head.peer_addr?.ip());
    if !is_trusted(address, trusted) {
        return Some(address);
    }
    let hops = head
        .headers
        .get_all("x-forwarded-for")
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect::<Vec<_>>();
    for hop in hops.into_iter().rev() {
        if !is_trusted(address, trusted) {
            break;
        }
        let Ok(next) = hop.parse() else { break };
        address = unmapped(next);
    }
    Some(address)
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// `::ffff:a.b.c.d` is what a dual-stack socket makes of `a.b.c.d`.
fn unmapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn ip(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut request = TestRequest::default().peer_addr(format!("{peer}:1234").parse().unwrap());
        for value in forwarded {
            request = request.append_header(("x-forwarded-for", *value));
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        client_ip(request.to_http_request().head(), &trusted).unwrap().to_string()
    }

    #[test]
    fn believes_nobody_by_default() {
        assert_eq!(ip("198.51.100.7", &["203.0.113.9"], &[]), "198.51.100.7");
    }

    #[test]
    fn reads_from_the_right_through_trusted_hops_alone() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(ip("10.0.0.1", &["203.0.113.9"], &trusted), "203.0.113.9");
        assert_eq!(ip("10.0.0.1", &["6.6.6.6, 203.0.113.9, 10.0.0.2"], &trusted), "203.0.113.9");
        assert_eq!(ip("10.0.0.1", &["6.6.6.6", "203.0.113.9"], &trusted), "203.0.113.9");
        assert_eq!(ip("10.0.0.1", &["not an address"], &trusted), "10.0.0.1");
        assert_eq!(ip("[::ffff:10.0.0.1]", &["203.0.113.9"], &trusted), "203.0.113.9");
    }
}
