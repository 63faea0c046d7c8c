//! Which URLs webhooks may be sent to, as far as their text can tell.

use std::net::IpAddr;

use convene_application::webhook::egress::{UrlPolicy, UrlRefused};
use url::{Host, Url};

use super::address::Reach;

/// Longer URLs are not worth storing.
const MAX_BYTES: usize = 2_048;
/// The least port beside the scheme's own: below it live mail, remote shells and other services that HTTP can talk into
/// doing something.
const FIRST_UNPRIVILEGED_PORT: u16 = 1_024;
/// Names that never leave a network, whatever its resolver says (RFC 6761, RFC 6762, RFC 8375, ICANN's `.internal`).
const LOCAL_DOMAINS: [&str; 5] = ["localhost", "local", "localdomain", "internal", "home.arpa"];

/// Judges URLs by form and literal addresses.
#[derive(Clone, Copy, Debug)]
pub struct WebhookUrlPolicy {
    reach: Reach,
}

impl WebhookUrlPolicy {
    /// A policy of this reach. [`Reach::Private`] also allows plain `http`, `localhost` and any port.
    #[must_use]
    pub fn new(reach: Reach) -> Self {
        Self { reach }
    }

    /// Judges a URL and returns it as it will be requested.
    ///
    /// # Errors
    /// The first reason against it.
    pub(super) fn accept(self, text: &str) -> Result<Url, UrlRefused> {
        let typed = typed_authority(text).ok_or(UrlRefused::Malformed)?;
        let url = Url::parse(text).map_err(|error| match error {
            // What looks like a number but is no address of four parts: `1.2.3`, `0x7f000001g`, `256.1.1.1`.
            url::ParseError::InvalidIpv4Address | url::ParseError::InvalidIpv6Address => {
                UrlRefused::Host
            }
            _ => UrlRefused::Malformed,
        })?;
        self.check_scheme(&url)?;
        if !url.username().is_empty() || url.password().is_some() || typed.contains('@') {
            return Err(UrlRefused::Credentials);
        }
        self.check_host(&url, typed)?;
        self.check_port(&url)?;
        Ok(url)
    }

    fn check_scheme(self, url: &Url) -> Result<(), UrlRefused> {
        match (url.scheme(), self.reach) {
            ("https", _) | ("http", Reach::Private) => Ok(()),
            _ => Err(UrlRefused::Scheme),
        }
    }

    fn check_host(self, url: &Url, typed: &str) -> Result<(), UrlRefused> {
        match url.host().ok_or(UrlRefused::Malformed)? {
            Host::Domain(name) => self.check_name(name, typed),
            Host::Ipv4(address) => {
                // The parser reads `0177.1`, `0x7f000001`, `2130706433` and full-width digits as addresses too.
                let is_canonical = typed_without_port(typed) == address.to_string();
                self.check_address(address.into()).and(if is_canonical {
                    Ok(())
                } else {
                    Err(UrlRefused::Host)
                })
            }
            Host::Ipv6(address) => self.check_address(address.into()),
        }
    }

    fn check_name(self, name: &str, typed: &str) -> Result<(), UrlRefused> {
        let is_local = LOCAL_DOMAINS.iter().any(|local| {
            name.strip_suffix(local).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        });
        let is_allowed = match self.reach {
            Reach::Public => name.contains('.') && !is_local,
            Reach::Private => !name.ends_with(".localhost"),
        };
        let is_plain = !name.ends_with('.')
            && !name.starts_with('.')
            && !name.contains("..")
            && name.len() <= 253
            && !typed.contains('%');
        if is_allowed && is_plain { Ok(()) } else { Err(UrlRefused::Host) }
    }

    fn check_address(self, address: IpAddr) -> Result<(), UrlRefused> {
        if self.reach.covers(address) { Ok(()) } else { Err(UrlRefused::Address) }
    }

    fn check_port(self, url: &Url) -> Result<(), UrlRefused> {
        let allowed = match (url.port_or_known_default(), self.reach) {
            (None | Some(0), _) => false,
            (Some(_), Reach::Private) | (Some(443), Reach::Public) => true,
            (Some(port), Reach::Public) => port >= FIRST_UNPRIVILEGED_PORT,
        };
        if allowed { Ok(()) } else { Err(UrlRefused::Port) }
    }
}

impl UrlPolicy for WebhookUrlPolicy {
    fn check(&self, url: &str) -> Result<(), UrlRefused> {
        self.accept(url).map(drop)
    }
}

/// The authority as it was typed, if the text is written as an absolute URL: browsers' parsers, this one among them, also
/// read `https:host`, `https:\\host` and URLs with tabs and line breaks inside, and other programs read those otherwise.
fn typed_authority(text: &str) -> Option<&str> {
    let odd = |c: char| c.is_control() || c.is_whitespace() || c == '\\';
    if text.len() > MAX_BYTES || text.contains(odd) {
        return None;
    }
    let (_, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    (!authority.is_empty()).then_some(authority)
}

fn typed_without_port(authority: &str) -> &str {
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

#[cfg(test)]
mod tests;
