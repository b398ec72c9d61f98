//! How connections end: by their clients, at a limit, and when the agent stops.

use std::net::{IpAddr, Shutdown};

use socket2::SockRef;

use super::{Connection, End, Protocol, Server, TURN};
use crate::source::output::SourceOutput;
use crate::telemetry::counters::Refusal;

/// Reads at most of a connection before it is closed, if its client may go on sending.
const LAST_READS: usize = 8 * TURN;

impl<P: Protocol> Connection<P> {
    /// Reads what has come, which its client may not have any longer, and does not wait for room. True if that was all.
    fn read_last(&mut self, output: &mut SourceOutput, reads: usize) -> bool {
        for _ in 0..reads {
            if self.protocol.waits_for_room() {
                self.protocol.stop_waiting(output);
            }
            if !matches!(self.protocol.read(&mut *self.stream, output), Ok(1..)) {
                return true;
            }
        }
        false
    }
}

impl<P: Protocol, F: Fn(&SourceOutput, Option<IpAddr>) -> P> Server<'_, P, F> {
    pub(super) fn end(&mut self, id: u64, end: End) {
        let is_unfinished = self.roster.remove(id);
        self.deferred.retain(|deferred| *deferred != id);
        if let Some(mut connection) = self.connections.remove(&id) {
            if end == End::Closed && is_unfinished && connection.stream.is_handshaking() {
                self.output.refused(Refusal::Disconnected, connection.peer);
            }
            connection.protocol.end(end, &mut self.output);
        }
    }

    /// Closes a connection because of a limit.
    pub(super) fn close(&mut self, id: u64, reason: Refusal) {
        if let Some(connection) = self.connections.get_mut(&id) {
            self.output.refused(reason, connection.peer);
            if connection.protocol.waits_for_room() {
                connection.read_last(&mut self.output, LAST_READS);
            }
        }
        self.end(id, End::Limit);
    }

    /// Reads what clients have written so far: closing without that would lose it, and they would not know.
    pub(super) fn finish(mut self) {
        // The next writes of a unix socket's clients fail, while what they have written can be read to its end. TCP has no
        // such thing.
        let can_refuse = self.socket.close().is_ok();
        if can_refuse {
            while let Ok((stream, peer)) = self.socket.accept() {
                self.admit(stream, peer);
            }
        } else {
            self.accept_all();
        }
        let mut connections: Vec<_> = self.connections.into_iter().collect();
        connections.sort_unstable_by_key(|(id, _)| *id);
        // All of them before any is read: otherwise the last ones could go on for as long as that takes.
        let reads = connections.iter().map(|(_, connection)| {
            let stream = SockRef::from(&connection.stream);
            let is_refused = can_refuse && stream.shutdown(Shutdown::Read).is_ok();
            if is_refused { usize::MAX } else { LAST_READS }
        });
        let reads: Vec<_> = reads.collect();
        for ((_, mut connection), reads) in connections.into_iter().zip(reads) {
            if !connection.read_last(&mut self.output, reads) {
                self.output.cut_off();
            }
            connection.protocol.end(End::Shutdown, &mut self.output);
        }
    }
}
