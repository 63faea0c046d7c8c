//! Redis.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;

use crate::{
    Engine, Error, Server, ServerOptions, engine::private, error::Attempt, probe, process,
    programs::Programs,
};

const PROGRAMS: Programs = Programs {
    server: "Redis",
    names: &["redis-server"],
    listed: "redis-server",
    package: "redis-server",
    variable: "CONVENE_REDIS_BIN",
    folders: &["/usr/local/bin", "/opt/redis/bin"],
    path_last: false,
};

/// A private Redis server without a password.
pub type Redis = Server<RedisEngine>;

/// How to run Redis.
#[derive(Debug)]
pub struct RedisEngine {
    program: PathBuf,
}

impl Server<RedisEngine> {
    /// The URL for connections to database 0.
    pub fn url(&self) -> String {
        format!("redis://{}/0", self.address())
    }
}

impl Engine for RedisEngine {}

impl private::Engine for RedisEngine {
    const NAME: &'static str = "Redis";
    const SLUG: &'static str = "redis";
    const INNER_PORTS: usize = 0;
    const STOP: Signal = Signal::TERM;

    fn locate(_folder: &Path) -> Result<Self, Error> {
        let bin = PROGRAMS.locate()?.remove(0);
        Ok(Self { program: bin.join("redis-server") })
    }

    fn prepare(&self, folder: &Path, _options: &ServerOptions) -> Result<(), Error> {
        let data = folder.join("data");
        fs::create_dir_all(&data).attempt(|| format!("create {}", data.display()))
    }

    fn command(&self, folder: &Path, ports: &[u16], options: &ServerOptions) -> Command {
        let ends_with_us = options.stop_on_drop.then_some(Self::STOP);
        let mut command = process::command(&self.program, ends_with_us);
        command.arg("--dir").arg(folder.join("data"));
        let port = ports[0].to_string();
        let append = if options.durable { "yes" } else { "no" };
        let own = [
            ("port", port.as_str()),
            ("bind", "127.0.0.1"),
            ("daemonize", "no"),
            ("save", ""),
            ("appendonly", append),
            ("appendfsync", "always"),
        ];
        let asked = options.settings.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        for (key, value) in own.into_iter().chain(asked) {
            command.arg(format!("--{key}")).arg(value);
        }
        command
    }

    fn probe(address: SocketAddr) -> io::Result<()> {
        probe::redis(address)
    }
}
