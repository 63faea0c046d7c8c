//! TCP ports on 127.0.0.1 for servers and proxies.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    net::{Ipv4Addr, TcpListener},
};

/// Below the ports that the kernel hands to outgoing connections (32768–60999 on Linux). A server
/// that is down for a moment would otherwise find its port in use by some client on its return, or
/// a client that retries could, by TCP's simultaneous open, end up connected to itself.
const CHOICE: std::ops::Range<u16> = 15_000..30_000;
const ATTEMPTS: u64 = 200;

/// A port on 127.0.0.1 that nobody listens on and that outgoing connections do not use.
///
/// # Errors
/// When none of a few hundred random ports is free.
pub fn free() -> io::Result<u16> {
    let random = RandomState::new();
    (0..ATTEMPTS)
        .map(|attempt| {
            let offset = random.hash_one(attempt) % u64::from(CHOICE.end - CHOICE.start);
            CHOICE.start + u16::try_from(offset).expect("the range is narrower than u16")
        })
        .find(|port| is_free(*port))
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("no free port found in {}–{}", CHOICE.start, CHOICE.end - 1),
            )
        })
}

/// Whether a server could listen on this port of 127.0.0.1 now.
pub fn is_free(port: u16) -> bool {
    // The standard library sets SO_REUSEADDR, so connections in TIME_WAIT do not count.
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_not_free() {
        let port = free().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(!is_free(port));
        drop(listener);
        assert!(is_free(port));
    }
}
