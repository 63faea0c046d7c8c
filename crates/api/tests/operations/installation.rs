//! A migrated database, and the binary that is run against it.

use std::io::Write as _;
use std::process::{Command, Stdio};

use convene_infrastructure::postgres::migrate;
use convene_testkit::database::TestDatabase;
use serde_json::Value;
use tokio_postgres::{Client, NoTls};

pub(crate) struct Installation {
    pub(crate) database: TestDatabase,
    pub(crate) sql: Client,
    settings: Vec<(String, String)>,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Installation {
    /// Without Redis, broker and mail server.
    pub(crate) async fn new() -> Self {
        let database = TestDatabase::create(
            async |url| migrate::migrate(&url.into()).await.map(|_| ()),
            migrate::migrations_hash(),
        )
        .await;
        let (sql, connection) =
            tokio_postgres::connect(&database.admin_url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        let this = Self { database, sql, settings: Vec::new() };
        let url = this.database.admin_url();
        this.with("CONVENE__DATABASE__URL", &url)
            .with("CONVENE__REDIS__URL", "")
            .with("CONVENE__BROKER__URL", "")
            .with("CONVENE__MAIL__SMTP_URL", "")
    }

    /// The same with another setting.
    pub(crate) fn with(mut self, variable: &str, value: &str) -> Self {
        self.settings.retain(|(known, _)| known != variable);
        self.settings.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        self.run_with(arguments, "")
    }

    /// A command of the binary, with these settings alone.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_convene"));
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("CONVENE") {
                command.env_remove(variable);
            }
        }
        command
            .args(arguments)
            .envs(self.settings.iter().map(|(variable, value)| (variable, value)));
        command
    }

    /// Runs a command with something on its standard input.
    pub(crate) fn run_with(&self, arguments: &[&str], stdin: &str) -> Run {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that does not read may have ended already.
        drop(child.stdin.take().unwrap().write_all(stdin.as_bytes()));
        let output = child.wait_with_output().unwrap();
        Run {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The text that a command prints, which must succeed.
    pub(crate) fn text(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!(run.code, Some(0), "{arguments:?}: {run:?}");
        assert_eq!(run.stderr, "", "{arguments:?}");
        run.stdout
    }

    /// The JSON that a command prints, which must succeed.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [&["--json"], arguments].concat();
        serde_json::from_str(&self.text(&arguments)).unwrap()
    }

    /// What a command says on standard error when it does not do its work.
    pub(crate) fn refusal(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!(run.code, Some(1), "{arguments:?}: {run:?}");
        run.stderr
    }

    pub(crate) async fn execute(&self, statements: &str) {
        self.sql.batch_execute(statements).await.unwrap_or_else(|error| {
            panic!("{statements}: {error:?}");
        });
    }

    /// The only value of a query, as text.
    pub(crate) async fn value(&self, query: &str) -> String {
        let row = self.sql.query_one(&format!("SELECT ({query})::text"), &[]).await;
        let row = row.unwrap_or_else(|error| panic!("{query}: {error:?}"));
        row.get::<_, Option<String>>(0).unwrap_or_default()
    }

    /// What the audit log holds of an action, as `actor object facts`, one line each.
    pub(crate) async fn audit(&self, action: &str) -> Vec<String> {
        let rows = self
            .sql
            .query(
                "SELECT actor || ' ' || object || ' ' || changed::text FROM audit_pending
                 WHERE action = $1 ORDER BY id",
                &[&action],
            )
            .await
            .unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Records an event of this community and aggregate, and gives it its position.
    pub(crate) async fn record(&self, event_type: &str, community: &str, subject: &str) {
        let fixture = include_str!("../../../contracts/fixtures/rsvp.confirmed.v1.json");
        let mut envelope: Value = serde_json::from_str(fixture).unwrap();
        let id = self.value("gen_random_uuid()").await;
        let time = self
            .value("to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
            .await;
        for (member, value) in
            [("id", id.as_str()), ("type", event_type), ("subject", subject), ("time", &time)]
        {
            envelope[member] = value.into();
        }
        let insert = "INSERT INTO outbox (event_id, event_type, version, community_id, envelope)
             VALUES ($1::text::uuid, $2, 1, $3::text::uuid, $4)";
        let bytes = serde_json::to_vec(&envelope).unwrap();
        self.sql.execute(insert, &[&id, &event_type, &community, &bytes]).await.unwrap();
        self.execute("SELECT convene_sequence(100)").await;
    }

    /// An endpoint of a community that wants every event; returns its id as it is stored.
    pub(crate) async fn endpoint(&self, community: &str, status: &str) -> String {
        let id = self.value("gen_random_uuid()").await;
        self.execute(&format!(
            "INSERT INTO webhook_endpoints (id, community_id, created_by, url, event_types, status, secret,
                                            created_at, updated_at)
             VALUES ('{id}', '{community}', gen_random_uuid(), 'https://example.org/hook', '{{*}}', '{status}',
                     'sealed', '2020-01-01T00:00:00Z', '2020-01-01T00:00:00Z')"
        ))
        .await;
        id
    }
}
