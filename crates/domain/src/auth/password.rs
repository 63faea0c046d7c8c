//! What may be a password (NIST SP 800-63B-4 §3.1.1).

mod predictability;

use std::fmt;

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use crate::text::EmailAddress;

/// The least number of characters of a password that is the only factor.
pub const MIN_CHARACTERS: usize = 15;
/// The greatest number of bytes, as sent: hashing must not become a way to keep the server busy.
pub const MAX_BYTES: usize = 1_024;

/// Why a text cannot be a password. The code is stable, the message is for people and never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Fewer than [`MIN_CHARACTERS`].
    #[error("must have at least {MIN_CHARACTERS} characters; a few unrelated words do well")]
    TooShort,
    /// More than [`MAX_BYTES`].
    #[error("must have at most {MAX_BYTES} bytes")]
    TooLong,
    /// A control character, NUL among them.
    #[error("must not contain control characters")]
    ControlCharacter,
    /// On the list of common passwords, or made of a sequence, a repetition or the person's own address.
    #[error("is too common or too easy to guess")]
    Common,
}

impl PasswordError {
    /// The stable code of this mistake in `errors[].code`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooShort => "too_short",
            Self::TooLong => "too_long",
            Self::ControlCharacter => "control_character",
            Self::Common => "password_too_common",
        }
    }
}

/// A password in its one form (NFKC), so that it is the same whichever keyboard typed it. Wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Checks a password that somebody chooses, without keeping it.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(text: &str, email: Option<&EmailAddress>) -> Result<(), PasswordError> {
        Self::choose(text, email).map(drop)
    }

    /// Accepts a password that somebody chooses. There are no rules of composition: length and not being guessable are
    /// what counts. The address is the one of the account, which must not be all that the password consists of.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn choose(text: &str, email: Option<&EmailAddress>) -> Result<Self, PasswordError> {
        let password = Self::present(text)?;
        // Normalising can make one character many and many one; neither may help a short password over the bar.
        let characters = text.chars().count().min(password.as_str().chars().count());
        if characters < MIN_CHARACTERS {
            return Err(PasswordError::TooShort);
        }
        if password.as_str().chars().any(char::is_control) {
            return Err(PasswordError::ControlCharacter);
        }
        if predictability::is_predictable(password.as_str(), email) {
            return Err(PasswordError::Common);
        }
        Ok(password)
    }

    /// Takes a password that somebody presents at login: bounded and normalised, but not judged, since the rules may
    /// have been others when it was chosen.
    ///
    /// # Errors
    /// [`PasswordError::TooLong`].
    pub fn present(text: &str) -> Result<Self, PasswordError> {
        if text.len() > MAX_BYTES {
            return Err(PasswordError::TooLong);
        }
        // NFKC makes UTF-8 at most 11 times as long (Unicode's FAQ on normalisation), so the buffer never moves and
        // leaves no copy behind.
        let mut normalised = Zeroizing::new(String::with_capacity(11 * text.len()));
        normalised.extend(text.nfkc());
        Ok(Self(normalised))
    }

    /// The normalised text, to be hashed and nothing else.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The normalised text, for a keeper that wipes it in its turn.
    #[must_use]
    pub fn into_string(mut self) -> String {
        std::mem::take(&mut *self.0)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ada() -> EmailAddress {
        EmailAddress::new("Ada.Lovelace@example.org").unwrap()
    }

    #[test]
    fn long_passwords_of_any_kind_are_good() {
        for good in [
            "tremendous otter 42 lanterns",
            "tannenbaum schlittschuh",
            "正しい馬のバッテリーホチキスを使います",
            "\u{1f40e}\u{1f50b}\u{1f4ce} horse battery \u{2713}",
            "839201758392017",
            "purple monkey dishwasher",
            &(0..90).map(|n| format!("otter {n} ")).collect::<String>(),
        ] {
            assert_eq!(Password::check(good, Some(&ada())), Ok(()), "{good}");
        }
    }

    #[test]
    fn fifteen_characters_are_counted_in_both_forms() {
        assert_eq!(Password::check("tremendous ott", None), Err(PasswordError::TooShort));
        assert_eq!(Password::check("tremendous otte", None), Ok(()));
        // One ligature is eighteen characters once it is normalised, and still one keystroke.
        assert_eq!(Password::check("\u{fdfa}", None), Err(PasswordError::TooShort));
        // Fourteen letters, each with a combining accent: 28 characters as sent, 14 once composed.
        let decomposed = "a\u{301}e\u{301}".repeat(7);
        assert_eq!(Password::check(&decomposed, None), Err(PasswordError::TooShort));
    }

    #[test]
    fn the_bound_is_in_bytes_and_holds_at_login_too() {
        let longest = "aé7_".repeat(204) + "1234";
        assert_eq!(longest.len(), 1_024);
        assert!(Password::present(&longest).is_ok());
        assert_eq!(Password::present(&(longest.clone() + "5")), Err(PasswordError::TooLong));
        assert_eq!(Password::check(&(longest + "5"), None), Err(PasswordError::TooLong));
    }

    #[test]
    fn every_way_to_type_it_is_the_same_password() {
        let composed = Password::present("ca\u{f1}on \u{212b}ngstr\u{f6}m fire").unwrap();
        let decomposed =
            Password::present("can\u{303}on A\u{30a}ngstro\u{308}m \u{fb01}re").unwrap();
        assert_eq!(composed, decomposed);
    }

    #[test]
    fn login_judges_nothing() {
        assert_eq!(Password::present("password").unwrap().into_string(), "password");
        assert_eq!(Password::present("").unwrap().as_str(), "");
    }

    #[test]
    fn control_characters_are_refused() {
        assert_eq!(
            Password::check("tremendous\0otter lanterns", None),
            Err(PasswordError::ControlCharacter)
        );
    }

    #[test]
    fn debug_output_tells_nothing() {
        let password = Password::present("tremendous otter").unwrap();
        assert_eq!(format!("{password:?}"), "Password(…)");
    }

    #[test]
    fn no_text_within_the_bound_takes_long_to_judge() {
        let started = std::time::Instant::now();
        for worst in ["\u{fdfa}".repeat(341), "a".repeat(1_023) + "b", "1q".repeat(512)] {
            let _ = Password::check(&worst, Some(&ada()));
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(10));
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(text in "\\PC{0,60}") {
            let once = Password::present(&text).unwrap();
            let twice = Password::present(once.as_str());
            prop_assert_eq!(twice, Ok(once));
        }

        #[test]
        fn any_text_can_be_judged(text in any::<String>()) {
            let _ = Password::check(&text, Some(&ada()));
        }
    }
}
