//! Sources as their user names them, and their settings.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf, absolute};
use std::str::FromStr;

use crate::text::choice::choose;

/// A source as its user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spec {
    /// `stdin`: standard input, to its end.
    Stdin,
    /// `file:PATH`: a file that is followed as it grows and is rotated, or all whose names match a pattern.
    File(PathBuf),
    /// `unix:PATH`: a stream socket to connect to, again and again.
    Unix(PathBuf),
    /// `unix-listen:PATH`: a stream socket that any number of writers connect to.
    UnixListen(PathBuf),
    /// `http:ADDR:PORT`: a webhook of our own.
    Http(SocketAddr),
    /// `https:ADDR:PORT`: the same inside TLS.
    Https(SocketAddr),
    /// `fluent:ADDR:PORT`: the fluent forward protocol.
    Fluent(SocketAddr),
    /// `fluents:ADDR:PORT`: the same inside TLS.
    Fluents(SocketAddr),
    /// `fluent:PATH`: the same over a unix socket.
    FluentUnix(PathBuf),
}

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let path = |source: fn(PathBuf) -> Spec| match rest {
            "" => Err(format!("lacks a path; fix: use {kind}:PATH")),
            _ => Ok(source(rest.into())),
        };
        let address = |source: fn(SocketAddr) -> Spec, example: &str| {
            let wrong = |_| {
                let what = match rest.contains('/') {
                    true => "is more than an address and a port",
                    false => "has no address",
                };
                format!("{what}; fix: use one such as {kind}:{example}")
            };
            rest.parse().map(source).map_err(wrong)
        };
        match kind {
            "stdin" if text == kind => Ok(Spec::Stdin),
            "file" => path(Spec::File),
            "unix" => path(Spec::Unix),
            "unix-listen" => path(Spec::UnixListen),
            "http" => address(Spec::Http, "127.0.0.1:8080"),
            "https" => address(Spec::Https, "0.0.0.0:8088"),
            "fluent" if rest.starts_with(['/', '.']) => path(Spec::FluentUnix),
            "fluent" => address(
                Spec::Fluent,
                "127.0.0.1:24224, or a path that begins with / or .",
            ),
            "fluents" => address(Spec::Fluents, "0.0.0.0:24224"),
            _ => Err("is no source; fix: use stdin, file:PATH, unix:PATH, unix-listen:PATH, http:ADDR:PORT, \
                      https:ADDR:PORT, fluent:ADDR:PORT, fluents:ADDR:PORT or fluent:PATH"
                .into()),
        }
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
            Spec::Https(_) => "https",
            Spec::Fluent(_) | Spec::FluentUnix(_) => "fluent",
            Spec::Fluents(_) => "fluents",
        }
    }

    /// Whether both are the same, however a file's path or pattern is written.
    pub fn is_same(&self, other: &Spec) -> bool {
        match (self, other) {
            (Spec::File(one), Spec::File(two)) => absolute(one).ok() == absolute(two).ok(),
            _ => self == other,
        }
    }

    /// Whether only one of both can listen.
    pub fn meets(&self, other: &Spec) -> bool {
        match (self.place(), other.place()) {
            (Some(Place::Tcp(one)), Some(Place::Tcp(two))) => {
                // `::` is for IPv4 too.
                let covers = |one: IpAddr, two: IpAddr| match one {
                    IpAddr::V4(ip) => ip.is_unspecified() && two.is_ipv4(),
                    IpAddr::V6(ip) => ip.is_unspecified(),
                };
                let [one_ip, two_ip] = [one, two].map(|address| address.ip().to_canonical());
                // Port 0 is a free one.
                one.port() == two.port()
                    && one.port() > 0
                    && (one_ip == two_ip || covers(one_ip, two_ip) || covers(two_ip, one_ip))
            }
            (Some(Place::Unix(one)), Some(Place::Unix(two))) => {
                absolute(one).ok() == absolute(two).ok()
            }
            _ => false,
        }
    }

    /// Whether it listens, at a port that nobody knows.
    pub fn lacks_port(&self) -> bool {
        matches!(self.place(), Some(Place::Tcp(address)) if address.port() == 0)
    }

    /// Where it listens, if it does.
    fn place(&self) -> Option<Place<'_>> {
        match self {
            Spec::Http(address)
            | Spec::Https(address)
            | Spec::Fluent(address)
            | Spec::Fluents(address) => Some(Place::Tcp(address)),
            Spec::UnixListen(path) | Spec::FluentUnix(path) => Some(Place::Unix(path)),
            Spec::Stdin | Spec::File(_) | Spec::Unix(_) => None,
        }
    }
}

/// Where a source listens.
enum Place<'a> {
    Tcp(&'a SocketAddr),
    Unix(&'a Path),
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
            Spec::Http(address)
            | Spec::Https(address)
            | Spec::Fluent(address)
            | Spec::Fluents(address) => {
                write!(f, "{}:{address}", self.kind())
            }
        }
    }
}

/// Where reading begins in files that were there at a source's very first start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FileStart {
    /// With the oldest event.
    #[default]
    Beginning,
    /// With the next one.
    End,
}

impl FileStart {
    /// As the option says it.
    pub fn name(self) -> &'static str {
        match self {
            FileStart::Beginning => "beginning",
            FileStart::End => "end",
        }
    }
}

impl FromStr for FileStart {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        choose(
            text,
            &[FileStart::Beginning, FileStart::End].map(|start| (start.name(), start)),
        )
    }
}

/// What becomes of the envelopes of HTTP Event Collector that clients send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HecInput {
    /// They stay around their events.
    Keep,
    /// They are removed.
    Unwrap,
}

impl FromStr for HecInput {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        choose(
            text,
            &[("keep", HecInput::Keep), ("unwrap", HecInput::Unwrap)],
        )
    }
}

/// What a source does when the buffer is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Drops the newest events, so that their writer never waits.
    Drop,
    /// Waits, so that nothing is lost as long as the writer can wait too.
    Wait,
}

impl FromStr for WhenFull {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        choose(text, &[("drop", WhenFull::Drop), ("wait", WhenFull::Wait)])
    }
}

/// Why a source can't be opened.
#[derive(Debug, PartialEq, Eq)]
pub enum OpenError {
    /// It can't work as it is written.
    Wrong(String),
    /// Something that it needs is not there yet, or the agent is not allowed to use it.
    Missing(String),
    /// Others have it: another process has the address, or all descriptors are in use.
    InUse(String),
}

impl OpenError {
    /// Why it can't listen: an address, a directory or a permission may be there later.
    pub fn listening(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::AddrInUse => OpenError::InUse("another process listens there".into()),
            _ => OpenError::Missing(format!("can't listen: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_that_listen_need_two_addresses() {
        for (one, two, is_one) in [
            ("http:127.0.0.1:1", "fluent:127.0.0.1:1", true),
            ("https:127.0.0.1:1", "http:127.0.0.1:1", true),
            ("fluents:0.0.0.0:1", "http:127.0.0.1:1", true),
            ("http:[::]:1", "http:[::1]:1", true),
            ("http:127.0.0.1:1", "http:127.0.0.1:2", false),
            ("http:127.0.0.1:1", "http:127.0.0.2:1", false),
            ("http:0.0.0.0:1", "http:[::1]:1", false),
            ("http:[::]:1", "http:127.0.0.1:1", true),
            ("fluent:0.0.0.0:1", "fluent:[::]:1", true),
            ("http:[::]:1", "http:0.0.0.0:2", false),
            ("http:127.0.0.1:1", "http:[::ffff:127.0.0.1]:1", true),
            ("http:[::1]:1", "http:127.0.0.1:1", false),
            ("http:127.0.0.1:0", "fluent:127.0.0.1:0", false),
            ("unix-listen:/x", "fluent:/x", true),
            ("unix-listen:/x/y", "fluent:/x/./y", true),
            ("unix-listen:/x", "fluent:/y", false),
            ("unix-listen:/x", "unix:/x", false),
            ("stdin", "stdin", false),
        ] {
            let [a, b] = [one, two].map(|text| text.parse::<Spec>().unwrap());
            assert_eq!((a.meets(&b), b.meets(&a)), (is_one, is_one), "{one} {two}");
        }
    }

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
                text.parse::<Spec>().unwrap_err().contains(":PATH"),
                "{text}"
            );
        }
    }
}
