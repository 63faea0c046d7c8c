//! `convene user …`

use std::io::Read as _;
use std::path::Path;

use convene_application::auth::{AdminMade, NewAdmin, OpaqueToken};
use convene_domain::auth::password::Password;
use convene_domain::text::{DisplayName, EmailAddress};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::session::Session;
use super::{print_json, say};
use crate::cli::{CreateAdmin, UserCommand};
use crate::error::StartError;
use crate::wiring::operators;

pub(super) async fn run(command: UserCommand, json: bool) -> Result<(), StartError> {
    match command {
        UserCommand::CreateAdmin(asked) => create_admin(asked, json).await,
    }
}

async fn create_admin(asked: CreateAdmin, json: bool) -> Result<(), StartError> {
    let given = asked.password_file.as_deref().map(read).transpose()?;
    let session = Session::open().await?;
    let random = &*session.platform.env.random;
    let generated = given.is_none().then(|| OpaqueToken::generate(random).reveal());
    let password = given.as_ref().or(generated.as_ref());
    let password = choose(password.map_or("", |text| text.expose_secret()), &asked.email)?;
    let display_name = match asked.name {
        Some(name) => name,
        None => named_after(&asked.email)?,
    };
    let admin =
        NewAdmin { email: asked.email.clone(), display_name, password, reason: asked.reason };
    let accounts = operators::accounts(&session.platform).await?;
    let made = accounts.make_admin(&session.context, admin).await?;

    let (outcome, shown) = match made {
        AdminMade::Created(_) => ("created", generated),
        AdminMade::Promoted(_) => ("promoted", None),
    };
    let shown = shown.as_ref().map(ExposeSecret::expose_secret);
    if json {
        return print_json(&json!({
            "outcome": outcome,
            "user_id": made.user().to_string(),
            "email": asked.email.as_str(),
            "password": shown,
        }));
    }
    let (user, email) = (made.user(), asked.email.as_str());
    match made {
        AdminMade::Created(_) => say(format_args!("Created {user} ({email}), an administrator."))?,
        AdminMade::Promoted(_) => {
            say(format_args!(
                "{user} ({email}) is an administrator; the password stays as it is."
            ))?;
        }
    }
    if let Some(password) = shown {
        say(format_args!("Password, shown this once: {password}"))?;
    }
    Ok(())
}

/// The first line of a file, or of standard input.
fn read(path: &Path) -> Result<SecretString, StartError> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    let text = SecretString::from(text.map_err(|error| {
        StartError::Told(format!("the password cannot be read from {}: {error}", path.display()))
    })?);
    Ok(text.expose_secret().lines().next().unwrap_or_default().into())
}

fn choose(text: &str, email: &EmailAddress) -> Result<Password, StartError> {
    Password::choose(text, Some(email))
        .map_err(|error| StartError::Told(format!("the password {error}")))
}

fn named_after(email: &EmailAddress) -> Result<DisplayName, StartError> {
    let local = email.as_str().split('@').next().unwrap_or_default();
    DisplayName::new(local)
        .map_err(|error| StartError::Told(format!("give a --name: {local} {error}")))
}
