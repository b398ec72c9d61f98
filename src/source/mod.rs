//! Where events come from: one kind of source a file, one thread a source.
//!
//! A source owns its descriptors, knows how to find its stream again, and hands what it reads to
//! its [`SourceOutput`]. It ends when its stream is at an end for good, or when the agent stops.

mod file;
pub mod fluent;
pub mod http;
mod listen;
mod output;
pub mod stdin;
mod stream;
mod unix;
mod unix_listen;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

pub use file::FileStart;
pub use output::{SourceOutput, WhenFull};

use crate::state::checkpoint::Restored;
use crate::sys::shutdown::ShutdownSignal;

/// A source as its user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spec {
    /// `stdin`: standard input, to its end.
    Stdin,
    /// `file:PATH`: a file that is followed as it grows and is rotated, or all whose names match a pattern.
    File(PathBuf),
    /// `unix:PATH`: a stream socket to connect to, for ever.
    Unix(PathBuf),
    /// `unix-listen:PATH`: a stream socket that any number of writers connect to.
    UnixListen(PathBuf),
    /// `http:ADDR:PORT`: a webhook of our own.
    Http(SocketAddr),
    /// `fluent:ADDR:PORT`: the fluent forward protocol as JSON.
    Fluent(SocketAddr),
    /// `fluent:PATH`: the same over a unix socket.
    FluentUnix(PathBuf),
}

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const WANTED: &str = "expected stdin, file:PATH, unix:PATH, unix-listen:PATH, \
                              http:ADDR:PORT, fluent:ADDR:PORT or fluent:PATH";
        if text == "stdin" {
            return Ok(Spec::Stdin);
        }
        if let Some(address) = text.strip_prefix("http:") {
            let address = address.parse().map(Spec::Http);
            return address.map_err(|_| "expected an address such as http:127.0.0.1:8080".into());
        }
        let (kind, path) = text.split_once(':').ok_or(WANTED)?;
        let kind = match kind {
            "file" => Spec::File,
            "unix" => Spec::Unix,
            "unix-listen" => Spec::UnixListen,
            "fluent" => match path.parse() {
                Ok(address) => return Ok(Spec::Fluent(address)),
                Err(_) if path.starts_with(['/', '.']) => Spec::FluentUnix,
                Err(_) => {
                    return Err("expected an address such as fluent:127.0.0.1:24224, or a path that begins \
                                with / or ."
                        .into());
                }
            },
            _ => return Err(WANTED.into()),
        };
        if path.is_empty() {
            return Err(format!("lacks a path; {WANTED}"));
        }
        Ok(kind(path.into()))
    }
}

impl Spec {
    /// The kind of source, as its user names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Spec::Stdin => "stdin",
            Spec::File(_) => "file",
            Spec::Unix(_) => "unix",
            Spec::UnixListen(_) => "unix-listen",
            Spec::Http(_) => "http",
            Spec::Fluent(_) | Spec::FluentUnix(_) => "fluent",
        }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spec::Stdin => f.write_str(self.kind()),
            Spec::File(path)
            | Spec::Unix(path)
            | Spec::UnixListen(path)
            | Spec::FluentUnix(path) => {
                write!(f, "{}:{}", self.kind(), path.display())
            }
            Spec::Http(address) | Spec::Fluent(address) => write!(f, "{}:{address}", self.kind()),
        }
    }
}

/// A source that is open, and about to get its thread.
pub trait Source: Send {
    /// Whether what it reads is still there later, so that it may wait where a live stream must drop.
    fn is_lasting(&self) -> bool;

    /// Reads until the stream is at an end for good or the agent stops.
    fn run(self: Box<Self>, output: SourceOutput, stop: &ShutdownSignal);
}

/// Why a source can't be opened.
#[derive(Debug, PartialEq, Eq)]
pub enum OpenError {
    /// It can't work as it was written, or as the host is set up.
    Wrong(String),
    /// Another process has it.
    InUse(String),
}

/// Opens a source, so that whatever can fail fails before the first thread starts. A file goes on from where its
/// `memory` says, else from its `start`.
///
/// # Errors
/// Says what is wrong, and what would be right.
pub fn open(
    spec: &Spec,
    http: &http::Settings,
    start: FileStart,
    memory: Option<Restored>,
) -> Result<Box<dyn Source>, OpenError> {
    Ok(match spec {
        Spec::Stdin => Box::new(stdin::Stdin::open()?),
        Spec::File(path) => Box::new(file::Follow::open(path, start, memory)?),
        Spec::Unix(path) => Box::new(unix::Reader::open(path)?),
        Spec::UnixListen(path) => Box::new(unix_listen::Listener::open(path)?),
        Spec::Fluent(address) => Box::new(fluent::Listener::tcp(*address)?),
        Spec::FluentUnix(path) => Box::new(fluent::Listener::unix(path)?),
        Spec::Http(address) => Box::new(http::Listener::open(*address, http.clone())?),
    })
}

/// Checks that `path` can be the address of a unix socket.
fn check_socket_path(path: &std::path::Path) -> Result<(), OpenError> {
    std::os::unix::net::SocketAddr::from_pathname(path)
        .map(drop)
        .map_err(|_| {
            OpenError::Wrong(format!(
                "a socket's path has 107 bytes at most, this one has {}",
                path.as_os_str().len()
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_reads_as_it_is_shown() {
        for text in [
            "stdin",
            "file:/var/log/a:b.log",
            "unix:ops.sock",
            "unix-listen:/run/a.sock",
        ] {
            assert_eq!(text.parse::<Spec>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "file",
            "file:",
            "unix:",
            "tcp:1.2.3.4",
            "/var/log/audit.log",
        ] {
            assert!(
                text.parse::<Spec>().unwrap_err().contains("file:PATH"),
                "{text}"
            );
        }
    }
}
