//! What the sender has in hand: chunks taken from the queue, oldest first, of which the next
//! request's body is cut. No I/O; time is an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use memchr::memchr;

use crate::buffer::chunk::{Chunk, Extent, prefix_within};
use crate::delivery::body::Body;

/// Events in hand, none of which has ended.
#[derive(Debug, Default)]
pub struct Batch {
    chunks: VecDeque<Chunk>,
    /// Bytes of the first chunk that have ended.
    ended: usize,
    held: Extent,
    /// So many of the oldest stay from a body whose other events have ended.
    kept: usize,
    /// The others: they are told as ended with the last of those, since whoever is told counts from the oldest.
    owed: Extent,
    /// When the oldest chunk was taken.
    since: Option<Instant>,
}

impl Batch {
    /// Adds a chunk that was taken at `now`.
    pub fn push(&mut self, chunk: Chunk, now: Instant) {
        self.since.get_or_insert(now);
        self.held = self.held.plus(chunk.extent());
        self.chunks.push_back(chunk);
    }

    /// All that is in hand.
    pub fn extent(&self) -> Extent {
        self.held
    }

    /// When it must be sent though more would fit; `None` while it is empty.
    pub fn deadline(&self, age: Duration) -> Option<Instant> {
        self.since.and_then(|since| since.checked_add(age))
    }

    /// The extent of the next body: as many of the oldest events as `limit` allows, at least one.
    pub fn cut(&self, limit: Extent) -> Extent {
        let mut body = Extent::default();
        for (lines, events) in self.lines() {
            let whole = Extent {
                events,
                bytes: lines.len(),
            };
            let part = prefix_within(lines, whole, limit.minus(body));
            body = body.plus(part);
            if part != whole {
                break;
            }
        }
        if body.events == 0 {
            let one = Extent {
                events: 1,
                bytes: usize::MAX,
            };
            if let Some((lines, events)) = self.lines().next() {
                body = prefix_within(
                    lines,
                    Extent {
                        events,
                        bytes: lines.len(),
                    },
                    one,
                );
            }
        }
        body
    }

    /// The body that [`cut`](Self::cut) has measured.
    pub fn body(&self, extent: Extent) -> Body<'_> {
        let mut left = extent.bytes;
        let mut slices = Vec::with_capacity(self.chunks.len());
        for (lines, _) in self.lines() {
            let slice = &lines[..lines.len().min(left)];
            if left == 0 {
                break;
            }
            left -= slice.len();
            slices.push(slice);
        }
        Body::new(extent, slices)
    }

    /// The oldest events, of this extent, have ended. `recycle` gets the buffers of chunks that
    /// are done with. Returns what has ended in the order in which it was pushed.
    pub fn finish(&mut self, extent: Extent, recycle: impl FnMut(Vec<u8>)) -> Extent {
        self.remove(extent, recycle);
        self.kept = self.kept.saturating_sub(extent.events);
        match self.kept {
            0 => extent.plus(std::mem::take(&mut self.owed)),
            _ => extent,
        }
    }

    /// Of the oldest events, of this extent, those stay for which `again` says so, in their order; the others
    /// have ended. Returns what has ended in the order in which it was pushed.
    pub fn keep(&mut self, extent: Extent, again: &[bool]) -> Extent {
        let mut again = again.iter().copied();
        let mut stays = Extent::default();
        let mut left = extent.events;
        let mut start = self.ended;
        for chunk in &mut self.chunks {
            let bytes = &mut chunk.bytes;
            let (mut from, mut to) = (start, start);
            while left > 0
                && let Some(end) = memchr(b'\n', &bytes[from..])
            {
                let line = from..from + end + 1;
                from = line.end;
                left -= 1;
                if again.next().unwrap_or(true) {
                    stays = stays.plus(Extent {
                        events: 1,
                        bytes: line.len(),
                    });
                    bytes.copy_within(line.clone(), to);
                    to += line.len();
                } else {
                    chunk.events -= 1;
                }
            }
            bytes.drain(to..from);
            start = 0;
            if left == 0 {
                break;
            }
        }
        let gone = extent.minus(stays);
        self.held = self.held.minus(gone);
        self.owed = self.owed.plus(gone);
        self.kept = stays.events + self.kept.saturating_sub(extent.events);
        // What is left of the first chunk may be nothing.
        self.finish(Extent::default(), drop)
    }

    fn remove(&mut self, extent: Extent, mut recycle: impl FnMut(Vec<u8>)) {
        self.held = self.held.minus(extent);
        self.ended += extent.bytes;
        let mut events = extent.events;
        while let Some(first) = self.chunks.front_mut() {
            if self.ended < first.bytes.len() {
                first.events -= events;
                return;
            }
            self.ended -= first.bytes.len();
            events -= first.events;
            let first = self.chunks.pop_front();
            recycle(first.map(|chunk| chunk.bytes).unwrap_or_default());
        }
        self.since = None;
    }

    /// The chunks' lines that have not ended, with their number.
    fn lines(&self) -> impl Iterator<Item = (&[u8], usize)> {
        let ended = std::iter::once(self.ended).chain(std::iter::repeat(0));
        self.chunks
            .iter()
            .zip(ended)
            .map(|(chunk, ended)| (&chunk.bytes[ended..], chunk.events))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn chunk(lines: &[usize]) -> Chunk {
        let mut bytes = Vec::new();
        for length in lines {
            bytes.extend(std::iter::repeat_n(b'a' + (*length % 26) as u8, *length));
            bytes.push(b'\n');
        }
        Chunk {
            bytes,
            events: lines.len(),
        }
    }

    #[test]
    fn age_is_the_oldest_events_age() {
        let mut batch = Batch::default();
        let start = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(batch.deadline(second), None);
        batch.push(chunk(&[3, 3]), start);
        batch.push(chunk(&[3]), start + second);
        assert_eq!(batch.deadline(second), Some(start + second));
        batch.finish(
            batch.cut(Extent {
                events: 1,
                ..Extent::MAX
            }),
            drop,
        );
        assert_eq!(
            batch.deadline(second),
            Some(start + second),
            "the rest is as old"
        );
        batch.finish(batch.cut(Extent::MAX), drop);
        assert_eq!(batch.deadline(second), None);
    }

    #[test]
    fn an_event_over_the_limit_goes_alone() {
        let mut batch = Batch::default();
        batch.push(chunk(&[10, 3]), Instant::now());
        let limit = Extent {
            events: 9,
            bytes: 5,
        };
        assert_eq!(
            batch.cut(limit),
            Extent {
                events: 1,
                bytes: 11
            }
        );
        batch.finish(batch.cut(limit), drop);
        assert_eq!(
            batch.cut(limit),
            Extent {
                events: 1,
                bytes: 4
            }
        );
    }

    proptest! {
        #[test]
        fn bodies_end_to_end_are_what_was_pushed(
            chunks in vec(vec(0usize..20, 1..10), 1..8),
            limits in vec((1usize..12, 1usize..120), 1..5),
        ) {
            let mut batch = Batch::default();
            let mut expected = Vec::new();
            for lines in &chunks {
                expected.extend(chunk(lines).bytes);
                batch.push(chunk(lines), Instant::now());
            }
            let mut sent = Vec::new();
            let mut recycled = 0;
            for (events, bytes) in limits.into_iter().cycle() {
                let limit = Extent { events, bytes };
                let extent = batch.cut(limit);
                if extent.events == 0 {
                    break;
                }
                prop_assert!(extent.fits(limit) || extent.events == 1);
                let before = sent.len();
                batch.body(extent).reader().read_to_end(&mut sent).unwrap();
                let lines = sent[before..].iter().filter(|byte| **byte == b'\n').count();
                prop_assert_eq!(extent, Extent { events: lines, bytes: sent.len() - before });
                batch.finish(extent, |_| recycled += 1);
            }
            prop_assert_eq!(sent, expected);
            prop_assert_eq!(batch.extent(), Extent::default());
            prop_assert_eq!(recycled, chunks.len());
        }

        /// Whatever ends in between: what stays is sent in its order, and what is told as ended, counted from the oldest
        /// event, never goes beyond one that has not ended.
        #[test]
        fn what_is_kept_is_all_that_is_sent_again(
            chunks in vec(1usize..10, 1..8),
            rounds in vec((1usize..12, vec(any::<bool>(), 12), any::<bool>()), 1..40),
        ) {
            let mut batch = Batch::default();
            let mut waiting = Vec::new();
            for events in chunks {
                let first = waiting.len();
                let numbers = first..first + events;
                let bytes = numbers.clone().flat_map(|number| format!("{number}\n").into_bytes());
                batch.push(Chunk { bytes: bytes.collect(), events }, Instant::now());
                waiting.extend(numbers);
            }
            let all = batch.extent();
            let mut told = Extent::default();
            let last = (100, vec![false; 12], false);
            for (events, again, is_kept) in rounds.into_iter().chain([last]) {
                let extent = batch.cut(Extent { events, ..Extent::MAX });
                let mut text = String::new();
                batch.body(extent).reader().read_to_string(&mut text).unwrap();
                let sent: Vec<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
                prop_assert_eq!(&sent, &waiting[..events.min(waiting.len())]);
                prop_assert_eq!(extent, Extent { events: sent.len(), bytes: text.len() });
                let rest = waiting.split_off(sent.len());
                let ended = if is_kept {
                    waiting = sent.iter().zip(&again).filter(|(_, again)| **again).map(|(number, _)| *number).collect();
                    batch.keep(extent, &again[..sent.len()])
                } else {
                    waiting.clear();
                    batch.finish(extent, drop)
                };
                waiting.extend(rest);
                told = told.plus(ended);
                prop_assert_eq!(batch.extent().events, waiting.len());
                let oldest = waiting.iter().min().copied().unwrap_or(all.events);
                prop_assert!(told.events <= oldest, "{} told, {} waits", told.events, oldest);
                prop_assert_eq!(batch.deadline(Duration::ZERO).is_some(), !waiting.is_empty());
            }
            prop_assert_eq!(told, all);
        }
    }
}
