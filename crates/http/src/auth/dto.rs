//! Accounts, logins and tokens as clients read and write them.
//!
//! Passwords and tokens are secrets from the moment they are read: no DTO shows them when it is debugged.

use convene_application::auth::{self, Registration, Reset};
use convene_application::kernel::error::{Failure, FieldError};
use convene_domain::auth::password::{Password, PasswordError};
use convene_domain::text::{DisplayName, EmailAddress};
use garde::Validate;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

use crate::rules;

/// Who wants an account.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct Register {
    /// The address, which a mailed token verifies. Case does not matter.
    #[garde(custom(rules::text(EmailAddress::check)))]
    #[schema(format = Email, max_length = 254, example = "ada@example.org")]
    email: String,
    /// The password: at least 15 characters and at most 1,024 bytes of any kind, neither common nor made of the address.
    #[garde(custom(eligible(EmailAddress::new(self.email.as_str()).ok().as_ref())))]
    #[schema(
        value_type = String, format = Password, write_only,
        min_length = 15, max_length = 1024, example = "tremendous otter 42 lanterns",
    )]
    password: SecretString,
    /// How others see the person.
    #[garde(custom(rules::text(DisplayName::check)))]
    #[schema(min_length = 1, max_length = 80, example = "Ada Lovelace")]
    display_name: String,
}

impl TryFrom<Register> for Registration {
    type Error = Failure;

    fn try_from(body: Register) -> Result<Self, Failure> {
        let email = address(body.email)?;
        let password = chosen(&body.password, Some(&email))?;
        let display_name = rules::checked("display_name", DisplayName::new(body.display_name))?;
        Ok(Self { email, password, display_name })
    }
}

/// The token of a verification mail.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct VerifyEmail {
    /// The token, good once and for at most an hour.
    #[garde(skip)]
    #[schema(value_type = String, write_only, example = "kq3J0mP1u7yQx8WlT2hVbN5sZc9dRfGaEoYi4tUvXwA")]
    pub(super) token: SecretString,
}

/// Who is to be sent a mail.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct MailTo {
    /// The address. Case does not matter.
    #[garde(custom(rules::text(EmailAddress::check)))]
    #[schema(format = Email, max_length = 254, example = "ada@example.org")]
    email: String,
}

impl TryFrom<MailTo> for EmailAddress {
    type Error = Failure;

    fn try_from(body: MailTo) -> Result<Self, Failure> {
        address(body.email)
    }
}

/// A new password, with the token of a reset mail.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct ResetPassword {
    /// The token, good once and for at most an hour.
    #[garde(skip)]
    #[schema(value_type = String, write_only, example = "kq3J0mP1u7yQx8WlT2hVbN5sZc9dRfGaEoYi4tUvXwA")]
    token: SecretString,
    /// The password: at least 15 characters and at most 1,024 bytes of any kind, neither common nor made of the address.
    // Whose address it is, the token tells; the use case compares the two.
    #[garde(custom(eligible(None)))]
    #[schema(
        value_type = String, format = Password, write_only,
        min_length = 15, max_length = 1024, example = "tremendous otter 42 lanterns",
    )]
    password: SecretString,
}

impl TryFrom<ResetPassword> for Reset {
    type Error = Failure;

    fn try_from(body: ResetPassword) -> Result<Self, Failure> {
        Ok(Self { token: body.token, password: chosen(&body.password, None)? })
    }
}

/// Who logs in.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct Login {
    /// The address. Case does not matter.
    #[garde(custom(rules::text(EmailAddress::check)))]
    #[schema(format = Email, max_length = 254, example = "ada@example.org")]
    email: String,
    /// The password, at most 1,024 bytes.
    #[garde(custom(presentable))]
    #[schema(
        value_type = String, format = Password, write_only,
        max_length = 1024, example = "tremendous otter 42 lanterns",
    )]
    password: SecretString,
}

impl TryFrom<Login> for auth::Login {
    type Error = Failure;

    fn try_from(body: Login) -> Result<Self, Failure> {
        let email = address(body.email)?;
        let password = Password::present(body.password.expose_secret()).map_err(refused)?;
        Ok(Self { email, password })
    }
}

/// A refresh token to be exchanged.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct Refresh {
    /// The refresh token of the last login or refresh.
    #[garde(skip)]
    #[schema(value_type = String, write_only, example = "Zc9dRfGaEoYi4tUvXwAkq3J0mP1u7yQx8WlT2hVbN5s")]
    pub(super) refresh_token: SecretString,
}

/// That a mail is on its way, if there is anything to send: the answer does not tell.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MailRequested {
    /// What was asked for.
    #[schema(example = "sent")]
    status: MailStatus,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum MailStatus {
    /// A registration: the mail holds the token that verifies the address.
    VerificationSent,
    /// Another mail.
    Sent,
}

impl MailRequested {
    /// Somebody registered.
    pub(super) const VERIFICATION: Self = Self { status: MailStatus::VerificationSent };
    /// Somebody asked for a mail.
    pub(super) const OTHER: Self = Self { status: MailStatus::Sent };
}

/// What a person goes on with after a login or a refresh.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Tokens {
    /// The access token, to be sent as `Authorization: Bearer …`. A JSON Web Token after RFC 9068.
    #[serde(serialize_with = "exposed")]
    #[schema(value_type = String, read_only, example = "eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJ1c2VyXzAxIn0.c2lnbmF0dXJl")]
    access_token: SecretString,
    /// How the access token is sent.
    #[schema(example = "Bearer")]
    token_type: TokenType,
    /// Seconds until the access token expires.
    #[schema(minimum = 1, example = 600)]
    expires_in: u64,
    /// The refresh token, to be exchanged once for the next pair.
    #[serde(serialize_with = "exposed")]
    #[schema(value_type = String, read_only, example = "Zc9dRfGaEoYi4tUvXwAkq3J0mP1u7yQx8WlT2hVbN5s")]
    refresh_token: SecretString,
    /// Seconds until the refresh token expires.
    #[schema(example = 2_592_000)]
    refresh_expires_in: u64,
}

/// How an access token is sent (RFC 6749 §7.1).
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
enum TokenType {
    /// `Authorization: Bearer …` (RFC 6750).
    Bearer,
}

impl From<auth::Tokens> for Tokens {
    fn from(tokens: auth::Tokens) -> Self {
        Self {
            access_token: tokens.access_token,
            token_type: TokenType::Bearer,
            expires_in: tokens.expires_in,
            refresh_token: tokens.refresh_token,
            refresh_expires_in: tokens.refresh_expires_in,
        }
    }
}

/// The one place where a token is shown: in the reply to its owner.
fn exposed<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

/// The rule of a password that somebody chooses, for the account of this address if it is known.
fn eligible(email: Option<&EmailAddress>) -> impl FnOnce(&SecretString, &()) -> garde::Result {
    move |password, ()| told(Password::check(password.expose_secret(), email))
}

/// The rule of a password that somebody presents.
fn presentable(password: &SecretString, (): &()) -> garde::Result {
    told(Password::present(password.expose_secret()).map(drop))
}

fn told(verdict: Result<(), PasswordError>) -> garde::Result {
    verdict.map_err(|error| rules::mistake(error.code(), error))
}

fn address(email: String) -> Result<EmailAddress, Failure> {
    rules::checked("email", EmailAddress::new(email))
}

fn chosen(password: &SecretString, email: Option<&EmailAddress>) -> Result<Password, Failure> {
    Password::choose(password.expose_secret(), email).map_err(refused)
}

fn refused(error: PasswordError) -> Failure {
    Failure::invalid(vec![FieldError::field("password", error.code(), error.to_string())])
}

#[cfg(test)]
mod tests {
    use convene_application::kernel::error::{Code, Place};
    use serde_json::{Value, json};

    use super::*;
    use crate::json::from_slice;

    const GOOD: &str = "tremendous otter 42 lanterns";

    /// The places and codes of all mistakes, sorted.
    fn mistakes<T: std::fmt::Debug>(outcome: Result<T, Failure>) -> Vec<(String, &'static str)> {
        let failure = outcome.unwrap_err();
        assert_eq!(failure.code, Code::ValidationFailed);
        let mut mistakes: Vec<_> = failure
            .errors
            .into_iter()
            .map(|error| match error.place {
                Place::Pointer(pointer) => (pointer, error.code),
                Place::Parameter(name) => panic!("{name} is no field"),
            })
            .collect();
        mistakes.sort();
        mistakes
    }

    fn register(email: &str, password: &str, display_name: &str) -> Result<Register, Failure> {
        let body = json!({ "email": email, "password": password, "display_name": display_name });
        from_slice(body.to_string().as_bytes())
    }

    #[test]
    fn a_registration_is_read_whole() {
        let registration =
            Registration::try_from(register("Ada@Example.org", GOOD, "Ada").unwrap()).unwrap();
        assert_eq!(registration.email.as_str(), "Ada@Example.org");
        assert_eq!(registration.password.as_str(), GOOD);
        assert_eq!(registration.display_name.as_str(), "Ada");
    }

    #[test]
    fn all_mistakes_of_a_registration_are_told_at_once() {
        assert_eq!(
            mistakes(register("ada", "short", "")),
            [
                ("/display_name".to_owned(), "too_short"),
                ("/email".to_owned(), "invalid_format"),
                ("/password".to_owned(), "too_short"),
            ]
        );
    }

    #[test]
    fn a_password_is_held_against_the_address() {
        let of_herself = "ada.lovelace1234567";
        assert_eq!(
            mistakes(register("ada.lovelace@example.org", of_herself, "Ada")),
            [("/password".to_owned(), "password_too_common")]
        );
        assert!(register("grace@example.org", of_herself, "Grace").is_ok());
    }

    #[test]
    fn a_login_is_bounded_but_not_judged() {
        let login = |password: &str| {
            let body = json!({ "email": "ada@example.org", "password": password }).to_string();
            from_slice::<Login>(body.as_bytes()).and_then(auth::Login::try_from)
        };
        assert_eq!(login("short").unwrap().password.as_str(), "short");
        assert_eq!(mistakes(login(&"long".repeat(257))), [("/password".to_owned(), "too_long")]);
    }

    #[test]
    fn secrets_are_shown_in_replies_alone() {
        let read = register("ada@example.org", GOOD, "Ada").unwrap();
        assert!(!format!("{read:?}").contains("otter"));
        let tokens = Tokens::from(auth::Tokens {
            access_token: "the-access-token".into(),
            expires_in: 600,
            refresh_token: "the-refresh-token".into(),
            refresh_expires_in: 2_592_000,
        });
        let debugged = format!("{tokens:?}");
        assert!(!debugged.contains("the-"), "{debugged}");
        let sent: Value = serde_json::to_value(&tokens).unwrap();
        assert_eq!(
            sent,
            json!({
                "access_token": "the-access-token",
                "token_type": "Bearer",
                "expires_in": 600,
                "refresh_token": "the-refresh-token",
                "refresh_expires_in": 2_592_000,
            })
        );
    }

    #[test]
    fn mail_that_was_asked_for_is_told_by_a_word() {
        let told = |reply| serde_json::to_value(reply).unwrap();
        assert_eq!(told(&MailRequested::VERIFICATION), json!({ "status": "verification_sent" }));
        assert_eq!(told(&MailRequested::OTHER), json!({ "status": "sent" }));
    }
}
