use std::io::Write as _;

use secrecy::ExposeSecret as _;

use super::*;

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn keys(result: Result<(Profile, Config), Vec<Mistake>>) -> Vec<String> {
    let mut keys: Vec<_> = result.unwrap_err().into_iter().map(|mistake| mistake.key).collect();
    keys.sort();
    keys
}

#[test]
fn every_profile_is_whole() {
    assert!(load(&environment(&[]), Profile::Standard).is_ok());
    assert!(load(&environment(&[]), Profile::Embedded).is_ok());
    let production = load(&environment(&[("CONVENE_PROFILE", "production")]), Profile::Standard);
    assert_eq!(keys(production), ["database.url", "http.public_url", "secrets.envelope_key"]);
}

#[test]
fn variables_win_over_the_file_and_the_file_over_the_profile() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "[redis]\nprefix = \"file\"\nurl = \"redis://file\"").unwrap();
    let environment = environment(&[
        ("CONVENE_PROFILE", "embedded"),
        ("CONVENE_CONFIG", file.path().to_str().unwrap()),
        ("CONVENE__REDIS__PREFIX", "variable"),
        ("CONVENE__HTTP__CORS_ORIGINS", "https://a.example, https://b.example"),
    ]);
    let (profile, config) = load(&environment, Profile::Standard).unwrap();
    assert_eq!(profile, Profile::Embedded);
    assert_eq!(config.redis.prefix, "variable");
    assert_eq!(config.redis.url.expose_secret(), "redis://file");
    assert_eq!(config.http.cors_origins, ["https://a.example", "https://b.example"]);
}

#[test]
fn a_file_can_hold_a_secret() {
    let mut secret = tempfile::NamedTempFile::new().unwrap();
    writeln!(secret, "postgres://from-a-file").unwrap();
    let path = secret.path().to_str().unwrap();
    let (_, config) =
        load(&environment(&[("CONVENE__DATABASE__URL_FILE", path)]), Profile::Standard).unwrap();
    assert_eq!(config.database.url.expose_secret(), "postgres://from-a-file");

    let both = environment(&[
        ("CONVENE__DATABASE__URL_FILE", path),
        ("CONVENE__DATABASE__URL", "postgres://plain"),
    ]);
    assert_eq!(keys(load(&both, Profile::Standard)), ["database.url"]);
    let missing = environment(&[("CONVENE__DATABASE__URL_FILE", "/nowhere/secret")]);
    assert_eq!(keys(load(&missing, Profile::Standard)), ["database.url"]);
    let both_mistakes = environment(&[
        ("CONVENE__DATABASE__URL_FILE", "/nowhere/secret"),
        ("CONVENE__DATABASE__URL", "postgres://plain"),
    ]);
    let told = keys(load(&both_mistakes, Profile::Standard));
    assert_eq!(
        told,
        ["database.url", "database.url"],
        "the file is missing, and it is given twice"
    );
}

#[test]
fn all_mistakes_are_told_at_once() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(
        file,
        "[http]\nbind = \"nowhere\"\nbody_limit = \"large\"\ntypo = 1\n[worker]\nlease = \"1 hour\"\n[nonsense]\nx = 1"
    )
    .unwrap();
    let environment = environment(&[
        ("CONVENE_CONFIG", file.path().to_str().unwrap()),
        ("CONVENE__LIMITS__ENABLED", "maybe"),
        ("CONVENE__NO__SUCH", "1"),
        ("CONVENE__HTTP", "1"),
        ("CONVENE__TELEMETRY__LOG_FORMAT", "xml"),
    ]);
    assert_eq!(
        keys(load(&environment, Profile::Standard)),
        [
            "http",
            "http.bind",
            "http.body_limit",
            "http.typo",
            "limits.enabled",
            "no.such",
            "nonsense.x",
            "telemetry.log_format",
            "worker.lease",
        ]
    );
}

/// Work that is cut off, or leased to somebody else, while it is still being done would be done twice.
#[test]
fn a_lease_outlasts_its_job_and_a_job_what_it_sends() {
    for (variable, text, key) in [
        ("CONVENE__WORKER__LEASE", "25s", "worker.lease"),
        ("CONVENE__WORKER__HEARTBEAT", "15s", "worker.lease"),
        ("CONVENE__WORKER__HEARTBEAT", "0s", "worker.heartbeat"),
        ("CONVENE__WORKER__JOB_TIMEOUT", "20s", "worker.job_timeout"),
        ("CONVENE__WORKER__POLL_INTERVAL", "0ms", "worker.poll_interval"),
    ] {
        let refused = load(&environment(&[(variable, text)]), Profile::Standard);
        assert_eq!(keys(refused), [key], "{variable}={text}");
    }
}

/// What clients get that pin nothing must be something that is served.
#[test]
fn the_default_version_is_a_version() {
    let refused =
        load(&environment(&[("CONVENE__HTTP__DEFAULT_VERSION", "2020-01-01")]), Profile::Standard);
    assert_eq!(keys(refused), ["http.default_version"]);
}

#[test]
fn schemas_are_published_by_the_api_unless_another_place_is_named() {
    let base = |variables: &[(&str, &str)]| {
        load(&environment(variables), Profile::Standard).unwrap().1.schema_base()
    };
    let public = ("CONVENE__HTTP__PUBLIC_URL", "https://convene.example/");
    assert_eq!(base(&[public]), "https://convene.example");
    let named = ("CONVENE__EVENTS__SCHEMA_BASE", "https://schemas.example");
    assert_eq!(base(&[public, named]), "https://schemas.example");
}

#[test]
fn a_mistake_names_its_key_and_its_variable() {
    let mistake = Mistake::of("database.pool_size", "must be at least 1");
    assert_eq!(
        mistake.to_string(),
        "database.pool_size (CONVENE__DATABASE__POOL_SIZE): must be at least 1"
    );
}
