//! Secrets that are nothing but random: mailed tokens and refresh tokens.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use crate::kernel::random::Random;
use crate::kernel::secrets::Digester;

/// 32 bytes that nobody can guess, shown as base64url without padding. Wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct OpaqueToken(Zeroizing<[u8; 32]>);

/// SHA-256 of a token: all that is stored of it. Its bytes are random, so it needs no salt and no slow hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenDigest(pub [u8; 32]);

impl OpaqueToken {
    /// A new token.
    #[must_use]
    pub fn generate(random: &dyn Random) -> Self {
        Self::from_bytes(random.bytes())
    }

    /// The token of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Reads what [`OpaqueToken::reveal`] wrote; `None` for anything else, which is no token that was ever issued.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        let length = URL_SAFE_NO_PAD.decode_slice(text, bytes.as_mut_slice()).ok()?;
        (length == bytes.len()).then_some(Self(bytes))
    }

    /// The token as its owner gets it.
    #[must_use]
    pub fn reveal(&self) -> SecretString {
        SecretString::from(URL_SAFE_NO_PAD.encode(self.as_bytes()))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What is stored of it.
    #[must_use]
    pub fn digest(&self, digester: &dyn Digester) -> TokenDigest {
        TokenDigest(digester.sha256(self.as_bytes()))
    }
}

impl fmt::Debug for OpaqueToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpaqueToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn reads_what_it_shows() {
        let token =
            OpaqueToken::from_bytes(std::array::from_fn(|at| u8::try_from(at * 7).unwrap()));
        let shown = token.reveal();
        assert_eq!(shown.expose_secret().len(), 43);
        assert_eq!(OpaqueToken::parse(shown.expose_secret()), Some(token));
    }

    #[test]
    fn anything_else_is_no_token() {
        let shown = OpaqueToken::from_bytes([255; 32]).reveal();
        let shown = shown.expose_secret();
        // The last character holds two bits that a canonical encoding leaves zero.
        let other_spelling = format!("{}9", &shown[..42]);
        for bad in
            ["", "token", &shown[1..], &format!("{shown}A"), &format!("{shown}="), &other_spelling]
        {
            assert_eq!(OpaqueToken::parse(bad), None, "{bad}");
        }
    }
}
