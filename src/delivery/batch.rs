//! Some events on their way to the webhook, with their bytes and numbers. A batch is in exactly one place.

use std::collections::VecDeque;
use std::ops::Range;

use memchr::memchr_iter;

use super::outcome::Overhead;
use crate::buffer::acks::Seq;
use crate::buffer::chunk::{Chunk, Extent};
use crate::buffer::piece::Piece;
use crate::buffer::run::Run;
use crate::text::ranges::Ranges;

/// Events in the order in which they are sent.
#[derive(Debug, Default)]
pub struct Batch {
    runs: VecDeque<Run>,
    extent: Extent,
}

impl From<Run> for Batch {
    fn from(run: Run) -> Self {
        let mut batch = Batch::default();
        batch.push(run);
        batch
    }
}

impl Batch {
    /// Adds events after the others.
    pub fn push(&mut self, run: Run) {
        let extent = run.extent();
        if extent.events == 0 {
            return;
        }
        self.extent = self.extent.plus(extent);
        let rest = match self.runs.back_mut() {
            Some(last) => last.join(run),
            None => Some(run),
        };
        self.runs.extend(rest);
    }

    /// Adds all of `other`, in the order of the numbers of all.
    pub fn merge(&mut self, other: Batch) {
        let mut runs: Vec<Run> = std::mem::take(self).runs.into();
        runs.extend(other.runs);
        runs.sort_by_key(|run| run.seqs().start);
        runs.into_iter().for_each(|run| self.push(run));
    }

    /// How many events there are, and their bytes.
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.extent.events == 0
    }

    /// Takes off the first events: as many as fit into a body of `limit` events and bytes, at least one. The bytes are
    /// those of the encoded body, which has this `overhead`.
    pub fn take(&mut self, limit: Extent, overhead: Overhead) -> Batch {
        let mut taken = Batch::default();
        let mut room = limit.minus(Extent {
            events: 0,
            bytes: overhead.per_body,
        });
        while let Some(mut run) = self.runs.pop_front() {
            let whole = run.extent();
            let mut part = prefix_within(&run, room, overhead.per_event);
            if part.events == 0 && taken.is_empty() {
                part = run.extent_of_first(1);
            }
            room = room.minus(encoded(part, overhead.per_event));
            self.extent = self.extent.minus(part);
            taken.push(run.split_off_front(part));
            if part != whole {
                self.runs.push_front(run);
                break;
            }
        }
        taken
    }

    /// The events that [`take`](Self::take) would take; they stay.
    pub fn first(&self, limit: Extent, overhead: Overhead) -> Batch {
        let runs = self.runs.clone();
        let extent = self.extent;
        Batch { runs, extent }.take(limit, overhead)
    }

    /// Takes out the event at this index; the others stay in their order.
    pub fn take_one(&mut self, place: usize) -> Batch {
        let one = Extent {
            events: 1,
            ..Extent::MAX
        };
        self.take_at(place, one, Overhead::default())
    }

    /// Takes out events from this index on, as [`take`](Self::take) does; the others stay in their order.
    pub fn take_at(&mut self, place: usize, limit: Extent, overhead: Overhead) -> Batch {
        let before = match place {
            0 => Batch::default(),
            place => self.split_off_first(place),
        };
        let taken = self.take(limit, overhead);
        let behind = std::mem::replace(self, before);
        behind.runs.into_iter().for_each(|run| self.push(run));
        taken
    }

    /// The first `events`, at least one, and the others.
    pub fn split(mut self, events: usize) -> (Batch, Batch) {
        (self.split_off_first(events), self)
    }

    /// Takes off the first `events`, at least one.
    fn split_off_first(&mut self, events: usize) -> Batch {
        let first = Extent {
            events,
            ..Extent::MAX
        };
        self.take(first, Overhead::default())
    }

    /// Each event by itself, in order, so that they can be sorted anew.
    pub fn events(mut self) -> impl Iterator<Item = Batch> {
        let one = Extent {
            events: 1,
            ..Extent::MAX
        };
        std::iter::from_fn(move || (!self.is_empty()).then(|| self.take(one, Overhead::default())))
    }

    /// Takes out the events that have none of these numbers; the others stay in their order.
    pub fn take_without(&mut self, numbers: &Ranges) -> Batch {
        let mut taken = Batch::default();
        for mut run in std::mem::take(self).runs {
            while run.extent().events > 0 {
                let seqs = run.seqs();
                let (stays, end) = numbers.run(seqs.start);
                let part = run.extent_of_first((end.min(seqs.end) - seqs.start) as usize);
                let batch = if stays { &mut *self } else { &mut taken };
                batch.push(run.split_off_front(part));
            }
        }
        taken
    }

    /// Adds all of `next` after the others.
    pub fn append(&mut self, next: Batch) {
        next.runs.into_iter().for_each(|run| self.push(run));
    }

    /// The same events in memory of their own: for a few that stay for long.
    pub fn alone(self) -> Batch {
        let mut batch = Batch::default();
        self.runs
            .into_iter()
            .for_each(|run| batch.push(run.alone()));
        batch
    }

    /// Events of whole lines, one after the other, numbered from 0.
    pub fn of(lines: &[u8]) -> Self {
        let chunk = Chunk {
            bytes: lines.to_vec(),
            events: memchr_iter(b'\n', lines).count(),
        };
        Batch::from(Run::new(chunk, 0))
    }

    /// The events' lines, of consecutive numbers each.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.runs.iter().map(Run::lines)
    }

    /// The same, to be shared.
    pub fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.runs.iter().map(Run::piece)
    }

    /// The events' numbers.
    pub fn seqs(&self) -> impl Iterator<Item = Range<Seq>> {
        self.runs.iter().map(Run::seqs)
    }

    /// Memory that is not shared, for reuse.
    pub fn into_buffers(self) -> impl Iterator<Item = Vec<u8>> {
        self.runs.into_iter().filter_map(Run::into_buffer)
    }
}

/// The size of these events in a body.
fn encoded(part: Extent, per_event: usize) -> Extent {
    Extent {
        events: part.events,
        bytes: part.bytes + part.events * per_event,
    }
}

/// The first events of a run that fit into a body with this much room.
fn prefix_within(run: &Run, room: Extent, per_event: usize) -> Extent {
    let whole = run.extent();
    if encoded(whole, per_event).fits(room) {
        return whole;
    }
    let mut prefix = Extent::default();
    for newline in memchr_iter(b'\n', run.lines()) {
        let next = Extent {
            events: prefix.events + 1,
            bytes: newline + 1,
        };
        if !encoded(next, per_event).fits(room) {
            break;
        }
        prefix = next;
    }
    prefix
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A run of lines of these lengths, from this number on.
    fn run(first: Seq, lengths: &[usize]) -> Run {
        let line = |length: &usize| format!("{}\n", "x".repeat(*length)).into_bytes();
        let chunk = Chunk {
            bytes: lengths.iter().flat_map(line).collect(),
            events: lengths.len(),
        };
        Run::new(chunk, first)
    }

    fn text(batch: &Batch) -> String {
        let lines: Vec<_> = batch.lines().collect();
        String::from_utf8(lines.concat()).unwrap()
    }

    fn numbers(batch: &Batch) -> Vec<Seq> {
        batch.seqs().flatten().collect()
    }

    #[test]
    fn an_event_over_the_limit_goes_alone() {
        let mut batch = Batch::from(run(0, &[10, 3]));
        let limit = Extent {
            events: 9,
            bytes: 5,
        };
        let large = batch.take(limit, Overhead::default());
        let small = batch.take(limit, Overhead::default());
        assert_eq!((large.extent().bytes, small.extent().bytes), (11, 4));
        assert!(batch.take(limit, Overhead::default()).is_empty());
        assert_eq!(large.into_buffers().count(), 0, "a part is used");
        let buffers: Vec<_> = small.into_buffers().map(|buffer| buffer.len()).collect();
        assert_eq!(buffers, [15]);
    }

    #[test]
    fn what_the_encoding_adds_counts() {
        let overhead = Overhead {
            per_event: 5,
            per_body: 2,
        };
        for (bytes, events) in [(38, 3), (37, 2), (26, 2), (25, 1), (3, 1)] {
            let mut batch = Batch::from(run(0, &[6, 6, 6]));
            let limit = Extent { events: 9, bytes };
            assert_eq!(
                batch.take(limit, overhead).extent().events,
                events,
                "{bytes}"
            );
        }
    }

    #[test]
    fn one_event_is_taken_out_of_any_place_and_merged_again() {
        for place in 0..5 {
            let mut batch = Batch::from(run(0, &[1, 2]));
            batch.push(run(2, &[3, 4, 5]));
            let whole = text(&batch);
            let one = batch.take_one(place);
            assert_eq!(numbers(&one), [place as Seq]);
            assert_eq!(numbers(&batch).len(), 4);
            batch.merge(one);
            assert_eq!(numbers(&batch), [0, 1, 2, 3, 4]);
            assert_eq!((text(&batch), batch.runs.len()), (whole, 2), "joined again");
        }
    }

    proptest! {
        #[test]
        fn bodies_end_to_end_are_what_was_pushed(
            chunks in vec(vec(0usize..20, 1..10), 1..8),
            limits in vec((1usize..12, 1usize..120), 1..5),
            per_event in 0usize..9,
        ) {
            let (mut batch, mut next) = (Batch::default(), 0);
            for lengths in &chunks {
                batch.push(run(next, lengths));
                next += lengths.len() as Seq;
            }
            let expected = text(&batch);
            let (mut sent, mut seqs) = (String::new(), Vec::new());
            let overhead = Overhead { per_event, per_body: 1 };
            for (events, bytes) in limits.into_iter().cycle() {
                if batch.is_empty() {
                    break;
                }
                let body = batch.take(Extent { events, bytes }, overhead);
                let extent = body.extent();
                let size = extent.bytes + extent.events * per_event + 1;
                prop_assert!(extent.events == 1 || (extent.events <= events && size <= bytes));
                prop_assert_eq!(extent.bytes, text(&body).len());
                sent += &text(&body);
                seqs.extend(numbers(&body));
            }
            prop_assert_eq!(sent, expected);
            prop_assert_eq!(seqs, (0..next).collect::<Vec<_>>());
        }

        #[test]
        fn what_has_none_of_some_numbers_is_taken_out(
            chunks in vec(vec(0usize..20, 1..10), 1..8),
            stay in vec(any::<bool>(), 80),
        ) {
            let (mut batch, mut next) = (Batch::default(), 3);
            for lengths in &chunks {
                batch.push(run(next, lengths));
                next += lengths.len() as Seq;
            }
            let whole = text(&batch);
            let stays = |seq: &Seq| stay[*seq as usize];
            let expected: Vec<_> = numbers(&batch).into_iter().filter(stays).collect();
            let ranges: Ranges = expected.iter().map(|seq| *seq..seq + 1).collect();
            let taken = batch.take_without(&ranges);
            prop_assert_eq!(numbers(&batch), expected);
            prop_assert!(numbers(&taken).iter().all(|seq| !stays(seq)));
            batch.merge(taken);
            prop_assert_eq!(text(&batch), whole);
            prop_assert_eq!(batch.extent().bytes, text(&batch).len());
        }

        #[test]
        fn however_a_batch_is_split_its_parts_come_to_the_whole(lengths in vec(0usize..20, 2..30), place in any::<prop::sample::Index>()) {
            let mut batch = Batch::from(run(0, &lengths));
            let whole = text(&batch);
            let one = batch.take_one(place.index(lengths.len()));
            batch.merge(one);
            prop_assert_eq!(text(&batch), &*whole);
            let events = place.index(lengths.len()).max(1);
            let (first, second) = batch.split(events);
            prop_assert_eq!(first.extent().events, events);
            prop_assert_eq!(text(&first) + &text(&second), &*whole);
            let mut batch = first;
            batch.append(second);
            let events: Vec<_> = batch.events().map(|event| text(&event)).collect();
            prop_assert_eq!(events.len(), lengths.len());
            prop_assert_eq!(events.concat(), whole);
        }
    }
}
