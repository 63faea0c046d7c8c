//! RabbitMQ.

use std::{
    fmt::Write,
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

/// `/usr/sbin/rabbitmq-server`, which the PATH finds on Debian, is a wrapper that changes user and
/// folders; it is taken only where nothing else is installed.
const PROGRAMS: Programs = Programs {
    server: "RabbitMQ",
    names: &["rabbitmq-server"],
    listed: "rabbitmq-server",
    package: "rabbitmq-server",
    variable: "CONVENE_RABBITMQ_BIN",
    folders: &[
        "/usr/lib/rabbitmq/bin",
        "/usr/lib/rabbitmq/lib/*/sbin",
        "/opt/rabbitmq/sbin",
        "/usr/local/lib/rabbitmq/sbin",
    ],
    path_last: true,
};
/// Erlang's name service, which nodes ask for each other's ports.
const EPMD: Programs = Programs {
    server: "Erlang",
    names: &["epmd"],
    listed: "epmd",
    package: "erlang-base",
    variable: "CONVENE_EPMD_BIN",
    folders: &["/usr/lib/erlang/bin", "/usr/lib64/erlang/bin", "/usr/local/lib/erlang/bin"],
    path_last: false,
};

/// A private RabbitMQ server with user `guest`, password `guest`, virtual host `/`, and no plugins.
pub type RabbitMq = Server<RabbitMqEngine>;

/// How to run RabbitMQ.
#[derive(Debug)]
pub struct RabbitMqEngine {
    program: PathBuf,
    epmd: PathBuf,
}

impl Server<RabbitMqEngine> {
    /// The URL for connections to the virtual host `/`.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@{}/%2f", self.address())
    }
}

impl Engine for RabbitMqEngine {}

impl private::Engine for RabbitMqEngine {
    const NAME: &'static str = "RabbitMQ";
    const SLUG: &'static str = "rabbitmq";
    /// Between Erlang nodes, and epmd's.
    const INNER_PORTS: usize = 2;
    const STOP: Signal = Signal::TERM;

    fn locate(_folder: &Path) -> Result<Self, Error> {
        let bin = PROGRAMS.locate()?.remove(0);
        let epmd = EPMD.locate()?.remove(0).join("epmd");
        Ok(Self { program: bin.join("rabbitmq-server"), epmd })
    }

    /// Writes every file that the server would otherwise look for in `/etc/rabbitmq`.
    fn prepare(&self, folder: &Path, options: &ServerOptions) -> Result<(), Error> {
        let mut settings = String::new();
        for (key, value) in &options.settings {
            writeln!(settings, "{key} = {value}").expect("a String takes all that is written");
        }
        let write = || {
            for name in ["mnesia", "log", "conf.d"] {
                fs::create_dir_all(folder.join(name))?;
            }
            fs::write(folder.join("rabbitmq-env.conf"), "")?;
            fs::write(folder.join("rabbitmq.conf"), settings)?;
            fs::write(folder.join("advanced.config"), "[].\n")?;
            fs::write(folder.join("enabled_plugins"), "[].\n")
        };
        write().attempt(|| format!("write RabbitMQ's configuration to {}", folder.display()))
    }

    fn command(&self, folder: &Path, ports: &[u16], options: &ServerOptions) -> Command {
        let ends_with_us = options.stop_on_drop.then_some(Self::STOP);
        let mut command = process::command(&self.program, ends_with_us);
        in_clean_environment(&mut command, ports[2]);
        command
            .current_dir(folder)
            // The Erlang cookie lies in the home folder.
            .env("HOME", folder)
            .env("ERL_FLAGS", "-kernel inet_dist_use_interface {127,0,0,1}")
            // With an input "allowed", the script replaces itself by the server instead of
            // waiting beside it, so that the process number is the server's.
            .env("RABBITMQ_ALLOW_INPUT", "1")
            .env("RABBITMQ_SERVER_START_ARGS", "-noshell -noinput +B i")
            // The data lies under the node's name, which therefore stays the same.
            .env("RABBITMQ_NODENAME", "convene@localhost")
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", ports[0].to_string())
            .env("RABBITMQ_DIST_PORT", ports[1].to_string())
            .env("RABBITMQ_MNESIA_BASE", folder.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", folder.join("log"))
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_CONF_ENV_FILE", folder.join("rabbitmq-env.conf"))
            .env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq.conf"))
            .env("RABBITMQ_CONFIG_FILES", folder.join("conf.d"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", folder.join("advanced.config"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("enabled_plugins"));
        command
    }

    /// RabbitMQ would start an epmd itself, as a daemon that outlives it.
    fn companion(&self, ports: &[u16], options: &ServerOptions) -> Option<Command> {
        let ends_with_us = options.stop_on_drop.then_some(Signal::TERM);
        let mut command = process::command(&self.epmd, ends_with_us);
        in_clean_environment(&mut command, ports[2]);
        command.args(["-address", "127.0.0.1", "-port", &ports[2].to_string()]);
        Some(command)
    }

    fn probe(address: SocketAddr) -> io::Result<()> {
        probe::rabbitmq(address)
    }
}

/// Keeps the settings of another broker on this machine away.
fn in_clean_environment(command: &mut Command, epmd_port: u16) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("RABBITMQ_") || text.starts_with("ERL_") {
            command.env_remove(&name);
        }
    }
    command.env("ERL_EPMD_ADDRESS", "127.0.0.1").env("ERL_EPMD_PORT", epmd_port.to_string());
}
