//! The programs that are measured, and how each is started for a given work.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::peers;
use crate::setup::Setup;

/// What carries events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Program {
    /// The least that any program could do (`floor.rs`).
    Floor,
    /// s3-audit-webhook.
    Agent,
    /// Debian's syslog-ng-core with syslog-ng-mod-http.
    SyslogNg,
    /// `fluent-bit`, if it is on the PATH.
    FluentBit,
    /// `vector`, if it is on the PATH.
    Vector,
}

impl Program {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Self; 5] = [
        Self::Floor,
        Self::Agent,
        Self::SyslogNg,
        Self::FluentBit,
        Self::Vector,
    ];

    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Agent => "agent",
            Self::SyslogNg => "syslog-ng",
            Self::FluentBit => "fluent-bit",
            Self::Vector => "vector",
        }
    }

    /// Whether it can be started here.
    pub(crate) fn is_installed(self) -> bool {
        match self {
            Self::Floor | Self::Agent => true,
            Self::SyslogNg | Self::FluentBit | Self::Vector => in_path(self.name()),
        }
    }

    /// Whether it posts events byte for byte as they came.
    pub(crate) fn keeps_bytes(self) -> bool {
        !matches!(self, Self::FluentBit | Self::Vector)
    }

    /// The command for this work, or `None` if it can't do it.
    pub(crate) fn command(self, setup: &Setup, way: &Way) -> io::Result<Option<Command>> {
        let command = match self {
            Self::Floor => floor(way)?,
            Self::Agent => Some(agent(setup, way)),
            Self::SyslogNg => peers::syslog_ng(setup, way)?,
            Self::FluentBit => peers::fluent_bit(setup, way)?,
            Self::Vector => peers::vector(setup, way)?,
        };
        let Some(mut command) = command else {
            return Ok(None);
        };
        let stdin = match (&way.input, self) {
            (Input::File(path), Self::Floor | Self::Agent) => File::open(path)?.into(),
            _ => Stdio::null(),
        };
        // Without environment variables, many of which are settings: the agent's, and a proxy's.
        command
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .stdin(stdin)
            .stdout(Stdio::null())
            .stderr(File::create(setup.log())?);
        Ok(Some(command))
    }
}

/// Where events come from and where they go.
pub(crate) struct Way {
    pub(crate) input: Input,
    /// The webhook.
    pub(crate) url: String,
    /// The webhook's certificate, if it speaks TLS.
    pub(crate) ca: Option<PathBuf>,
    /// Bodies are compressed, level 1.
    pub(crate) gzip: bool,
    /// Events go through a disk queue, with the agent's --spool-sync.
    pub(crate) spool: Option<&'static str>,
    /// Options that a measurement needs of the agent alone.
    pub(crate) options: Vec<String>,
}

impl Way {
    /// From this input to this plain webhook.
    pub(crate) fn new(input: Input, url: String) -> Self {
        Self {
            input,
            url,
            ca: None,
            gzip: false,
            spool: None,
            options: Vec::new(),
        }
    }

    /// The same with one more option of the agent.
    pub(crate) fn with(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }
}

/// Where events come from.
pub(crate) enum Input {
    /// A file that is complete; on stdin, for programs that can.
    File(PathBuf),
    /// A file that grows.
    Appended(PathBuf),
    /// Sockets that the program listens on.
    Unix(Vec<PathBuf>),
    /// An address at which the program serves HTTP.
    Http(SocketAddr),
    /// The same over TLS.
    Https(SocketAddr, Identity),
    /// An address at which the program accepts fluent messages.
    Fluent(SocketAddr),
}

/// The certificate and the key of a program that serves TLS.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

fn agent(setup: &Setup, way: &Way) -> Command {
    let mut command = Command::new(&setup.agent[0]);
    command
        .args(&setup.agent[1..])
        .args([
            "run",
            "--auth-token",
            "Splunk bench",
            "--endpoint",
            &way.url,
        ])
        .arg(path("--state-dir=", setup.directory.join("state")))
        .arg(path("--config=", setup.directory.join("webhook.env")))
        .args(&way.options);
    match &way.input {
        Input::File(_) => (),
        Input::Appended(file) => {
            command.arg(path("--source=file:", file.clone()));
        }
        Input::Unix(sockets) => {
            for socket in sockets {
                command.arg(path("--source=unix-listen:", socket.clone()));
            }
        }
        Input::Http(address) => {
            command.arg(format!("--source=http:{address}"));
        }
        Input::Https(address, identity) => {
            command
                .arg(format!("--source=https:{address}"))
                .arg(path("--listen-cert=", identity.certificate.clone()))
                .arg(path("--listen-key=", identity.key.clone()));
        }
        Input::Fluent(address) => {
            command.arg(format!("--source=fluent:{address}"));
        }
    }
    if let Some(ca) = &way.ca {
        command.arg(path("--ca-file=", ca.clone()));
    }
    if way.gzip {
        command.arg("--compress=gzip:1");
    }
    if let Some(sync) = way.spool {
        command.args(["--spool-bytes=16GiB", "--spool-sync", sync]);
    }
    command
}

/// This program again, as a process of its own like all others.
fn floor(way: &Way) -> io::Result<Option<Command>> {
    let mut command = Command::new(env::current_exe()?);
    command.arg("floor");
    match &way.input {
        Input::File(_) if way.gzip => command.args(["gzip", &way.url]),
        Input::File(_) => command.args(["file", &way.url]),
        Input::Unix(sockets) => command.args(["unix", &way.url]).args(sockets),
        Input::Http(address) => command.args(["http", &address.to_string()]),
        // For TLS and MessagePack, these are what is measured; a growing file is for comparing versions.
        Input::Https(..) | Input::Fluent(_) | Input::Appended(_) => return Ok(None),
    };
    command.args(&way.ca);
    Ok(Some(command))
}

fn path(option: &str, path: PathBuf) -> OsString {
    let mut argument = OsString::from(option);
    argument.push(path);
    argument
}

fn in_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .any(|directory| fs::metadata(directory.join(program)).is_ok_and(|found| found.is_file()))
}
