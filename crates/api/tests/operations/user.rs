//! `convene user create-admin`.

use std::num::NonZeroU32;
use std::sync::Arc;

use convene_application::auth::crypto::PasswordHasher as _;
use convene_integrations::security::{Argon2Passwords, HashingPool, OsRandom, Parameters};
use secrecy::SecretString;

use crate::installation::Installation;

const CREATE: [&str; 4] = ["user", "create-admin", "--email", "Ada@example.org"];
const PASSWORD: &str = "tremendous otter lanterns";

/// Whether the stored hash is one of this password.
async fn is_password(convene: &Installation, password: &str) -> bool {
    let pool = HashingPool { running: NonZeroU32::MIN, waiting: 1 };
    let passwords = Argon2Passwords::new(Parameters::MINIMUM, pool, Arc::new(OsRandom));
    let hash = convene.value("SELECT password_hash FROM credentials").await;
    passwords.verify(SecretString::from(password), Some(hash)).await.unwrap().matches
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_account_is_verified_and_its_password_is_shown_once() {
    let convene = Installation::new().await;
    let made = convene.json(&CREATE);
    assert_eq!((&made["outcome"], &made["email"]), (&"created".into(), &"Ada@example.org".into()));
    let (user, password) = (made["user_id"].as_str().unwrap(), made["password"].as_str().unwrap());
    assert!(user.starts_with("user_") && password.len() >= 20, "{made}");
    assert!(is_password(&convene, password).await);

    let person =
        "SELECT email || '|' || display_name || '|' || (email_verified_at IS NOT NULL) FROM users";
    assert_eq!(convene.value(person).await, "Ada@example.org|Ada|true");
    let grant = "SELECT reason || '|' || (granted_by IS NULL) FROM platform_admins";
    assert_eq!(convene.value(grant).await, "made by an operator|true");
    let event = "SELECT convert_from(envelope, 'UTF8')::jsonb ->> 'actor' FROM outbox";
    assert_eq!(convene.value(event).await, "system");
    let audit = convene.audit("auth.make_admin").await;
    assert_eq!(audit, [format!(r#"system {user} {{"created": true}}"#)]);
    let everything = convene.value("SELECT string_agg(a::text, '') FROM audit_pending a").await;
    assert!(!everything.contains(password));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_promoted_with_its_password_untouched() {
    let convene = Installation::new().await;
    let first = convene.run_with(&[&CREATE[..], &["--password-file", "-"]].concat(), PASSWORD);
    assert_eq!(first.code, Some(0), "{first:?}");
    assert!(!first.stdout.contains("Password"), "a given password is not repeated: {first:?}");
    convene.execute("DELETE FROM platform_admins").await;

    let again = ["user", "create-admin", "--email", "ada@EXAMPLE.org", "--reason", "on call"];
    let promoted = convene.json(&again);
    assert_eq!((&promoted["outcome"], &promoted["password"]), (&"promoted".into(), &().into()));
    assert!(is_password(&convene, PASSWORD).await);
    assert_eq!(convene.value("SELECT reason FROM platform_admins").await, "on call");
    assert_eq!(convene.value("SELECT count(*) FROM users").await, "1");

    let text = convene.text(&again);
    assert!(text.contains("is an administrator; the password stays as it is."), "{text}");
    assert_eq!(convene.value("SELECT count(*) FROM platform_admins").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_comes_from_a_file_and_has_to_be_good() {
    let convene = Installation::new().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    let path = file.to_str().unwrap();
    let asked = [&CREATE[..], &["--name", "Ada Lovelace", "--password-file", path]].concat();
    assert!(convene.refusal(&asked).contains("cannot be read from"));
    std::fs::write(&file, "short\n").unwrap();
    assert!(convene.refusal(&asked).contains("the password must have at least 15 characters"));
    assert_eq!(convene.value("SELECT count(*) FROM users").await, "0");

    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    convene.text(&asked);
    assert!(is_password(&convene, PASSWORD).await);
    assert_eq!(convene.value("SELECT display_name FROM users").await, "Ada Lovelace");
    assert_eq!(convene.run(&["user", "create-admin", "--email", "nobody"]).code, Some(2));
}
