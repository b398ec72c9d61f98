//! `fluent:ADDR:PORT`, `fluents:ADDR:PORT` and `fluent:PATH`: the fluent forward protocol, version 1, which SeaweedFS,
//! fluentd and Fluent Bit speak, in MessagePack or as JSON.
//!
//! The agent never closes first a connection whose messages are whole: SeaweedFS would lose the message in flight.

pub mod batch;
mod complaint;
mod connection;
pub mod head;
mod intake;
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
use super::spec::OpenError;
use crate::sys::shutdown::ShutdownSignal;
use connection::Connection;

/// A socket for fluent clients.
pub(super) struct Listener {
    socket: ListeningSocket,
    settings: ListenSettings,
}

impl Listener {
    /// `fluents:`, or else `fluent:`.
    pub(super) fn tcp(
        address: SocketAddr,
        settings: ListenSettings,
        is_tls: bool,
    ) -> Result<Self, OpenError> {
        let tls = settings.tls.clone().filter(|_| is_tls);
        Ok(Listener {
            socket: ListeningSocket::tcp(address, tls)?,
            settings,
        })
    }

    pub(super) fn unix(path: &Path, settings: ListenSettings) -> Result<Self, OpenError> {
        Ok(Listener {
            socket: ListeningSocket::unix(path, settings.socket_mode)?,
            settings,
        })
    }
}

impl Source for Listener {
    fn run(mut self: Box<Self>, output: SourceOutput, stop: &ShutdownSignal) {
        let limits = self.settings.limits(&self.socket, &output);
        let connection = |output: &SourceOutput, peer| Connection::new(limits.memory, output, peer);
        listen::serve(&mut self.socket, limits, connection, output, stop);
    }
}

#[cfg(test)]
mod tests;
