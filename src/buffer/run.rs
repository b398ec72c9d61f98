//! Consecutive events from the queue: their bytes, shared with the chunk that they are in, and their numbers.

use std::ops::Range;

use memchr::memchr_iter;

use super::acks::Seq;
use super::chunk::{Chunk, Extent};
use super::piece::Piece;

/// Some consecutive events: contiguous in memory and in number. Cheap to split.
#[derive(Debug, Clone)]
pub struct Run {
    lines: Piece,
    seqs: Range<Seq>,
}

impl Run {
    /// All of a chunk, the first event of which has this number.
    pub fn new(chunk: Chunk, first: Seq) -> Self {
        Run {
            seqs: first..first + chunk.events as Seq,
            lines: chunk.bytes.into(),
        }
    }

    /// The events' lines.
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// The same, to be shared.
    pub fn piece(&self) -> &Piece {
        &self.lines
    }

    /// The events' numbers.
    pub fn seqs(&self) -> Range<Seq> {
        self.seqs.clone()
    }

    /// The same events, the first of which has this number.
    pub fn numbered(self, first: Seq) -> Run {
        let end = first + (self.seqs.end - self.seqs.start);
        Run {
            seqs: first..end,
            ..self
        }
    }

    /// The number of events, and their bytes.
    pub fn extent(&self) -> Extent {
        Extent {
            events: (self.seqs.end - self.seqs.start) as usize,
            bytes: self.lines.len(),
        }
    }

    /// Takes off the first events, which have this extent.
    pub fn split_off_front(&mut self, part: Extent) -> Run {
        let seq = self.seqs.start + part.events as Seq;
        let front = Run {
            lines: self.lines.split_off_front(part.bytes),
            seqs: self.seqs.start..seq,
        };
        self.seqs.start = seq;
        front
    }

    /// The extent of the first `events` of these.
    pub fn extent_of_first(&self, events: usize) -> Extent {
        let whole = self.extent();
        if events >= whole.events {
            return whole;
        }
        let last = events.checked_sub(1);
        let end = last.and_then(|last| memchr_iter(b'\n', &self.lines).nth(last));
        Extent {
            events,
            bytes: end.map_or(0, |end| end + 1),
        }
    }

    /// Adds `next`, if it follows directly. Returns it if not.
    pub fn join(&mut self, next: Run) -> Option<Run> {
        if self.seqs.end != next.seqs.start {
            return Some(next);
        }
        if let Some(lines) = self.lines.join(next.lines) {
            let seqs = next.seqs;
            return Some(Run { lines, seqs });
        }
        self.seqs.end = next.seqs.end;
        None
    }

    /// The same events in memory of their own, so that the chunk around them can be freed.
    pub fn alone(self) -> Run {
        Run {
            lines: self.lines.to_vec().into(),
            seqs: self.seqs,
        }
    }

    /// The chunk's memory, if nobody else uses a part of it.
    pub fn into_buffer(self) -> Option<Vec<u8>> {
        self.lines.into_memory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Run {
        let bytes = b"{}\n{\"a\":1}\n{}\n".to_vec();
        Run::new(Chunk { bytes, events: 3 }, 10)
    }

    #[test]
    fn a_run_has_the_numbers_that_it_is_given() {
        let run = run().numbered(100);
        assert_eq!((run.seqs(), run.extent().events), (100..103, 3));
        assert_eq!(&run.piece()[..], run.lines());
    }

    #[test]
    fn a_run_is_split_and_joined_again() {
        let mut rest = run();
        assert_eq!(rest.extent_of_first(9), rest.extent());
        let two = rest.extent_of_first(2);
        assert_eq!((two.events, two.bytes), (2, 11));
        let mut front = rest.split_off_front(two);
        assert_eq!(
            (front.lines(), front.seqs()),
            (&b"{}\n{\"a\":1}\n"[..], 10..12)
        );
        assert_eq!((rest.lines(), rest.seqs()), (&b"{}\n"[..], 12..13));
        assert!(front.join(rest).is_none());
        assert_eq!((front.lines(), front.seqs()), (run().lines(), 10..13));
        let mut first = front.split_off_front(front.extent_of_first(1));
        let mut other = run();
        other.split_off_front(other.extent_of_first(1));
        assert!(first.join(other).is_some(), "of another chunk");
        front.split_off_front(front.extent_of_first(1));
        assert!(first.join(front).is_some(), "of the same chunk, later");
        assert_eq!(first.into_buffer().unwrap(), run().lines());
    }

    #[test]
    fn the_last_part_gives_the_memory_back() {
        let mut rest = run();
        let front = rest.split_off_front(rest.extent_of_first(1));
        assert_eq!(rest.extent_of_first(0), Extent::default());
        let alone = front.alone();
        assert_eq!((alone.lines(), alone.seqs()), (&b"{}\n"[..], 10..11));
        assert!(rest.into_buffer().is_some());
    }
}
