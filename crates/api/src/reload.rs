//! Secrets that are exchanged while the process runs: their files are read again when they change, and upon SIGHUP.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use convene_integrations::security::EnvelopeKeys;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::interval;

use crate::config::{Environment, Profile, load};
use crate::error::StartError;
use crate::wiring::envelope_keys;

/// How often to look whether a file has changed.
const LOOK: Duration = Duration::from_secs(2);

/// When the files were written last; one that is not there has no time.
type Written = BTreeMap<PathBuf, Option<SystemTime>>;

/// Puts changed envelope keys in force until it is dropped.
pub(crate) async fn secrets(
    environment: Environment,
    fallback: Profile,
    keys: Arc<EnvelopeKeys>,
) -> Result<(), std::io::Error> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut tick = interval(LOOK);
    let mut known = written(&environment);
    loop {
        let asked = tokio::select! {
            _ = hangup.recv() => true,
            _ = tick.tick() => false,
        };
        let now = written(&environment);
        if asked || now != known {
            known = now;
            exchange(&environment, fallback, &keys);
        }
    }
}

/// Reads the configuration again. One with mistakes changes nothing: the process goes on with what it has.
fn exchange(environment: &Environment, fallback: Profile, keys: &EnvelopeKeys) {
    let loaded = load(environment, fallback).map_err(StartError::Configuration);
    match loaded.and_then(|(_, config)| envelope_keys(&config.secrets)) {
        Ok((current, previous)) => {
            let previous_keys = previous.len();
            if keys.replace(current, previous) {
                tracing::info!(previous_keys, "other envelope keys are in force");
            }
        }
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the secrets could not be read again; those that were read before stay in force"
            );
        }
    }
}

/// The files that secrets may come from.
fn written(environment: &Environment) -> Written {
    let names_one = |name: &str| {
        name == "CONVENE_CONFIG"
            || (name.starts_with("CONVENE__SECRETS__") && name.ends_with("_FILE"))
    };
    environment
        .iter()
        .filter(|(name, _)| names_one(name))
        .map(|(_, path)| (PathBuf::from(path), modified(Path::new(path))))
        .collect()
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

#[cfg(test)]
mod tests {
    use convene_application::kernel::secrets::Sealer as _;
    use convene_integrations::security::{EnvelopeKey, EnvelopeSealer};

    use super::*;

    const OLD: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    const NEW: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

    #[test]
    fn a_changed_file_is_noticed_and_a_mistaken_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (current, previous) = (folder.path().join("key"), folder.path().join("previous"));
        let environment: Environment = [
            ("CONVENE__SECRETS__ENVELOPE_KEY_FILE", &current),
            ("CONVENE__SECRETS__PREVIOUS_ENVELOPE_KEYS_FILE", &previous),
        ]
        .map(|(name, path)| (name.to_owned(), path.to_str().unwrap().to_owned()))
        .into();
        std::fs::write(&current, OLD).unwrap();
        std::fs::write(&previous, "").unwrap();
        let before = written(&environment);
        assert_eq!(before.len(), 2);
        let keys = EnvelopeKeys::new(EnvelopeKey::new([1; 32]), Vec::new());
        let sealer = EnvelopeSealer::over(Arc::clone(&keys));
        let sealed = sealer.seal("token", b"plain");

        std::fs::write(&current, "not a key").unwrap();
        exchange(&environment, Profile::Standard, &keys);
        assert_eq!(sealer.reseal("token", &sealed), Ok(None), "the old key stays");

        std::fs::write(&current, NEW).unwrap();
        std::fs::write(&previous, OLD).unwrap();
        exchange(&environment, Profile::Standard, &keys);
        assert!(sealer.reseal("token", &sealed).unwrap().is_some(), "the new key is in force");

        std::fs::remove_file(&current).unwrap();
        assert_ne!(written(&environment), before, "the file is gone");
    }
}
