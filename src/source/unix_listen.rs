//! `unix-listen:PATH`: a stream socket that any number of writers connect to.

use std::io;
use std::path::Path;

use super::listen::{self, Door, Protocol, Stream};
use super::{Intake, OpenError, Source, stream};
use crate::framer::Framer;
use crate::stop::Stop;

/// A socket for writers of plain events.
pub(super) struct Listener {
    door: Door,
}

impl Listener {
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        Ok(Listener {
            door: Door::unix(path)?,
        })
    }
}

impl Source for Listener {
    fn is_lasting(&self) -> bool {
        false
    }

    fn run(self: Box<Self>, intake: Intake, stop: &Stop) {
        let events = |intake: &Intake| Events {
            framer: intake.framer(),
        };
        listen::serve(&self.door, events, intake, stop);
    }
}

struct Events {
    framer: Framer,
}

impl Protocol for Events {
    fn read(&mut self, mut stream: &mut dyn Stream, intake: &mut Intake) -> io::Result<usize> {
        stream::read_once(&mut stream, &mut self.framer, intake)
    }

    fn framer(&mut self) -> &mut Framer {
        &mut self.framer
    }

    fn closed(&mut self, intake: &mut Intake) {
        intake.take_last(&mut self.framer);
    }

    fn cut_off(&mut self, intake: &mut Intake) {
        intake.take_cut_off(&mut self.framer);
    }
}
