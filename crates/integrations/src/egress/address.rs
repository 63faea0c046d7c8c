//! Which addresses may be connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far requests may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The public internet alone.
    Public,
    /// Also this machine and private networks: for development and tests.
    Private,
}

/// IPv4 addresses that are not the public internet: IANA's special-purpose registry (RFC 6890), multicast, the reserved
/// rest, and what clouds answer on inside a virtual machine.
const IPV4_RESERVED: [(Ipv4Addr, u32); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8), // this network (RFC 791); Linux connects it to itself
    (Ipv4Addr::new(10, 0, 0, 0), 8), // private (RFC 1918)
    (Ipv4Addr::new(100, 64, 0, 0), 10), // shared by carriers (RFC 6598)
    (Ipv4Addr::new(127, 0, 0, 0), 8), // loopback (RFC 1122)
    (Ipv4Addr::new(168, 63, 129, 16), 32), // Azure's host agent
    (Ipv4Addr::new(169, 254, 0, 0), 16), // link-local (RFC 3927) and metadata services
    (Ipv4Addr::new(172, 16, 0, 0), 12), // private (RFC 1918)
    (Ipv4Addr::new(192, 0, 0, 0), 24), // protocol assignments (RFC 6890)
    (Ipv4Addr::new(192, 0, 2, 0), 24), // documentation (RFC 5737)
    (Ipv4Addr::new(192, 88, 99, 0), 24), // 6to4 relays, deprecated (RFC 7526)
    (Ipv4Addr::new(192, 168, 0, 0), 16), // private (RFC 1918)
    (Ipv4Addr::new(198, 18, 0, 0), 15), // benchmarks (RFC 2544)
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation (RFC 5737)
    (Ipv4Addr::new(203, 0, 113, 0), 24), // documentation (RFC 5737)
    (Ipv4Addr::new(224, 0, 0, 0), 4), // multicast (RFC 5771)
    (Ipv4Addr::new(240, 0, 0, 0), 4), // reserved (RFC 1112), broadcast among it
];

/// The one block that IANA has given out as global unicast. What lies outside needs no list: loopback, IPv4-mapped and
/// -compatible addresses, NAT64 (64:ff9b::/96 and 64:ff9b:1::/48), discard-only (100::/64), segment routing (5f00::/16),
/// unique local (fc00::/7), link- and site-local (fe80::/10, fec0::/10) and multicast (ff00::/8).
const IPV6_GLOBAL: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What inside the global block is not the public internet.
const IPV6_RESERVED: [(Ipv6Addr, u32); 5] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32), // Teredo, which embeds an IPv4 address (RFC 4380)
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments (RFC 2928)
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation (RFC 3849)
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4, which embeds an IPv4 address (RFC 3056)
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation (RFC 9637)
];

/// What [`Reach::Private`] adds: loopback, RFC 1918, carriers' shared space and unique local addresses. Metadata
/// services, multicast and what embeds another address stay out of reach.
const IPV4_PRIVATE: [(Ipv4Addr, u32); 5] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
];
const IPV6_PRIVATE: [(Ipv6Addr, u32); 2] =
    [(Ipv6Addr::LOCALHOST, 128), (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7)];
/// Metadata services that live in private ranges: Alibaba's and Amazon's.
const METADATA: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

impl Reach {
    /// Whether a connection to this address is allowed.
    #[must_use]
    pub fn covers(self, address: IpAddr) -> bool {
        match self {
            Self::Public => is_public(address),
            Self::Private => {
                is_public(address) || (is_private(address) && !METADATA.contains(&address))
            }
        }
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !IPV4_RESERVED.iter().any(|range| in_ipv4(address, *range)),
        IpAddr::V6(address) => {
            in_ipv6(address, IPV6_GLOBAL)
                && !IPV6_RESERVED.iter().any(|range| in_ipv6(address, *range))
        }
    }
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => IPV4_PRIVATE.iter().any(|range| in_ipv4(address, *range)),
        IpAddr::V6(address) => IPV6_PRIVATE.iter().any(|range| in_ipv6(address, *range)),
    }
}

fn in_ipv4(address: Ipv4Addr, (network, prefix): (Ipv4Addr, u32)) -> bool {
    (address.to_bits() ^ network.to_bits()).leading_zeros() >= prefix
}

fn in_ipv6(address: Ipv6Addr, (network, prefix): (Ipv6Addr, u32)) -> bool {
    (address.to_bits() ^ network.to_bits()).leading_zeros() >= prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First and last address of each range that must never be reached, with the public addresses right before and
    /// after it (`-` where the neighbour is reserved too).
    const RANGES: &str = "
        0.0.0.0            0.255.255.255     -                 1.0.0.0
        10.0.0.0           10.255.255.255    9.255.255.255     11.0.0.0
        100.64.0.0         100.127.255.255   100.63.255.255    100.128.0.0
        127.0.0.0          127.255.255.255   126.255.255.255   128.0.0.0
        168.63.129.16      168.63.129.16     168.63.129.15     168.63.129.17
        169.254.0.0        169.254.255.255   169.253.255.255   169.255.0.0
        172.16.0.0         172.31.255.255    172.15.255.255    172.32.0.0
        192.0.0.0          192.0.0.255       191.255.255.255   192.0.1.0
        192.0.2.0          192.0.2.255       192.0.1.255       192.0.3.0
        192.88.99.0        192.88.99.255     192.88.98.255     192.88.100.0
        192.168.0.0        192.168.255.255   192.167.255.255   192.169.0.0
        198.18.0.0         198.19.255.255    198.17.255.255    198.20.0.0
        198.51.100.0       198.51.100.255    198.51.99.255     198.51.101.0
        203.0.113.0        203.0.113.255     203.0.112.255     203.0.114.0
        224.0.0.0          239.255.255.255   223.255.255.255   -
        240.0.0.0          255.255.255.255   -                 -
        ::                 ::                -                 -
        ::1                ::1               -                 -
        ::                 ::ffff:ffff       -                 -
        ::ffff:0:0         ::ffff:ffff:ffff  -                 -
        64:ff9b::          64:ff9b::ffff:ffff -                -
        64:ff9b:1::        64:ff9b:1:ffff:ffff:ffff:ffff:ffff - -
        100::              100::ffff:ffff:ffff:ffff -          -
        2001::             2001:0:ffff:ffff:ffff:ffff:ffff:ffff 2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff -
        2001:1::           2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff - 2001:200::
        2001:db8::         2001:db8:ffff:ffff:ffff:ffff:ffff:ffff 2001:db7:ffff:ffff:ffff:ffff:ffff:ffff 2001:db9::
        2002::             2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff 2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff 2003::
        3fff::             3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff 3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff 3fff:1000::
        5f00::             5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff - -
        fc00::             fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff - -
        fe80::             febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff - -
        fec0::             feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff - -
        ff00::             ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff - -
        4000::             5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff -";

    #[test]
    fn every_reserved_range_is_out_of_reach_and_its_neighbours_are_not() {
        for line in RANGES.lines().filter(|line| !line.trim().is_empty()) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [first, last, before, after] = fields[..] else { panic!("{line}") };
            for reserved in [first, last] {
                let address = reserved.parse().unwrap();
                assert!(!Reach::Public.covers(address), "{reserved}");
            }
            for public in [before, after].into_iter().filter(|field| *field != "-") {
                let address = public.parse().unwrap();
                assert!(Reach::Public.covers(address), "{public}");
                assert!(Reach::Private.covers(address), "{public}");
            }
        }
    }

    #[test]
    fn every_address_in_a_reserved_range_is_out_of_reach() {
        for line in RANGES.lines().filter(|line| line.contains('.')) {
            let mut fields = line.split_whitespace().map(str::parse::<Ipv4Addr>);
            let (first, last) = (fields.next().unwrap().unwrap(), fields.next().unwrap().unwrap());
            let step = ((last.to_bits() - first.to_bits()) / 1_000).max(1);
            let mut bits = first.to_bits();
            while bits <= last.to_bits() {
                let inside = Ipv4Addr::from_bits(bits);
                assert!(!Reach::Public.covers(inside.into()), "{inside}");
                for carrier in [inside.to_ipv6_mapped(), inside.to_ipv6_compatible()] {
                    assert!(!Reach::Private.covers(carrier.into()), "{carrier}");
                }
                let Some(next) = bits.checked_add(step) else { break };
                bits = next;
            }
        }
    }

    #[test]
    fn well_known_public_addresses_are_reached() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "93.184.216.34",
            "2606:4700:4700::1111",
            "2001:4860:4860::8888",
            "2a00::1",
        ] {
            assert!(Reach::Public.covers(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn public_addresses_in_the_dress_of_ipv6_are_refused_too() {
        for address in ["::ffff:8.8.8.8", "::8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"] {
            assert!(!Reach::Public.covers(address.parse().unwrap()), "{address}");
            assert!(!Reach::Private.covers(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn private_reach_adds_this_machine_and_private_networks_and_nothing_else() {
        for address in [
            "127.0.0.1",
            "127.255.0.1",
            "::1",
            "10.1.2.3",
            "172.17.0.2",
            "192.168.1.1",
            "100.64.0.1",
            "fd12::1",
        ] {
            assert!(Reach::Private.covers(address.parse().unwrap()), "{address}");
            assert!(!Reach::Public.covers(address.parse().unwrap()), "{address}");
        }
        for address in [
            "0.0.0.0",
            "169.254.169.254",
            "168.63.129.16",
            "100.100.100.200",
            "fd00:ec2::254",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "::",
            "::2",
            "::ffff:127.0.0.1",
            "fe80::1",
            "ff02::1",
            "2002:7f00:1::",
        ] {
            assert!(!Reach::Private.covers(address.parse().unwrap()), "{address}");
        }
    }
}
