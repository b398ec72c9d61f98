//! What all kinds of sources have in common.

use super::output::SourceOutput;
use crate::sys::shutdown::ShutdownSignal;

/// A source that is open, and about to get its thread.
pub trait Source: Send {
    /// Whether what it reads is still there later, so that it may wait where a live stream must drop.
    fn is_lasting(&self) -> bool {
        false
    }

    /// Reads until the stream has ended for good or the agent stops.
    fn run(self: Box<Self>, output: SourceOutput, stop: &ShutdownSignal);
}
