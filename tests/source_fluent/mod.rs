//! `fluent:ADDR:PORT` and `fluent:PATH`, which SeaweedFS logs to. It waits for each acknowledgement that it asks for,
//! for ever; and it loses the message in flight when the connection is closed, so that the agent never closes one.

mod clients;
mod listening;
mod messages;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::source_http::free_address;
use crate::support::wait_until_read;

const PATIENCE: Duration = Duration::from_secs(60);

/// Where the agent listens.
pub(crate) enum Place {
    Tcp(SocketAddr),
    Unix(TempDir),
}

impl Place {
    pub(crate) fn tcp() -> Self {
        Place::Tcp(free_address())
    }

    pub(crate) fn unix() -> Self {
        Place::Unix(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Place::Unix(directory) => directory.path().join("fluent.sock"),
            Place::Tcp(_) => unreachable!(),
        }
    }

    pub(crate) fn source(&self) -> String {
        match self {
            Place::Tcp(address) => format!("fluent:{address}"),
            Place::Unix(_) => format!("fluent:{}", self.path().display()),
        }
    }

    pub(crate) fn option(&self) -> String {
        format!("--source={}", self.source())
    }

    pub(crate) fn connect(&self) -> Weed {
        // Its other side is to read and to answer: what takes long is an error.
        match self {
            Place::Tcp(address) => {
                let socket = TcpStream::connect(address).unwrap();
                socket.set_nodelay(true).unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                socket.set_write_timeout(Some(PATIENCE)).unwrap();
                Weed(Box::new(socket))
            }
            Place::Unix(_) => {
                let socket = UnixStream::connect(self.path()).unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                socket.set_write_timeout(Some(PATIENCE)).unwrap();
                Weed(Box::new(socket))
            }
        }
    }
}

pub(crate) trait Socket: Read + Write + AsFd + Send {}

impl Socket for TcpStream {}
impl Socket for UnixStream {}

/// An S3 server's connection.
pub(crate) struct Weed(pub(crate) Box<dyn Socket>);

impl Weed {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Waits for this acknowledgement, and no more than it.
    #[track_caller]
    pub(crate) fn expect_ack(&mut self, chunk: &str) {
        let expected = format!(r#"{{"ack":"{chunk}"}}"#);
        let mut got = vec![0; expected.len()];
        self.0.read_exact(&mut got).unwrap();
        assert_eq!(String::from_utf8(got).unwrap(), expected);
    }

    /// Sends a message that asks for an acknowledgement, and gets it: all before it was read, in order, and the
    /// connection is as open as ever.
    #[track_caller]
    pub(crate) fn ask(&mut self, record: &str) {
        self.send(message(record, r#"{"chunk":"p8n9gmxTQVC8/nh2wlKKeQ=="}"#).as_bytes());
        self.expect_ack("p8n9gmxTQVC8/nh2wlKKeQ==");
    }

    /// Waits until the agent has read all that was sent.
    #[track_caller]
    pub(crate) fn wait_until_read(&self) {
        wait_until_read(&self.0.as_fd());
    }
}

pub(crate) fn message(record: &str, option: &str) -> String {
    format!(r#"["s3.access",1795326382,{record},{option}]"#)
}
