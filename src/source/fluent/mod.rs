//! `fluent:ADDR:PORT`, `fluents:ADDR:PORT` and `fluent:PATH`: the fluent forward protocol, version 1, which SeaweedFS,
//! fluentd and Fluent Bit speak, in MessagePack or as JSON.
//!
//! The agent never closes first a connection whose messages are whole: SeaweedFS would lose the message in flight.

pub mod batch;
mod connection;
pub mod head;
pub mod message;
pub mod msgpack;
pub mod parts;
pub mod unpack;
pub mod values;

use std::net::SocketAddr;
use std::path::Path;

use super::listen::{self, ListenSettings, ListeningSocket};
use super::output::SourceOutput;
use super::reader::Source;
use super::spec::{NO_CERTIFICATE, OpenError};
use crate::sys::shutdown::ShutdownSignal;
use crate::telemetry::message::Message;
use connection::Connection;

/// A socket for fluent clients.
pub(super) struct Listener {
    socket: ListeningSocket,
    settings: ListenSettings,
    /// Others on the network can connect without knowing any secret.
    is_open: bool,
    is_tls: bool,
}

impl Listener {
    pub(super) fn tcp(address: SocketAddr, settings: ListenSettings) -> Result<Self, OpenError> {
        Ok(Listener {
            socket: ListeningSocket::tcp(address, None)?,
            settings,
            is_open: !address.ip().is_loopback(),
            is_tls: false,
        })
    }

    pub(super) fn tls(address: SocketAddr, settings: ListenSettings) -> Result<Self, OpenError> {
        let Some(tls) = settings.tls.clone() else {
            return Err(OpenError::Wrong(NO_CERTIFICATE.into()));
        };
        Ok(Listener {
            is_open: !address.ip().is_loopback() && !tls.wants_client_cert(),
            socket: ListeningSocket::tcp(address, Some(tls))?,
            settings,
            is_tls: true,
        })
    }

    pub(super) fn unix(path: &Path, settings: ListenSettings) -> Result<Self, OpenError> {
        Ok(Listener {
            socket: ListeningSocket::unix(path, settings.socket_mode)?,
            settings,
            is_open: false,
            is_tls: false,
        })
    }
}

impl Source for Listener {
    fn is_lasting(&self) -> bool {
        false
    }

    fn run(self: Box<Self>, output: SourceOutput, stop: &ShutdownSignal) {
        if self.is_open {
            Message::FluentUnprotected {
                source: output.name().to_owned(),
            }
            .log();
        }
        let limits = self.settings.limits(&output, self.is_tls);
        let connection = |output: &SourceOutput, peer| Connection::new(limits.memory, output, peer);
        listen::serve(&self.socket, limits, connection, output, stop);
    }
}
