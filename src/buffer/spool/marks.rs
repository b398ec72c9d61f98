//! Under which numbers the queue has the spool's events, and how far they are final. No I/O.

use std::collections::VecDeque;
use std::ops::Range;

use crate::buffer::acks::Seq;
use crate::text::ranges::Ranges;

/// How many exact marks are kept; later ones are merged, which makes the position coarser but never wrong.
const MARKS: usize = 16 << 10;

/// Events that the queue has taken and that are not final, in order.
#[derive(Debug)]
pub(super) struct Marks {
    marks: VecDeque<Mark>,
    /// The number of the next event that the queue takes.
    next: u64,
}

#[derive(Debug)]
struct Mark {
    /// The queue's numbers.
    seqs: Range<Seq>,
    /// The spool's.
    numbers: Range<u64>,
    /// When the first of them was written, in seconds since 1970.
    time: u32,
    /// All of these events are the spool's, and none is missing.
    is_exact: bool,
}

impl Marks {
    /// Begins with all events of the spool below `acked` being final.
    pub(super) fn new(acked: u64) -> Self {
        Marks {
            marks: VecDeque::new(),
            next: acked,
        }
    }

    /// The queue has taken events of the spool, from the number `first` on, which were written at `time`.
    pub(super) fn add(&mut self, seqs: Range<Seq>, first: u64, time: u32) {
        let numbers = first..first + (seqs.end - seqs.start);
        self.next = numbers.end;
        let is_exact = self.marks.len() < MARKS;
        if let Some(last) = self.marks.back_mut() {
            let follows = last.seqs.end == seqs.start && last.numbers.end == first;
            // What is known of events stays known: they may be in the spool only.
            let joins = match last.is_exact {
                true => follows && last.time == time,
                false => !is_exact,
            };
            if joins {
                (last.seqs.end, last.numbers.end) = (seqs.end, numbers.end);
                return;
            }
        }
        self.marks.push_back(Mark {
            seqs,
            numbers,
            time,
            is_exact,
        });
    }

    /// All events of the spool below this number were passed to the queue, or are missing.
    pub(super) fn pass(&mut self, next: u64) {
        self.next = next;
    }

    /// All events of the queue below `watermark` are final. Returns the number below which those of the spool are.
    pub(super) fn advance(&mut self, watermark: Seq) -> u64 {
        while self
            .marks
            .front()
            .is_some_and(|first| first.seqs.end <= watermark)
        {
            self.marks.pop_front();
        }
        let Some(first) = self.marks.front_mut() else {
            return self.next;
        };
        if first.is_exact {
            let passed = watermark.saturating_sub(first.seqs.start);
            first.seqs.start += passed;
            first.numbers.start += passed;
        }
        first.numbers.start
    }

    /// When the oldest event that the queue has and that is not final was written.
    pub(super) fn oldest(&self) -> Option<u32> {
        self.marks.front().map(|mark| mark.time)
    }

    /// Those of the queue's events whose place in the spool is known.
    pub(super) fn known(&self, seqs: impl IntoIterator<Item = Range<Seq>>) -> Ranges {
        let places = seqs.into_iter().flat_map(|seqs| self.find(seqs));
        places.map(|(seqs, _)| seqs).collect()
    }

    /// The same, in pieces that have consecutive numbers in the spool, each with the first of these.
    pub(super) fn find(&self, seqs: Range<Seq>) -> impl Iterator<Item = (Range<Seq>, u64)> {
        let (start, end) = (seqs.start, seqs.end);
        let place = self.marks.partition_point(|mark| mark.seqs.end <= start);
        let marks = self.marks.range(place..);
        let marks = marks.take_while(move |mark| mark.seqs.start < end);
        marks.filter(|mark| mark.is_exact).map(move |mark| {
            let seqs = mark.seqs.start.max(start)..mark.seqs.end.min(end);
            let number = mark.numbers.start + (seqs.start - mark.seqs.start);
            (seqs, number)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn events_are_final_in_the_order_of_the_spool() {
        let mut marks = Marks::new(100);
        assert_eq!((marks.advance(0), marks.oldest()), (100, None));
        marks.add(5..15, 100, 1);
        marks.add(15..20, 110, 1);
        // Of another source, and then one that is missing from the spool.
        marks.add(30..35, 116, 2);
        assert_eq!(marks.marks.len(), 2);
        for (watermark, acked, oldest) in [
            (4, 100, Some(1)),
            (5, 100, Some(1)),
            (12, 107, Some(1)),
            (19, 114, Some(1)),
            (20, 116, Some(2)),
            (31, 117, Some(2)),
            (35, 121, None),
            (99, 121, None),
        ] {
            assert_eq!((marks.advance(watermark), marks.oldest()), (acked, oldest));
        }
        marks.pass(130);
        assert_eq!(marks.advance(99), 130);
    }

    #[test]
    fn many_marks_are_merged_and_only_those_are_not_exact() {
        let mut marks = Marks::new(0);
        let count = 2 * MARKS as u64;
        for number in 0..count {
            marks.add(2 * number..2 * number + 1, number, 4);
            if number + 1 == MARKS as u64 || number + 1 == count {
                let known = marks.known([(0..count), (count..2 * count)]);
                assert_eq!(known.count(), MARKS as u64, "what was known stays known");
            }
        }
        assert_eq!(marks.marks.len(), MARKS + 1);
        for watermark in 0..2 * count {
            assert!(marks.advance(watermark) <= watermark.div_ceil(2));
        }
        assert_eq!(marks.advance(2 * count), count);
    }

    /// What happens to the queue.
    #[derive(Debug, Clone)]
    enum Act {
        /// It takes this many events of the spool, written this much later.
        Take(u64, u32),
        /// It takes this many events of another source.
        Other(u64),
        /// This many events are missing from the spool.
        Miss(u64),
        /// One in so many of the events that are not final becomes so.
        End(u64),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => (1..9_u64, 0..2_u32).prop_map(|(events, later)| Act::Take(events, later)),
            2 => (1..9_u64).prop_map(Act::Other),
            1 => (1..9_u64).prop_map(Act::Miss),
            4 => (1..5_u64).prop_map(Act::End),
        ]
    }

    proptest! {
        /// Compared with a table of all events.
        #[test]
        fn each_event_has_its_number(acts in vec(act(), 1..60)) {
            let (mut marks, mut table, mut open) = (Marks::new(7), BTreeMap::new(), BTreeSet::new());
            let (mut seq, mut number, mut time, mut acked) = (0, 7, 0, 7);
            for act in acts {
                match act {
                    Act::Take(events, later) => {
                        time += later;
                        marks.add(seq..seq + events, number, time);
                        table.extend((seq..seq + events).zip(number..));
                        open.extend(seq..seq + events);
                        (seq, number) = (seq + events, number + events);
                    }
                    Act::Other(events) => {
                        open.extend(seq..seq + events);
                        seq += events;
                    }
                    Act::Miss(events) => {
                        number += events;
                        marks.pass(number);
                    }
                    Act::End(part) => open.retain(|seq| seq % part != 0),
                }
                let watermark = open.first().copied().unwrap_or(seq);
                let first = table.range(watermark..).next();
                let expected = first.map_or(number, |(_, number)| *number);
                prop_assert_eq!(marks.advance(watermark), expected);
                prop_assert!(expected >= acked);
                acked = expected;
                let known = marks.known([(0..seq), (seq..seq + 5)]);
                let places: Vec<_> = known.iter().flat_map(|seqs| marks.find(seqs)).collect();
                let parts = (0..seq).flat_map(|end| marks.find(0..end));
                prop_assert!(places.iter().cloned().chain(parts).all(|(seqs, _)| !seqs.is_empty()));
                let places = places.into_iter();
                let found: BTreeMap<_, _> = places.flat_map(|(seqs, first)| seqs.zip(first..)).collect();
                table.retain(|seq, _| *seq >= watermark);
                prop_assert_eq!(&found, &table);
            }
        }
    }
}
