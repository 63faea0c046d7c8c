//! Starts real RabbitMQ servers. One test, because each start takes seconds.

use std::{fs, path::Path};

use crate::support::is_alive;
use convene_embedded::{RabbitMq, ServerOptions, probe};

fn start(options: ServerOptions) -> RabbitMq {
    RabbitMq::start(options).unwrap_or_else(|error| panic!("{error}"))
}

/// The processes that have the folder in their command line or environment.
fn processes_of(folder: &Path) -> Vec<u32> {
    let needle = folder.to_str().unwrap().as_bytes();
    let mentions = |path: String| {
        fs::read(path).is_ok_and(|bytes| bytes.windows(needle.len()).any(|part| part == needle))
    };
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != std::process::id())
        .filter(|pid| mentions(format!("/proc/{pid}/environ")))
        .collect()
}

#[test]
fn it_is_killed_restarted_paused_attached_to_and_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let options = ServerOptions::persistent(folder.path());
    let first = start(options.clone().setting("heartbeat", "17"));
    let (pid, port) = (first.pid(), first.port());
    assert_eq!(first.url(), format!("amqp://guest:guest@127.0.0.1:{port}/%2f"));
    let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(command.contains("beam"), "the number is the server's, not a script's: {command}");
    drop(first);

    let mut second = start(options);
    assert_eq!((second.attached(), second.pid(), second.port()), (true, pid, port));

    second.pause().unwrap();
    let paused = probe::rabbitmq(second.address());
    second.resume().unwrap();
    assert_eq!(paused.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);

    second.kill().unwrap();
    assert!(!is_alive(pid));
    second.restart().unwrap();
    assert_eq!(second.port(), port);
    probe::rabbitmq(second.address()).unwrap();

    second.stop().unwrap();
    assert!(!second.is_running());
    assert_eq!(processes_of(folder.path()), Vec::<u32>::new());
    let state = fs::read_to_string(folder.path().join("server.json")).unwrap();
    assert!(state.contains(r#""companion": null"#), "{state}");
}
