//! `unix-listen:PATH`: a stream socket that any number of writers connect to.

use std::io;
use std::path::Path;

use super::listen::{
    self, End, ListenSettings, ListeningSocket, Progress, Protocol, Stream, WaitsFor,
};
use super::output::SourceOutput;
use super::reader::Source;
use super::spec::OpenError;
use super::stream;
use crate::framer::Framer;
use crate::sys::shutdown::ShutdownSignal;

/// A socket for writers of plain events.
pub(super) struct Listener {
    socket: ListeningSocket,
    settings: ListenSettings,
}

impl Listener {
    pub(super) fn open(path: &Path, settings: ListenSettings) -> Result<Self, OpenError> {
        Ok(Listener {
            socket: ListeningSocket::unix(path, settings.socket_mode)?,
            settings,
        })
    }
}

impl Source for Listener {
    fn run(mut self: Box<Self>, output: SourceOutput, stop: &ShutdownSignal) {
        let events = |output: &SourceOutput, _| Events {
            framer: output.framer(),
            finished: 0,
            has_read_all: false,
        };
        let limits = self.settings.limits(&self.socket, &output);
        listen::serve(&mut self.socket, limits, events, output, stop);
    }
}

struct Events {
    framer: Framer,
    /// Reads that have completed something.
    finished: u64,
    has_read_all: bool,
}

impl Protocol for Events {
    const MAY_REST: bool = true;

    fn read(
        &mut self,
        mut stream: &mut dyn Stream,
        output: &mut SourceOutput,
    ) -> io::Result<usize> {
        let before = self.framer.unfinished();
        let room = self.framer.space().len();
        let count = stream::read_once(&mut stream, &mut self.framer, output)?;
        self.has_read_all = count < room;
        // Not all that is new is unfinished, so something has ended.
        self.finished += u64::from(self.framer.unfinished() < before + count as u64);
        Ok(count)
    }

    fn has_read_all(&self) -> bool {
        self.has_read_all
    }

    fn progress(&self) -> Progress {
        Progress {
            finished: self.finished,
            waits_for: if self.framer.is_done() {
                WaitsFor::Message
            } else {
                WaitsFor::Rest
            },
            memory: self.framer.memory(),
        }
    }

    fn release(&mut self, _: &mut SourceOutput) {
        self.framer.release();
    }

    fn end(&mut self, end: End, output: &mut SourceOutput) {
        match end {
            End::Closed | End::Limit => output.take_last(&mut self.framer),
            End::Shutdown => output.take_cut_off(&mut self.framer),
        }
    }
}
