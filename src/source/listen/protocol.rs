//! What a kind of source makes of its clients' bytes.

use std::io;

use super::roster::{Progress, WaitsFor};
use super::socket::Stream;
use crate::source::output::SourceOutput;

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Its client has closed it, or it broke.
    Closed,
    /// The source is at a limit.
    Limit,
    /// The agent stops.
    Shutdown,
}

/// What is made of a client's bytes.
pub(crate) trait Protocol {
    /// Clients don't wait for an answer, so that reading may rest.
    const MAY_REST: bool = false;

    /// Reads once, without waiting. 0 at the stream's end.
    ///
    /// # Errors
    /// The connection is broken, or no longer of use.
    fn read(&mut self, stream: &mut dyn Stream, output: &mut SourceOutput) -> io::Result<usize>;

    /// Whether the last read has emptied the stream's buffer, so that another one would find nothing.
    fn has_read_all(&self) -> bool {
        false
    }

    /// Offers again what [waits for room](WaitsFor::Room) in the buffer.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    fn offer_again(
        &mut self,
        _stream: &mut dyn Stream,
        _output: &mut SourceOutput,
    ) -> io::Result<()> {
        Ok(())
    }

    /// Nothing [waits for room](WaitsFor::Room) from here on: what finds none is lost, unless its client
    /// has it still. [`read`](Self::read) goes on with what has come.
    fn stop_waiting(&mut self, _output: &mut SourceOutput) {}

    /// How far the connection is.
    fn progress(&self) -> Progress;

    /// Whether it waits for room in the buffer.
    fn waits_for_room(&self) -> bool {
        self.progress().waits_for == WaitsFor::Room
    }

    /// Gives back the memory that is not needed until more comes.
    fn release(&mut self, output: &mut SourceOutput);

    /// The connection ends.
    fn end(&mut self, end: End, output: &mut SourceOutput);
}
