//! Reads events again that the queue has had, and that are not final.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::reader::{Reader, View};
use super::shared::Shared;
use crate::buffer::acks::Seq;
use crate::buffer::chunk::Chunk;
use crate::buffer::run::Run;
use crate::sys::shutdown::ShutdownSignal;
use crate::text::ranges::Ranges;

/// What a hanging directory means.
const IF_IT_HANGS: &str = "events that must be sent again wait";

/// A sender's way to events that are only in the spool. What is read in order is read once.
#[derive(Debug)]
pub struct Rereader {
    shared: Arc<Shared>,
    reader: Option<Reader>,
    /// What was read last and not asked for yet, under the spool's numbers.
    rest: Option<Run>,
}

impl Rereader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Rereader {
            shared,
            reader: None,
            rest: None,
        }
    }

    /// Which of these events of the queue can be read again until they are final.
    pub fn known(&self, seqs: impl IntoIterator<Item = Range<Seq>>) -> Ranges {
        self.shared.marks().known(seqs)
    }

    /// Reads these again. What is missing is damaged, or was removed.
    ///
    /// # Errors
    /// They can't be read now, and the agent ends.
    pub fn read(&mut self, seqs: &Ranges, abort: &ShutdownSignal) -> io::Result<Vec<Run>> {
        let marks = self.shared.marks();
        let places: Vec<_> = seqs.iter().flat_map(|seqs| marks.find(seqs)).collect();
        drop(marks);
        let mut runs = Vec::new();
        for (seqs, first) in places {
            let end = first + (seqs.end - seqs.start);
            let mut next = first;
            while next < end {
                let Some(mut run) = self.run_at(next, abort)? else {
                    break;
                };
                let held = run.seqs();
                if held.start < end {
                    let before = run.extent_of_first(next.saturating_sub(held.start) as usize);
                    run.split_off_front(before);
                    let start = run.seqs().start;
                    let wanted = run.extent_of_first((end - start) as usize);
                    let part = run.split_off_front(wanted);
                    runs.push(part.numbered(seqs.start + (start - first)));
                }
                next = held.end;
                self.rest = Some(run).filter(|run| run.extent().events > 0);
            }
        }
        Ok(runs)
    }

    /// Closes the segment that was read.
    pub fn close(&mut self) {
        (self.reader, self.rest) = (None, None);
    }

    /// Consecutive events with this number or, if it is missing, behind it; none if there are no more.
    fn run_at(&mut self, number: u64, abort: &ShutdownSignal) -> io::Result<Option<Run>> {
        let state = self.shared.lock();
        let is_old = |reader: &Reader| state.dir.as_ref().is_some_and(|dir| !reader.is_in(dir));
        let is_old = self.reader.as_ref().is_some_and(is_old);
        drop(state);
        if is_old {
            // Another spool may have the same numbers.
            self.close();
        }
        let rest = self.rest.take();
        let rest = rest.filter(|rest| rest.seqs().contains(&number));
        if rest.is_some() {
            return Ok(rest);
        }
        if self
            .reader
            .as_ref()
            .is_some_and(|reader| reader.position() > number)
        {
            self.reader = None;
        }
        let mut chunk = Chunk::default();
        loop {
            let state = self.shared.lock();
            let Some(reader) = state.reader(&mut self.reader, number) else {
                return Ok(None);
            };
            let view = reader.view(&state.segments);
            drop(state);
            if matches!(view, View::End(0)) {
                return Ok(None);
            }
            let read = self
                .shared
                .watchdog
                .dir(IF_IT_HANGS, || reader.read(&view, &mut chunk));
            match read {
                Ok(Some(damage)) => self.shared.found_damaged(&damage),
                Ok(None) if chunk.is_empty() => {}
                Ok(None) if reader.position() > number => {
                    let first = reader.position() - chunk.events as u64;
                    return Ok(Some(Run::new(chunk, first)));
                }
                Ok(None) => {
                    chunk.clear();
                }
                Err(error) => {
                    if self.shared.unreadable(reader, &error, abort) {
                        return Err(error);
                    }
                }
            }
        }
    }
}
