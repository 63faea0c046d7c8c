//! Where settings come from, and every mistake in them at once.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;
use toml::{Table, Value};

use super::{Config, Profile, rules};

const DEFAULT: &str = include_str!("../../../../config/default.toml");
const EMBEDDED: &str = include_str!("../../../../config/embedded.toml");
const PRODUCTION: &str = include_str!("../../../../config/production.toml");
const PREFIX: &str = "CONVENE__";
const TWICE: &str = "given both plainly and as _FILE: keep one";

/// The process' environment variables, passed in so that tests need not touch the process.
pub type Environment = BTreeMap<String, String>;

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// The dotted key, such as `http.bind`.
    pub key: String,
    /// The variable of the key, such as `CONVENE__HTTP__BIND`.
    pub variable: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Mistake {
    /// A mistake in the value of a key.
    pub fn of(key: impl Into<String>, message: impl Into<String>) -> Self {
        let key = key.into();
        let variable = variable(&key);
        Self { key, variable, message: message.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.key, self.variable, self.message)
    }
}

fn variable(key: &str) -> String {
    if key.starts_with("CONVENE") {
        return key.to_owned();
    }
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

/// Reads all sources in their order.
///
/// # Errors
/// Every mistake that can be found without connecting to anything.
pub fn load(
    environment: &Environment,
    fallback: Profile,
) -> Result<(Profile, Config), Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let profile = profile(environment, fallback, &mut mistakes);
    let defaults = built_in(DEFAULT);
    let mut given: BTreeMap<String, Value> = BTreeMap::new();
    match profile {
        Profile::Standard => {}
        Profile::Embedded => flatten("", built_in(EMBEDDED), &mut given),
        Profile::Production => flatten("", built_in(PRODUCTION), &mut given),
    }
    if let Some(path) = environment.get("CONVENE_CONFIG") {
        match file(Path::new(path)) {
            Ok(table) => flatten("", table, &mut given),
            Err(message) => mistakes.push(Mistake::of("CONVENE_CONFIG", message)),
        }
    }
    for (key, value) in variables(environment, &mut mistakes) {
        match lookup(&defaults, &key).map(|default| typed(&value, default)) {
            Some(Ok(value)) => {
                given.insert(key, value);
            }
            Some(Err(message)) => mistakes.push(Mistake::of(key, message)),
            None => mistakes.push(Mistake::of(key, "there is no such setting")),
        }
    }
    let config = assemble(&defaults, given, &mut mistakes);
    match config {
        Some(config) => {
            mistakes.extend(rules::check(profile, &config));
            if mistakes.is_empty() { Ok((profile, config)) } else { Err(mistakes) }
        }
        None => Err(mistakes),
    }
}

fn profile(environment: &Environment, fallback: Profile, mistakes: &mut Vec<Mistake>) -> Profile {
    let Some(name) = environment.get("CONVENE_PROFILE") else { return fallback };
    name.parse().unwrap_or_else(|_| {
        let message = format!("`{name}` is none of embedded, standard, production");
        mistakes.push(Mistake::of("CONVENE_PROFILE", message));
        fallback
    })
}

/// Tries each given value by itself on the defaults, so that one mistake does not hide another, and puts the good ones
/// together.
fn assemble(
    defaults: &Table,
    given: BTreeMap<String, Value>,
    mistakes: &mut Vec<Mistake>,
) -> Option<Config> {
    let mut merged = defaults.clone();
    for (key, value) in given {
        let Some(default) = lookup(defaults, &key) else {
            mistakes.push(Mistake::of(key, "there is no such setting"));
            continue;
        };
        if default.is_table() || value.is_table() {
            mistakes.push(Mistake::of(key, "this is a section, not a value"));
            continue;
        }
        let mut trial = defaults.clone();
        replace(&mut trial, &key, value.clone());
        match trial.try_into::<Config>() {
            Ok(_) => replace(&mut merged, &key, value),
            Err(error) => mistakes.push(Mistake::of(key, error.message().to_owned())),
        }
    }
    merged
        .try_into()
        .map_err(|error: toml::de::Error| mistakes.push(Mistake::of("*", error.to_string())))
        .ok()
}

/// The dotted keys that variables set, with their text.
fn variables(environment: &Environment, mistakes: &mut Vec<Mistake>) -> Vec<(String, String)> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in environment.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        let path = &name[PREFIX.len()..];
        let (path, value) = match path.strip_suffix("_FILE") {
            Some(path) => match std::fs::read_to_string(value) {
                Ok(text) => (path, text.trim_end_matches(['\r', '\n']).to_owned()),
                Err(error) => {
                    let message = format!("the file `{value}` cannot be read: {error}");
                    mistakes.push(Mistake {
                        variable: name.clone(),
                        ..Mistake::of(dotted(path), message)
                    });
                    if environment.contains_key(&format!("{PREFIX}{path}")) {
                        mistakes.push(Mistake::of(dotted(path), TWICE));
                    }
                    continue;
                }
            },
            None => (path, value.clone()),
        };
        if found.insert(dotted(path), value).is_some() {
            mistakes.push(Mistake::of(dotted(path), TWICE));
        }
    }
    found.into_iter().collect()
}

fn dotted(path: &str) -> String {
    path.split("__").map(str::to_lowercase).collect::<Vec<_>>().join(".")
}

/// The text of a variable as the type that its default has.
fn typed(text: &str, default: &Value) -> Result<Value, String> {
    match default {
        Value::Boolean(_) => text
            .parse()
            .map(Value::Boolean)
            .map_err(|_| format!("`{text}` is neither true nor false")),
        Value::Integer(_) => {
            text.parse().map(Value::Integer).map_err(|_| format!("`{text}` is not a whole number"))
        }
        Value::Float(_) => {
            text.parse().map(Value::Float).map_err(|_| format!("`{text}` is not a number"))
        }
        Value::Array(_) => Ok(Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| Value::String(item.to_owned()))
                .collect(),
        )),
        Value::Table(_) => Err("this is a section, not a value".to_owned()),
        _ => Ok(Value::String(text.to_owned())),
    }
}

fn file(path: &Path) -> Result<Table, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("the file `{}` cannot be read: {error}", path.display()))?;
    text.parse().map_err(|error| format!("the file `{}` is not TOML: {error}", path.display()))
}

fn built_in(text: &str) -> Table {
    text.parse().expect("the files that are compiled in are read by a test")
}

fn flatten(prefix: &str, table: Table, into: &mut BTreeMap<String, Value>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(table) => flatten(&key, table, into),
            value => {
                into.insert(key, value);
            }
        }
    }
}

fn lookup<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    let (section, name) = key.split_once('.').map_or((key, None), |(a, b)| (a, Some(b)));
    match name {
        None => table.get(section),
        Some(name) => table.get(section)?.as_table()?.get(name),
    }
}

fn replace(table: &mut Table, key: &str, value: Value) {
    if let Some((section, name)) = key.split_once('.')
        && let Some(Value::Table(section)) = table.get_mut(section)
    {
        section.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests;
