//! `cargo xtask deploy`: whether the files under `deploy` agree with the code and with each other, as far as that can be
//! told without running them.

use std::collections::BTreeSet;
use std::path::Path;

use toml::{Table, Value};

use crate::{Result, repository};

const COMPOSE: &str = "deploy/compose.yaml";
const DOCKERFILE: &str = "deploy/Dockerfile";
const SECRETS: &str = "deploy/make-secrets.sh";
const ALERTS: &str = "deploy/prometheus/alerts.yaml";
const RUNBOOKS: &str = "docs/runbooks";
const PREFIX: &str = "CONVENE__";

/// Checks settings, users, hardening, secrets, and that each alert has its runbook.
///
/// # Errors
/// All that is wrong, or what could not be read.
pub(crate) fn run(root: &Path) -> Result<()> {
    let read = |path| repository::read(root, path);
    let settings: Table = read("config/default.toml")?.parse()?;
    let (compose, dockerfile) = (read(COMPOSE)?, read(DOCKERFILE)?);
    let mut mistakes = Vec::new();
    for (file, text) in [(COMPOSE, &compose), (DOCKERFILE, &dockerfile)] {
        mistakes.extend(
            unknown_settings(&settings, text).map(|name| format!("{file}: {name} is no setting")),
        );
    }
    mistakes
        .extend(exposed_services(&compose).into_iter().map(|what| format!("{COMPOSE}: {what}")));
    mistakes.extend(
        secrets(&compose, &read(SECRETS)?).into_iter().map(|what| format!("{COMPOSE}: {what}")),
    );
    if !runs_as_nobody(&dockerfile) {
        mistakes.push(format!("{DOCKERFILE}: the last USER must be a number above 0"));
    }
    let pages = repository::files(root, &[RUNBOOKS], "md")?;
    let pages = pages.iter().filter_map(|page| page.path.rsplit('/').next()?.strip_suffix(".md"));
    mistakes.extend(runbooks(&read(ALERTS)?, &pages.collect()));
    if mistakes.is_empty() {
        println!("deploy: the files agree with the settings and with each other");
        return Ok(());
    }
    Err(mistakes.join("\n").into())
}

/// Alerts without a page of their name, and pages without an alert.
fn runbooks(alerts: &str, pages: &BTreeSet<&str>) -> Vec<String> {
    let values = |key: &'static str| {
        alerts.lines().filter_map(move |line| line.trim().strip_prefix(key)).map(str::trim)
    };
    let alerts: BTreeSet<&str> = values("- alert:").collect();
    let linked: BTreeSet<&str> = values("runbook_url:")
        .map(|url| url.rsplit('/').next().unwrap_or(url).trim_end_matches(".md"))
        .collect();
    let missing = alerts
        .iter()
        .filter(|alert| !pages.contains(*alert) || !linked.contains(*alert))
        .map(|alert| format!("{ALERTS}: {alert} has no runbook {RUNBOOKS}/{alert}.md to link to"));
    let needless = pages
        .iter()
        .filter(|page| **page != "README" && !alerts.contains(*page))
        .map(|page| format!("{RUNBOOKS}/{page}.md: there is no such alert"));
    missing.chain(needless).collect()
}

/// The variables in a text that no key of the settings stands behind.
fn unknown_settings<'a>(settings: &Table, text: &'a str) -> impl Iterator<Item = &'a str> {
    let variables = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let unknown = |name: &&str| {
        name.strip_prefix(PREFIX).is_some_and(|key| {
            let known = |key: &str| {
                let mut path = key.split("__").map(str::to_lowercase);
                let section = path.next().and_then(|section| settings.get(&section));
                let value = section.zip(path.next()).and_then(|(section, name)| section.get(name));
                path.next().is_none()
                    && value.is_some_and(|value| !matches!(value, Value::Table(_)))
            };
            !known(key) && !key.strip_suffix("_FILE").is_some_and(known)
        })
    };
    variables.filter(unknown)
}

/// The services that are not hardened, or may run as root. Each says its user itself: images have different ones.
fn exposed_services(compose: &str) -> Vec<String> {
    let mut mistakes = Vec::new();
    for (name, body) in services(compose) {
        let hardened = ["<<: *hardened", "<<: *convene"];
        if !body.iter().any(|line| hardened.contains(&line.trim())) {
            mistakes.push(format!("`{name}` is not hardened"));
        }
        let user = body.iter().find_map(|line| line.trim().strip_prefix("user:"));
        if !user.is_some_and(|user| is_nobody(user.trim().trim_matches('"'))) {
            mistakes.push(format!("`{name}` has no numeric user other than root"));
        }
        if body.iter().any(|line| matches!(line.trim(), "privileged: true" | "read_only: false")) {
            mistakes.push(format!("`{name}` takes back its hardening"));
        }
    }
    for hardening in ["read_only: true", "cap_drop: [ALL]", "no-new-privileges:true"] {
        if !compose.contains(hardening) {
            mistakes.push(format!("`{hardening}` is missing"));
        }
    }
    mistakes
}

/// The services with their lines.
fn services(compose: &str) -> Vec<(&str, Vec<&str>)> {
    let lines = compose.lines().skip_while(|line| *line != "services:").skip(1);
    let lines = lines.take_while(|line| line.is_empty() || line.starts_with(' '));
    let mut services: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in lines {
        let name = line.strip_prefix("  ").filter(|line| !line.starts_with([' ', '#']));
        match (name.and_then(|name| name.strip_suffix(':')), services.last_mut()) {
            (Some(name), _) => services.push((name, Vec::new())),
            (None, Some((_, body))) => body.push(line),
            (None, None) => {}
        }
    }
    services
}

/// The secrets that are used and not declared, or declared and made by nobody.
fn secrets(compose: &str, script: &str) -> Vec<String> {
    let declared: BTreeSet<&str> = compose
        .lines()
        .skip_while(|line| *line != "secrets:")
        .filter_map(|line| line.trim().split_once(": { file: ").map(|(name, _)| name))
        .collect();
    let used = compose.split("/run/secrets/").skip(1).filter_map(|rest| {
        rest.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '.')).next()
    });
    let undeclared = used.filter(|name| !declared.contains(name));
    let undeclared = undeclared.map(|name| format!("the secret `{name}` is not declared"));
    let unmade = declared.iter().filter(|name| !script.contains(&format!(">{name}")));
    let unmade = unmade.map(|name| format!("{SECRETS} does not make `{name}`"));
    undeclared.chain(unmade).collect()
}

fn runs_as_nobody(dockerfile: &str) -> bool {
    let mut users = dockerfile.lines().filter_map(|line| line.strip_prefix("USER "));
    users.next_back().is_some_and(is_nobody)
}

/// Whether a user is given by a number, and not root's.
fn is_nobody(user: &str) -> bool {
    let id = user.split(':').next().unwrap_or_default();
    id.parse::<u32>().is_ok_and(|id| id > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_repositorys_files_agree() {
        if let Err(mistakes) = run(&repository::root()) {
            panic!("{mistakes}");
        }
    }

    #[test]
    fn a_setting_must_exist_also_from_a_file() {
        let settings = "[http]\nbind = ''\n[database]\nurl = ''".parse().expect("it is TOML");
        let text = "CONVENE__HTTP__BIND: x\n-e CONVENE__DATABASE__URL_FILE=/x CONVENE_PROFILE\n";
        assert_eq!(unknown_settings(&settings, text).count(), 0);
        let text = "CONVENE__HTTP__PORT: CONVENE__HTTP: CONVENE__HTTP__BIND__X";
        assert_eq!(unknown_settings(&settings, text).count(), 3);
    }

    #[test]
    fn an_alert_and_its_runbook_belong_together() {
        let alerts = "rules:\n  - alert: A\n    annotations:\n      runbook_url: docs/runbooks/A.md\n  - alert: B\n";
        assert_eq!(runbooks(alerts, &["A", "B", "C", "README"].into()).len(), 2);
        assert_eq!(runbooks(alerts, &["A", "README"].into()).len(), 1);
        assert!(runbooks(&alerts[..alerts.len() - 13], &["A", "README"].into()).is_empty());
    }

    #[test]
    fn a_service_must_be_hardened_and_not_root() {
        let compose = "x-hardened: &hardened\n  read_only: true\n  cap_drop: [ALL]\n  security_opt: \
            [\"no-new-privileges:true\"]\nservices:\n  good:\n    <<: *hardened\n    user: \"7:7\"\n  \
            # bad\n  bad:\n    image: x\n    user: root\n  worse:\n    <<: *hardened\n    privileged: \
            true\nvolumes:\n  data:\n";
        assert_eq!(
            exposed_services(compose),
            [
                "`bad` is not hardened",
                "`bad` has no numeric user other than root",
                "`worse` has no numeric user other than root",
                "`worse` takes back its hardening",
            ]
        );
    }

    #[test]
    fn a_secret_is_declared_and_made() {
        let compose = "url: /run/secrets/url\nkey: /run/secrets/key\nsecrets:\n  url: { file: secrets/url }\n";
        assert_eq!(
            secrets(compose, "echo x >key"),
            ["the secret `key` is not declared", "deploy/make-secrets.sh does not make `url`"]
        );
    }

    #[test]
    fn an_image_runs_as_a_number_that_is_not_roots() {
        assert!(runs_as_nobody("FROM x\nUSER root\nRUN y\nUSER 10001:10001\n"));
        for user in ["USER 0", "USER app", "USER 1\nUSER root", ""] {
            assert!(!runs_as_nobody(user), "{user}");
        }
    }
}
