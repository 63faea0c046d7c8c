//! `convene doctor`: everything that the configuration names is asked once, and told with what to do about it.

mod database;
mod neighbours;

use std::fmt;

use convene_application::kernel::secrets::Resealed;
use convene_integrations::security::EnvelopeKey;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::{configured, print_json, say};
use crate::config::{Config, Mistake, PUBLIC_ENVELOPE_KEY, Profile};
use crate::error::{StartError, causes};
use crate::wiring::Platform;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "snake_case")]
enum State {
    Ok,
    Warn,
    Fail,
    /// The configuration does without it.
    NotConfigured,
}

/// What one check found.
#[derive(Debug)]
struct Check {
    /// Stable.
    name: &'static str,
    state: State,
    detail: String,
    /// What to do, where something is to be done.
    advice: Option<String>,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, state: State::Ok, detail: detail.into(), advice: None }
    }

    fn warn(name: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { state: State::Warn, advice: Some(advice.into()), ..Self::ok(name, detail) }
    }

    fn fail(name: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { state: State::Fail, advice: Some(advice.into()), ..Self::ok(name, detail) }
    }

    fn not_configured(name: &'static str, detail: impl Into<String>) -> Self {
        Self { state: State::NotConfigured, ..Self::ok(name, detail) }
    }

    /// Something that does not work, with the whole chain of causes.
    fn broken(
        name: &'static str,
        error: &(dyn std::error::Error + 'static),
        advice: impl Into<String>,
    ) -> Self {
        let chain: Vec<String> = std::iter::once(error.to_string()).chain(causes(error)).collect();
        Self::fail(name, chain.join(": "), advice)
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::NotConfigured => "-".to_owned(),
            state => state.to_string(),
        };
        write!(f, "{state:<4}  {:<16}  {}", self.name, self.detail)?;
        match &self.advice {
            Some(advice) => write!(f, "\n{:24}-> {advice}", ""),
            None => Ok(()),
        }
    }
}

pub(super) async fn run(json: bool) -> Result<(), StartError> {
    let examined = match configured(Profile::default()) {
        Ok((profile, config)) => examine(profile, config).await,
        Err(error) => Err(error),
    };
    match examined {
        Ok((profile, checks)) => {
            tell(Some(profile), &checks, json)?;
            match checks.iter().filter(|check| check.state == State::Fail).count() {
                0 => Ok(()),
                failed => Err(StartError::Told(format!("{failed} check(s) failed"))),
            }
        }
        Err(StartError::Configuration(mistakes)) => {
            let checks: Vec<Check> = mistakes.iter().map(mistaken).collect();
            tell(None, &checks, json)?;
            Err(StartError::Configuration(mistakes))
        }
        Err(error) => Err(error),
    }
}

fn mistaken(mistake: &Mistake) -> Check {
    let advice = format!("set {}; `convene config check` tells every mistake", mistake.variable);
    Check::fail("configuration", format!("{}: {}", mistake.key, mistake.message), advice)
}

/// Asks everything. Nothing is changed, but for what is declared at the broker once more where it is there already.
async fn examine(
    profile: Profile,
    mut config: Config,
) -> Result<(Profile, Vec<Check>), StartError> {
    let mut checks = vec![
        Check::ok("configuration", format!("profile {profile}")),
        secrets(profile, &config),
        webhook_targets(profile, &config),
    ];
    if let Err(error) = super::session::locate(&mut config).await {
        // Whatever else there is in the embedded profile belongs to that process.
        checks.push(Check::broken("database", &error, "`convene run` starts it"));
        return Ok((profile, checks));
    }
    let role = database::role(&config).await;
    let serving = role.as_ref().ok().cloned().flatten();
    let platform = Platform::assemble(profile, config, serving)?;
    match role {
        Ok(_) => {
            checks.extend(database::checks(&platform).await);
            checks.push(sealed(&platform).await);
        }
        Err(check) => checks.push(check),
    }
    checks.push(neighbours::redis(&platform).await);
    checks.extend(neighbours::broker(&platform).await?);
    checks.push(neighbours::smtp(&platform).await?);
    Ok((profile, checks))
}

/// Production has refused the development key before this.
fn secrets(profile: Profile, config: &Config) -> Check {
    const NAME: &str = "secrets";
    let key = &config.secrets.envelope_key;
    let previous = config.secrets.previous_envelope_keys.len();
    if EnvelopeKey::from_base64(key).is_err() {
        let advice = "set secrets.envelope_key: `openssl rand -base64 32` makes one";
        return Check::fail(NAME, "the envelope key is not 32 bytes in base64", advice);
    }
    if key.expose_secret() == PUBLIC_ENVELOPE_KEY {
        let detail = format!("the public development key is in force (profile {profile})");
        let advice = "set secrets.envelope_key before there are real people: `openssl rand -base64 32` makes one";
        return Check::warn(NAME, detail, advice);
    }
    Check::ok(NAME, format!("a key of one's own, 32 bytes; {previous} previous key(s)"))
}

/// Whether the configured keys open all that is stored for good, and whether those of before are still needed.
async fn sealed(platform: &Platform) -> Check {
    const NAME: &str = "sealed_values";
    let found = match super::keys::examine(platform, true).await {
        Ok(found) => found,
        Err(error) => return Check::broken(NAME, &error, "see the checks of the database"),
    };
    let sum = |of: fn(&Resealed) -> usize| -> usize { found.iter().map(|(_, all)| of(all)).sum() };
    let (lost, old) = (sum(|all| all.lost), sum(|all| all.changed));
    let previous = platform.config.secrets.previous_envelope_keys.len();
    if lost > 0 {
        let detail = format!("{lost} value(s) are under a key that is not configured");
        let advice = "add the key that was in force before to secrets.previous_envelope_keys";
        return Check::fail(NAME, detail, advice);
    }
    match (old, previous) {
        (0, 0) => Check::ok(NAME, "all are under the key in force"),
        (0, previous) => Check::ok(
            NAME,
            format!(
                "all are under the key in force; {previous} previous key(s) can go a day after the change, when no mail \
                 waits that was queued before it"
            ),
        ),
        (old, _) => {
            let detail = format!("{old} value(s) are under a previous key");
            Check::warn(NAME, detail, "run `convene keys reseal`")
        }
    }
}

fn webhook_targets(profile: Profile, config: &Config) -> Check {
    const NAME: &str = "webhook_targets";
    match (config.webhooks.allow_private_targets, profile) {
        (false, _) => Check::ok(NAME, "public addresses alone, over https"),
        (true, Profile::Embedded) => Check::ok(NAME, "private addresses too (profile embedded)"),
        (true, _) => Check::warn(
            NAME,
            "private addresses too: whoever makes an endpoint reaches this network",
            "set webhooks.allow_private_targets to false",
        ),
    }
}

fn tell(profile: Option<Profile>, checks: &[Check], json: bool) -> Result<(), StartError> {
    if json {
        let rows: Vec<_> = checks
            .iter()
            .map(|check| {
                json!({
                    "name": check.name,
                    "state": check.state.to_string(),
                    "detail": check.detail,
                    "advice": check.advice,
                })
            })
            .collect();
        return print_json(&json!({
            "ok": checks.iter().all(|check| check.state != State::Fail),
            "version": crate::version(),
            "profile": profile.map(|profile| profile.to_string()),
            "checks": rows,
        }));
    }
    say(format_args!("Convene {}", crate::version()))?;
    for check in checks {
        say(check)?;
    }
    Ok(())
}
