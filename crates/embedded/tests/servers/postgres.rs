//! Starts real PostgreSQL servers.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::support::{eventually, is_alive, report_and_wait, run_in_another_process};
use convene_embedded::{Error, Postgres, ServerOptions, port, probe};
use tempfile::TempDir;

/// A folder that the unprivileged user may enter who runs Postgres when the tests run as root.
fn folder() -> TempDir {
    let permissions = fs::Permissions::from_mode(0o755);
    tempfile::Builder::new().permissions(permissions).tempdir().unwrap()
}

fn kept(folder: &Path) -> ServerOptions {
    ServerOptions { durable: false, ..ServerOptions::persistent(folder) }
}

fn start(options: ServerOptions) -> Postgres {
    Postgres::start(options).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs a statement and returns what it answers.
fn query(server: &Postgres, sql: &str) -> String {
    let output = Command::new("psql")
        .args(["--no-psqlrc", "--tuples-only", "--no-align", "--command", sql])
        .arg(server.url("postgres", "postgres"))
        .output()
        .expect("psql is missing: install the package `postgresql-client` (`make setup` does)");
    let text = |bytes| String::from_utf8(bytes).unwrap().trim().to_owned();
    assert!(output.status.success(), "{sql}: {}", text(output.stderr));
    text(output.stdout)
}

#[test]
fn a_temporary_server_is_as_documented_and_gone_with_its_handle() {
    let server = start(ServerOptions::temporary().setting("max_connections", "17"));
    let settings = "select current_setting('server_encoding'), current_setting('lc_collate'),
        current_setting('timezone'), current_setting('listen_addresses'),
        current_setting('unix_socket_directories'), current_setting('fsync'),
        current_setting('synchronous_commit'), current_setting('max_connections')";
    assert_eq!(query(&server, settings), "UTF8|C|UTC|127.0.0.1||off|on|17");

    let (pid, log) = (server.pid(), server.log());
    assert!(log.exists());
    drop(server);
    assert!(!is_alive(pid));
    assert!(!log.exists());
}

#[test]
fn only_a_running_server_is_attached_to_without_starting_one() {
    let folder = folder();
    let absent = folder.path().join("absent");
    assert!(Postgres::running(kept(&absent)).unwrap().is_none());
    assert!(!absent.exists(), "nothing is created");

    let mut server = start(kept(folder.path()));
    let attached = Postgres::running(kept(folder.path())).unwrap().expect("it runs");
    assert_eq!((attached.pid(), attached.port()), (server.pid(), server.port()));
    drop(attached);
    assert!(server.is_running(), "who only looked stops nothing");
    server.stop().unwrap();
    assert!(Postgres::running(kept(folder.path())).unwrap().is_none());
}

#[test]
fn killed_and_restarted_it_has_its_data_and_its_port() {
    let mut server = start(ServerOptions::temporary());
    query(&server, "create table kept as select 42 as answer");
    let (port, first) = (server.port(), server.pid());

    server.kill().unwrap();
    assert!(!server.is_running());
    assert!(probe::postgres(server.address()).is_err());

    server.restart().unwrap();
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), first);
    assert_eq!(query(&server, "select answer from kept"), "42");

    server.restart().unwrap();
    assert_eq!(query(&server, "select answer from kept"), "42");
}

#[test]
fn paused_it_answers_nobody_and_resumed_it_does() {
    let server = start(ServerOptions::temporary());
    server.pause().unwrap();
    assert!(server.is_running());
    let paused = probe::postgres(server.address());
    server.resume().unwrap();
    assert_eq!(paused.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    eventually("it answers again", || probe::postgres(server.address()).is_ok());
}

#[test]
fn a_paused_server_can_be_stopped() {
    let mut server = start(ServerOptions::temporary());
    server.pause().unwrap();
    let begun = Instant::now();
    server.stop().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20), "it had to be killed");
}

#[test]
fn a_kept_server_outlives_its_handle_and_is_attached_to() {
    let folder = folder();
    let first = start(kept(folder.path()));
    let (pid, port) = (first.pid(), first.port());
    assert!(!first.attached());
    query(&first, "create table kept ()");
    drop(first);
    assert!(is_alive(pid));

    let mut second = start(kept(folder.path()));
    assert!(second.attached());
    assert_eq!((second.pid(), second.port()), (pid, port));
    let elsewhere = port::free().unwrap();
    let error = Postgres::start(kept(folder.path()).port(elsewhere)).unwrap_err();
    assert!(matches!(error, Error::RunsElsewhere { .. }), "{error}");

    // The zombie that a killed child of ours is must not pass for a running server.
    second.kill().unwrap();
    let mut third = start(kept(folder.path()));
    assert!(!third.attached());
    assert_eq!(third.port(), port);
    assert_eq!(query(&third, "select count(*) from kept"), "0");
    third.stop().unwrap();
    third.stop().unwrap();
    assert!(!third.is_running());
}

#[test]
fn a_record_of_a_dead_server_whose_number_is_in_use_is_no_obstacle() {
    let folder = folder();
    start(kept(folder.path())).stop().unwrap();
    let record = folder.path().join("cluster/postmaster.pid");
    // Our own number stands for any other process's.
    fs::write(&record, format!("{}\n/elsewhere\n0\n1\n\n", std::process::id())).unwrap();
    let mut server = start(kept(folder.path()));
    assert!(!server.attached());
    server.stop().unwrap();
}

#[test]
fn sessions_that_survive_a_killed_postmaster_are_no_obstacle() {
    let folder = folder();
    let first = start(kept(folder.path()));
    query(&first, "create table kept ()");
    let busy = "do $$ begin loop null; end loop; end $$";
    let mut session = Command::new("psql")
        .args(["--no-psqlrc", "--command", busy])
        .arg(first.url("postgres", "postgres"))
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    eventually("the session is busy", || {
        query(&first, "select count(*) from pg_stat_activity where query like 'do %'") == "1"
    });
    let killed =
        Command::new("sh").args(["-c", "kill -9 $0", &first.pid().to_string()]).status().unwrap();
    assert!(killed.success());
    eventually("the postmaster is gone", || !first.is_running());

    let mut second = start(kept(folder.path()));
    assert_eq!(query(&second, "select count(*) from kept"), "0");
    assert!(!session.wait().unwrap().success());
    second.stop().unwrap();
}

#[test]
fn an_interrupted_initdb_is_done_again() {
    let folder = folder();
    fs::create_dir_all(folder.path().join("cluster.new/base")).unwrap();
    start(kept(folder.path())).stop().unwrap();
    assert!(!folder.path().join("cluster.new").exists());
}

#[test]
fn it_moves_when_its_port_is_taken_unless_the_port_was_asked_for() {
    let folder = folder();
    let mut server = start(kept(folder.path()));
    let port = server.port();
    server.stop().unwrap();

    let _other = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let error = Postgres::start(kept(folder.path()).port(port)).unwrap_err();
    assert!(matches!(error, Error::PortTaken { port: taken } if taken == port), "{error}");
    let mut moved = start(kept(folder.path()));
    assert_ne!(moved.port(), port);
    moved.stop().unwrap();
}

#[test]
fn unusable_folders_are_refused_with_their_reason() {
    let folder = folder();
    fs::create_dir(folder.path().join("cluster")).unwrap();
    fs::write(folder.path().join("cluster/thesis.txt"), "").unwrap();
    let error = Postgres::start(kept(folder.path())).unwrap_err();
    assert!(matches!(error, Error::NotACluster { .. } | Error::ForeignOwner { .. }), "{error}");

    fs::write(folder.path().join("cluster/PG_VERSION"), "7\n").unwrap();
    let error = Postgres::start(kept(folder.path())).unwrap_err();
    assert!(error.to_string().contains("install `postgresql-7`"), "{error}");
}

#[test]
fn a_bad_setting_is_reported_with_the_servers_words() {
    let error = Postgres::start(ServerOptions::temporary().setting("no_such_setting", "1"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("no_such_setting"), "{error}");
}

#[test]
fn after_kill_9_of_its_starter_a_kept_server_runs_on_and_a_temporary_one_does_not() {
    let folder = folder();
    let (mut starter, kept_pid) =
        run_in_another_process("postgres::start_a_kept_one", folder.path());
    starter.kill().unwrap();
    starter.wait().unwrap();
    let mut attached = start(kept(folder.path()));
    assert_eq!((attached.attached(), attached.pid()), (true, kept_pid));
    attached.stop().unwrap();

    let folder = self::folder();
    let (mut starter, pid) =
        run_in_another_process("postgres::start_a_temporary_one", folder.path());
    let cluster = fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
    starter.kill().unwrap();
    starter.wait().unwrap();
    eventually("the temporary server ends", || !is_alive(pid));
    assert!(cluster.exists(), "nobody was left to remove its folder");
    drop(start(ServerOptions::temporary()));
    eventually("the next one removes it", || !cluster.exists());
}

#[test]
#[ignore = "run as a process of its own by another test"]
fn start_a_kept_one() {
    let folder = std::env::var_os("CONVENE_FOLDER").expect("run by another test");
    report_and_wait(start(kept(folder.as_ref())).pid());
}

#[test]
#[ignore = "run as a process of its own by another test"]
fn start_a_temporary_one() {
    let server = start(ServerOptions::temporary());
    report_and_wait(server.pid());
}
