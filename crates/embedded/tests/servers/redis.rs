//! Starts real Redis servers.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use crate::support::{eventually, is_alive, report_and_wait, run_in_another_process};
use convene_embedded::{Redis, ServerOptions, probe};

const LINGER: Duration = Duration::from_millis(300);

fn start(options: ServerOptions) -> Redis {
    Redis::start(options).unwrap_or_else(|error| panic!("{error}"))
}

fn ask(server: &Redis, command: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
    let mut reply = [0; 256];
    let length = stream.read(&mut reply).unwrap();
    String::from_utf8_lossy(&reply[..length]).trim_end().replace("\r\n", " ")
}

#[test]
fn a_temporary_server_keeps_nothing_over_a_kill_but_its_port() {
    let mut server = start(ServerOptions::temporary().setting("databases", "3"));
    assert_eq!(ask(&server, "SET key value"), "+OK");
    assert_eq!(ask(&server, "CONFIG GET databases"), "*2 $9 databases $1 3");
    assert_eq!(server.url(), format!("redis://127.0.0.1:{}/0", server.port()));

    let port = server.port();
    server.kill().unwrap();
    assert!(!server.is_running());
    server.restart().unwrap();
    assert_eq!(server.port(), port);
    assert_eq!(ask(&server, "GET key"), "$-1");

    let pid = server.pid();
    drop(server);
    assert!(!is_alive(pid));
}

#[test]
fn a_durable_server_keeps_its_data_and_is_attached_to() {
    let folder = tempfile::tempdir().unwrap();
    let first = start(ServerOptions::persistent(folder.path()));
    assert_eq!(ask(&first, "SET key value"), "+OK");
    let pid = first.pid();
    drop(first);

    let mut second = start(ServerOptions::persistent(folder.path()));
    assert_eq!((second.attached(), second.pid()), (true, pid));
    second.kill().unwrap();
    second.restart().unwrap();
    assert_eq!(ask(&second, "GET key"), "$5 value");
    second.stop().unwrap();

    let mut third = start(ServerOptions::persistent(folder.path()));
    assert!(!third.attached());
    assert_eq!(ask(&third, "GET key"), "$5 value");
    third.stop().unwrap();
}

#[test]
fn paused_it_answers_nobody() {
    let server = start(ServerOptions::temporary());
    server.pause().unwrap();
    let paused = probe::redis(server.address());
    server.resume().unwrap();
    assert_eq!(paused.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    eventually("it answers again", || probe::redis(server.address()).is_ok());
}

#[test]
fn a_bad_setting_is_reported_with_the_servers_words() {
    let options = ServerOptions::temporary().setting("no-such-setting", "1");
    let error = Redis::start(options).unwrap_err().to_string();
    assert!(error.contains("no-such-setting"), "{error}");
}

fn share(folder: &Path) -> Redis {
    Redis::start_shared(ServerOptions::persistent(folder), LINGER)
        .unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_shared_server_runs_until_the_last_process_that_uses_it_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let ours = share(folder.path());
    let (mut other, pid) = run_in_another_process("redis::use_a_shared_one", folder.path());
    assert_eq!(ours.pid(), pid, "both use the same server");

    drop(ours);
    std::thread::sleep(LINGER * 3);
    assert!(is_alive(pid), "the other process still uses it");

    other.kill().unwrap();
    other.wait().unwrap();
    eventually("nobody is left, and it ends", || !is_alive(pid));

    let again = share(folder.path());
    assert!(!again.attached());
    let pid = again.pid();
    drop(again);
    eventually("it ends again", || !is_alive(pid));
}

#[test]
#[ignore = "run as a process of its own by another test"]
fn use_a_shared_one() {
    let folder = std::env::var_os("CONVENE_FOLDER").expect("run by another test");
    let server = share(folder.as_ref());
    report_and_wait(server.pid());
}
