//! `unix-listen:PATH`: a stream socket that any number of writers connect to.

use std::io;
use std::path::Path;

use super::listen::{self, ListeningSocket, Protocol, Stream};
use super::{OpenError, Source, SourceOutput, stream};
use crate::framer::Framer;
use crate::sys::shutdown::ShutdownSignal;

/// A socket for writers of plain events.
pub(super) struct Listener {
    door: ListeningSocket,
}

impl Listener {
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        Ok(Listener {
            door: ListeningSocket::unix(path)?,
        })
    }
}

impl Source for Listener {
    fn is_lasting(&self) -> bool {
        false
    }

    fn run(self: Box<Self>, output: SourceOutput, stop: &ShutdownSignal) {
        let events = |output: &SourceOutput| Events {
            framer: output.framer(),
        };
        listen::serve(&self.door, events, output, stop);
    }
}

struct Events {
    framer: Framer,
}

impl Protocol for Events {
    fn read(
        &mut self,
        mut stream: &mut dyn Stream,
        output: &mut SourceOutput,
    ) -> io::Result<usize> {
        stream::read_once(&mut stream, &mut self.framer, output)
    }

    fn framer(&mut self) -> &mut Framer {
        &mut self.framer
    }

    fn closed(&mut self, output: &mut SourceOutput) {
        output.take_last(&mut self.framer);
    }

    fn cut_off(&mut self, output: &mut SourceOutput) {
        output.take_cut_off(&mut self.framer);
    }
}
