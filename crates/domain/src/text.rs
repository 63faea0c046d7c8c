//! Text with a rule: names, titles, slugs, handles and addresses that cannot be wrong once they exist.
//!
//! Lengths count characters (Unicode scalar values). Control characters are refused everywhere, NUL among them, which
//! PostgreSQL cannot store; multi-line text alone may hold tabs and line breaks.

use std::fmt;

use crate::ids;

/// Why text is not what it should be. The code is stable, the message is for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Shorter than the rule allows.
    #[error("must have at least {min} characters")]
    TooShort {
        /// The least number of characters.
        min: usize,
    },
    /// Longer than the rule allows.
    #[error("must have at most {max} characters")]
    TooLong {
        /// The greatest number of characters.
        max: usize,
    },
    /// A control character, NUL among them.
    #[error("must not contain control characters")]
    ControlCharacter,
    /// Another form than the rule asks for; the text says which.
    #[error("{0}")]
    Form(&'static str),
}

impl TextError {
    /// The stable code of this mistake in `errors[].code`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooShort { .. } => "too_short",
            Self::TooLong { .. } => "too_long",
            Self::ControlCharacter => "control_character",
            Self::Form(_) => "invalid_format",
        }
    }
}

fn length_between(text: &str, min: usize, max: usize) -> Result<(), TextError> {
    let length = text.chars().take(max + 1).count();
    if length < min {
        Err(TextError::TooShort { min })
    } else if length > max {
        Err(TextError::TooLong { max })
    } else {
        Ok(())
    }
}

fn line(text: &str, max: usize) -> Result<(), TextError> {
    length_between(text, 1, max)?;
    if text.chars().any(char::is_control) {
        return Err(TextError::ControlCharacter);
    }
    if text.trim().is_empty() {
        return Err(TextError::Form("must not be blank"));
    }
    Ok(())
}

fn paragraph(text: &str, max: usize) -> Result<(), TextError> {
    length_between(text, 0, max)?;
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(TextError::ControlCharacter);
    }
    Ok(())
}

fn slug(text: &str) -> Result<(), TextError> {
    length_between(text, 3, 40)?;
    if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Err(TextError::Form("may hold only a–z, 0–9 and hyphens"));
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err(TextError::Form("must not begin or end with a hyphen"));
    }
    if ids::is_shaped_like_an_id(text) {
        return Err(TextError::Form("must not look like an identifier"));
    }
    Ok(())
}

fn handle(text: &str) -> Result<(), TextError> {
    length_between(text, 3, 30)?;
    if text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        Ok(())
    } else {
        Err(TextError::Form("may hold only a–z, 0–9 and underscores"))
    }
}

/// The common subset of RFC 5321 that every mail server takes: a dot-atom, an `@` and a host name with a dot.
fn email_address(text: &str) -> Result<(), TextError> {
    const FORM: TextError = TextError::Form("must be an e-mail address such as name@example.org");
    length_between(text, 3, 254)?;
    let (local, domain) = text.rsplit_once('@').ok_or(FORM)?;
    let atom = |part: &str, extra: &[u8]| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || extra.contains(&b) || !b.is_ascii())
    };
    let local_is_well_formed = local.len() <= 64
        && local.split('.').all(|part| atom(part, b"!#$%&'*+-/=?^_`{|}~"))
        && !local.chars().any(|c| c.is_control() || c.is_whitespace());
    let domain_is_well_formed = domain.contains('.')
        && domain.split('.').all(|label| {
            atom(label, b"-")
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
        && !domain.chars().any(|c| c.is_control() || c.is_whitespace());
    if local_is_well_formed && domain_is_well_formed { Ok(()) } else { Err(FORM) }
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident: $check:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Checks the rule without keeping the text.
            ///
            /// # Errors
            /// The first rule that the text breaks.
            pub fn check(text: &str) -> Result<(), TextError> {
                let check: fn(&str) -> Result<(), TextError> = $check;
                check(text)
            }

            /// Keeps the text if it follows the rule.
            ///
            /// # Errors
            /// The first rule that the text breaks.
            pub fn new(text: impl Into<String>) -> Result<Self, TextError> {
                let text = text.into();
                Self::check(&text)?;
                Ok(Self(text))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), self.0)
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }
    )+};
}

texts! {
    /// How a person is shown to others: one line, 1–80 characters.
    DisplayName: |text| line(text, 80);
    /// The name of a community: one line, 1–100 characters.
    CommunityName: |text| line(text, 100);
    /// The title of an event: one line, 1–200 characters.
    Title: |text| line(text, 200);
    /// A description: any number of lines, at most 10,000 characters.
    Description: |text| paragraph(text, 10_000);
    /// A reason given by a person: at most 1,000 characters.
    Reason: |text| paragraph(text, 1_000);
    /// A community's name in URLs: 3–40 of a–z, 0–9 and inner hyphens, never shaped like an id.
    Slug: slug;
    /// A person's unique short name: 3–30 of a–z, 0–9 and underscores.
    Handle: handle;
    /// An e-mail address as its owner writes it; compare by [`EmailAddress::normalized`].
    EmailAddress: email_address;
}

impl EmailAddress {
    /// The address as it is compared: without case.
    #[must_use]
    pub fn normalized(&self) -> String {
        self.0.to_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_follow_their_rule() {
        for good in ["abc", "rust-berlin", "2027", "a--b", &"a".repeat(40)] {
            assert_eq!(Slug::check(good), Ok(()), "{good}");
        }
        for bad in ["", "ab", "-abc", "abc-", "Rust", "a_b_c", "zürich", "a b", &"a".repeat(41)] {
            assert!(Slug::check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn handles_follow_their_rule() {
        for good in ["abc", "ada_lovelace", "x86_64"] {
            assert_eq!(Handle::check(good), Ok(()), "{good}");
        }
        for bad in ["ab", "Ada", "a-b-c", &"a".repeat(31)] {
            assert!(Handle::check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_are_compared_without_case() {
        let address = EmailAddress::new("Ada.Lovelace+x@Example.ORG").unwrap();
        assert_eq!(address.normalized(), "ada.lovelace+x@example.org");
        for bad in [
            "",
            "ada",
            "@example.org",
            "ada@",
            "ada@example",
            "a b@example.org",
            "a..b@example.org",
            "a@-b.org",
            "a@b..org",
            "ada@example.org\n",
        ] {
            assert!(EmailAddress::check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lengths_count_characters_and_nul_is_refused() {
        assert_eq!(DisplayName::check(&"é".repeat(80)), Ok(()));
        assert_eq!(DisplayName::check(&"é".repeat(81)), Err(TextError::TooLong { max: 80 }));
        assert_eq!(DisplayName::check("a\0b"), Err(TextError::ControlCharacter));
        assert_eq!(Description::check("two\nlines"), Ok(()));
        assert_eq!(Description::check("a\0b"), Err(TextError::ControlCharacter));
        assert!(Title::check("   ").is_err());
    }
}
