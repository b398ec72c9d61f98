//! The settings of sources that listen.

use std::sync::Arc;
use std::time::Duration;

use super::roster::Limits;
use super::socket::ListeningSocket;
use crate::source::output::SourceOutput;
use crate::source::tls::TlsServer;

/// Connections of a source at a time, if nothing else is set. Each costs next to nothing while it is idle.
const CONNECTIONS: usize = 4096;
/// The same inside TLS, which has buffers for each.
const TLS_CONNECTIONS: usize = 256;
/// Unfinished messages together may take the memory of this many of the largest events,
const LARGE_EVENTS: usize = 4;
/// and this much in any case.
const MIN_MEMORY: usize = 16 << 20;

/// The settings of sources that listen.
#[derive(Clone)]
pub struct ListenSettings {
    /// Connections of a source at a time, if that is set.
    pub connections: Option<usize>,
    /// A message's time from its first byte to its last.
    pub timeout: Duration,
    /// The mode of socket files.
    pub socket_mode: u32,
    /// For sources inside TLS.
    pub tls: Option<Arc<TlsServer>>,
}

impl ListenSettings {
    /// The limits of one source.
    pub(crate) fn limits(&self, socket: &ListeningSocket, output: &SourceOutput) -> Limits {
        let connections = if socket.is_tls() {
            TLS_CONNECTIONS
        } else {
            CONNECTIONS
        };
        Limits {
            connections: self.connections.unwrap_or(connections),
            memory: LARGE_EVENTS
                .saturating_mul(output.max_event())
                .max(MIN_MEMORY),
            timeout: self.timeout,
        }
    }
}
