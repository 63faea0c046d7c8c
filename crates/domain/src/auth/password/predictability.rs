//! Which passwords an attacker tries first.
//!
//! NIST SP 800-63B-4 asks to compare the whole password with common and expected ones, not to look for words inside it. So
//! a password is refused if all of it is one of these:
//!
//! - an entry of the list, whatever its case, separators and digits in place of letters;
//! - a short unit over and over, or walks along the alphabet, the digits or a keyboard;
//! - one expected word (the service's name, the account's address, `password` and its like), once or repeated, with
//!   nothing but digits and such walks around it.

use crate::text::EmailAddress;

/// Passwords and phrases of at least fifteen characters that lists of leaked passwords are full of: lower case, letters
/// and digits alone, sorted.
const LIST: &str = include_str!("common.txt");

/// Words that people build a password around when a service asks for more characters.
const EXPECTED: [&str; 22] = [
    "password",
    "passwort",
    "passphrase",
    "motdepasse",
    "contrasena",
    "parola",
    "qwerty",
    "azerty",
    "letmein",
    "welcome",
    "iloveyou",
    "admin",
    "administrator",
    "login",
    "secret",
    "changeme",
    "default",
    "convene",
    "community",
    "trustno1",
    "monkey",
    "dragon",
];

/// Walks, in both directions and around the end. Those on a keyboard follow the rows and the columns.
const WALKS: [&str; 10] = [
    "abcdefghijklmnopqrstuvwxyz",
    "1234567890",
    "qwertyuiop[]asdfghjkl;'zxcvbnm,./",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "1q2w3e4r5t6y7u8i9o0p",
    "qawsedrftgyhujikolp",
    "!@#$%^&*()_+",
];

/// A walk of fewer steps is found in ordinary words.
const SHORTEST_WALK: usize = 3;
/// A longer walk is walked in parts.
const LONGEST_WALK: usize = 32;
/// A longer unit is no secret any more by being repeated.
const LONGEST_UNIT: usize = 64;
/// A shorter local part is found in ordinary words.
const SHORTEST_NAME: usize = 3;

/// Whether the whole of a normalised password is predictable.
pub(super) fn is_predictable(password: &str, email: Option<&EmailAddress>) -> bool {
    let typed: Vec<char> = password.to_lowercase().chars().collect();
    let folded: Vec<char> = typed.iter().copied().filter(|c| c.is_alphanumeric()).collect();
    let unmasked: Vec<char> = folded.iter().map(|c| unmask(*c)).collect();
    let words = expected_words(email);

    [(&typed, &[][..]), (&folded, &words), (&unmasked, &words)].into_iter().any(|(form, words)| {
        let walks = walks_from_each_place(form);
        is_listed(form)
            || repeats_a_short_unit(form)
            || consists_of(form, &walks, &[])
            || words.iter().any(|word| occurs_in(word, form) && consists_of(form, &walks, word))
    })
}

/// The letter that a digit stands for in `p4ssw0rd`.
fn unmask(c: char) -> char {
    match c {
        '0' => 'o',
        '1' => 'i',
        '3' => 'e',
        '4' => 'a',
        '5' => 's',
        '7' => 't',
        other => other,
    }
}

/// The words to build a password around: those of everybody, and the parts of one's own address without separators.
fn expected_words(email: Option<&EmailAddress>) -> Vec<Vec<char>> {
    let fold = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<Vec<char>>();
    let address = email.map(EmailAddress::normalized).unwrap_or_default();
    let (local, domain) = address.rsplit_once('@').unwrap_or_default();
    let own = [local, domain, &address];
    EXPECTED.into_iter().chain(own).map(fold).filter(|word| word.len() >= SHORTEST_NAME).collect()
}

fn is_listed(form: &[char]) -> bool {
    let form: String = form.iter().collect();
    LIST.lines().any(|entry| entry == form)
}

/// Whether a unit is said at least three times, the last perhaps cut off.
fn repeats_a_short_unit(text: &[char]) -> bool {
    let longest = LONGEST_UNIT.min(text.len() / 3);
    (1..=longest).any(|unit| text[unit..] == text[..text.len() - unit])
}

fn occurs_in(word: &[char], text: &[char]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

/// Whether text is nothing but walks and, if there is a word, that word and digits between them.
fn consists_of(text: &[char], walks: &[usize], word: &[char]) -> bool {
    let mut reachable = vec![false; text.len() + 1];
    reachable[0] = true;
    for start in 0..text.len() {
        if !reachable[start] {
            continue;
        }
        for length in SHORTEST_WALK..=walks[start] {
            reachable[start + length] = true;
        }
        if !word.is_empty() {
            reachable[start + 1] |= text[start].is_numeric();
            if text[start..].starts_with(word) {
                reachable[start + word.len()] = true;
            }
        }
    }
    !text.is_empty() && reachable[text.len()]
}

/// How far text goes along a walk, or stands still, from each of its places.
fn walks_from_each_place(text: &[char]) -> Vec<usize> {
    let walks: Vec<Vec<char>> = WALKS.iter().map(|walk| walk.chars().collect()).collect();
    (0..text.len())
        .map(|start| {
            let rest = &text[start..text.len().min(start + LONGEST_WALK)];
            let still = rest.iter().take_while(|c| **c == rest[0]).count();
            walks.iter().map(|walk| steps_along(walk, rest)).max().unwrap_or(0).max(still)
        })
        .collect()
}

fn steps_along(walk: &[char], text: &[char]) -> usize {
    let Some(at) = walk.iter().position(|c| *c == text[0]) else { return 0 };
    let onward = walk.iter().cycle().skip(at);
    let back = walk.iter().rev().cycle().skip(walk.len() - 1 - at);
    let onward = onward.zip(text).take_while(|(step, c)| step == c).count();
    let back = back.zip(text).take_while(|(step, c)| step == c).count();
    onward.max(back)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(password: &str) -> bool {
        let email = EmailAddress::new("ada.lovelace@analytical.example").unwrap();
        is_predictable(password, Some(&email))
    }

    #[test]
    fn the_list_is_in_its_form() {
        let entries: Vec<&str> = LIST.lines().collect();
        assert!(entries.len() > 150);
        assert!(entries.is_sorted(), "the list is sorted");
        for pair in entries.windows(2) {
            assert_ne!(pair[0], pair[1]);
        }
        for entry in entries {
            assert!(entry.chars().all(|c| c.is_alphanumeric() && !c.is_uppercase()), "{entry}");
            assert!(entry.len() >= 12, "{entry} cannot be typed with fifteen characters");
        }
    }

    #[test]
    fn listed_passwords_are_refused_in_any_dress() {
        for password in [
            "thequickbrownfox",
            "The quick brown fox jumps over the lazy dog",
            "may-the-force-be-with-you",
            "M4y the F0rce be w1th you!",
            "To be, or not to be: that is the question",
        ] {
            assert!(refused(password), "{password}");
        }
    }

    #[test]
    fn repetitions_are_refused() {
        for password in [
            "aaaaaaaaaaaaaaa",
            "abababababababa",
            "!!!!!!!!!!!!!!!!",
            "x7q x7q x7q x7q",
            "\u{1f600}\u{1f600}\u{1f600}\u{1f600}\u{1f600}\u{1f600}\u{1f600}\u{1f600}",
        ] {
            assert!(refused(password), "{password}");
        }
    }

    #[test]
    fn walks_are_refused() {
        for password in [
            "123456789012345",
            "987654321098765",
            "abcdefghijklmno",
            "zyxwvutsrqponml",
            "qwertyuiopasdfgh",
            "qwertyuiop12345",
            "1qaz2wsx3edc4rfv",
            "1q2w3e4r5t6y7u8i",
            "qwertzuiop qwertzuiop",
            "!@#$%^&*()_+!@#",
            "abc123abc123xyz",
            "1111222233334444",
        ] {
            assert!(refused(password), "{password}");
        }
    }

    #[test]
    fn one_expected_word_is_not_enough() {
        for password in [
            "passwordpassword",
            "Password12345678!",
            "P4ssw0rd!P4ssw0rd",
            "password-password-2027",
            "convene convene convene",
            "Convene202720272027",
            "ada.lovelace1985",
            "Ada Lovelace Ada Lovelace",
            "ada.lovelace@analytical.example",
            "iloveyouiloveyou",
            "letmeinletmein123",
        ] {
            assert!(refused(password), "{password}");
        }
    }

    #[test]
    fn words_inside_a_longer_password_are_no_reason() {
        for password in [
            "my password is a walrus",
            "convene at the lighthouse",
            "ada.lovelace likes trains",
            "monkeys and dragons",
            "839201758392017",
            "x7kq9plm x7kq9plm",
        ] {
            assert!(!refused(password), "{password}");
        }
    }

    #[test]
    fn without_an_address_the_rest_still_holds() {
        assert!(is_predictable("conveneconvene1", None));
        assert!(!is_predictable("ada.lovelace1985", None));
    }
}
