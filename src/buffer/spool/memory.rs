//! Events of a spool in memory: those to be written, those that the queue gets next, and memory to be reused.

use std::iter;
use std::sync::Arc;

use super::group::{Group, Unsynced};
use super::reader::{Reader, View};
use super::record::Record;
use super::shared::{FEW, FRESH, State};
use crate::buffer::chunk::{CHUNK_BYTES, Chunk};

/// How many buffers are kept for reuse.
const SPARE: usize = 16;

impl State {
    /// A reader of the directory that is used now, which goes on, or begins with this event.
    pub(super) fn reader<'a>(
        &self,
        reader: &'a mut Option<Reader>,
        next: u64,
    ) -> Option<&'a mut Reader> {
        let dir = self.dir.as_ref()?;
        reader.take_if(|reader| !reader.is_in(dir));
        Some(reader.get_or_insert_with(|| Reader::new(Arc::clone(dir), next)))
    }

    /// How many events count as received and were not written.
    pub(super) fn unwritten(&self) -> u64 {
        self.writing + self.pending.received()
    }

    /// How many events are not final, if all with numbers below `acked` are.
    pub(super) fn undelivered(&self, acked: u64) -> u64 {
        self.segments.next().saturating_sub(acked.min(self.queued))
    }

    /// All files that may have to be written again or synced.
    pub(super) fn all_unsynced(&mut self) -> impl Iterator<Item = &mut Unsynced> {
        let written = self.unsynced.iter_mut().chain(&mut self.unseen);
        written.chain(&mut self.lost)
    }

    /// How many bytes were written and wait in memory for the queue.
    pub(super) fn fresh_bytes(&self) -> u64 {
        self.fresh.as_ref().map_or(0, |fresh| fresh.bytes)
    }

    /// How many bytes were written to the segment with this first event, if it is still needed.
    pub(super) fn bytes_of(&self, first: u64) -> Option<u64> {
        let found = self.segments.at_or_after(first);
        found
            .filter(|found| found.first == first)
            .map(|found| found.bytes)
    }

    /// Whether nothing comes after this event for now. What is missing may still be rescued.
    pub(super) fn is_at_end(&self, view: &View, next: u64) -> bool {
        let is_unseen = |unseen: &Unsynced| unseen.first < self.segments.next();
        match view {
            View::End(0) => true,
            View::End(_) => !self.lost.is_empty() || self.unseen.last().is_some_and(is_unseen),
            View::Segment(segment) => {
                (!self.lost.is_empty() || self.unseen.len() > 1) && segment.first > next
            }
        }
    }

    /// Keeps what was written for the queue, if that has taken enough of what came before; else all is read back.
    pub(super) fn keep(&mut self, group: &mut Group) {
        let fresh = self.fresh.take();
        let mut fresh = fresh.filter(|fresh| fresh.bytes + group.bytes <= FRESH);
        match &mut fresh {
            Some(fresh) => {
                fresh.bytes += group.bytes;
                for record in group.records.drain(..) {
                    let last = fresh.records.last_mut();
                    let few = last.filter(|_| record.bytes.len() <= FEW);
                    match few.is_some_and(|last| last.add(&record.bytes, record.events)) {
                        true => self.recycle(iter::once(record)),
                        false => fresh.records.push(record),
                    }
                }
            }
            None => self.recycle(group.records.drain(..)),
        }
        self.fresh = fresh;
    }

    /// Adds a few events to what is to be written, in reused memory.
    pub(super) fn collect(&mut self, chunk: &mut Chunk, is_awaited: bool) {
        let events = u32::try_from(chunk.events).unwrap_or(u32::MAX);
        let records = self.pending.list(is_awaited);
        let last = records.last_mut();
        if !last.is_some_and(|last| last.add(&chunk.bytes, events)) {
            let spare = self.spare.pop();
            let mut record =
                Record::empty(spare.unwrap_or_else(|| Vec::with_capacity(CHUNK_BYTES)));
            record.add(&chunk.bytes, events);
            records.push(record);
        }
        chunk.clear();
    }

    /// Keeps the memory of full chunks.
    pub(super) fn recycle(&mut self, records: impl Iterator<Item = Record>) {
        let full = records.map(|record| record.bytes);
        let full =
            full.filter(|bytes| (CHUNK_BYTES / 2..=CHUNK_BYTES * 2).contains(&bytes.capacity()));
        for mut bytes in full.take(SPARE.saturating_sub(self.spare.len())) {
            bytes.clear();
            self.spare.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dir::{Access, Dir as _, RealDir};
    use super::super::segments::Segment;
    use super::super::shared::UNWRITTEN;
    use super::*;

    /// Else the reader would wait for ever, or count as missing what is rescued a moment later.
    #[test]
    fn what_is_missing_is_waited_for_only_while_it_may_be_rescued() {
        let place = tempfile::tempdir().unwrap();
        let dir = RealDir::create(&place.path().join("spool")).unwrap();
        let file = dir.open("any", Access::New).unwrap();
        let known = |first| Unsynced {
            segment: first,
            file: Arc::clone(&file),
            from: 0,
            first,
            groups: Vec::new(),
        };
        // The first events of what is unseen and of what is lost, of ten; and whether these are waited for: none, some
        // that are missing at the end, those before the segment that begins with 7, and that segment.
        for (unseen, lost, expected) in [
            (&[][..], &[][..], [true, false, false, false]),
            (&[10], &[], [true, false, false, false]),
            (&[9], &[], [true, true, false, false]),
            (&[3, 10], &[], [true, false, true, false]),
            (&[3, 7], &[], [true, true, true, false]),
            (&[], &[3], [true, true, true, false]),
            (&[10], &[3], [true, true, true, false]),
        ] {
            let mut state = State::new();
            state.segments.created(0);
            state.segments.appended(0, 100, 10);
            state.unseen = unseen.iter().copied().map(known).collect();
            state.lost = lost.iter().copied().map(known).collect();
            let later = || View::Segment(Segment::new(7, 100));
            let found = [
                (View::End(0), 10),
                (View::End(2), 8),
                (later(), 6),
                (later(), 7),
            ];
            let found = found.map(|(view, next)| state.is_at_end(&view, next));
            assert_eq!(found, expected, "{unseen:?} {lost:?}");
        }
    }

    #[test]
    fn as_much_is_kept_as_the_queue_may_take_late() {
        let group = |bytes| Group {
            bytes,
            ..Group::default()
        };
        for (sizes, kept) in [
            (&[FRESH][..], FRESH),
            (&[FRESH - 7, 7], FRESH),
            (&[FRESH - 7, 8], 0),
            (&[1, 2, 3], 6),
        ] {
            let mut state = State::new();
            state.fresh = Some(Group::default());
            sizes
                .iter()
                .for_each(|bytes| state.keep(&mut group(*bytes)));
            assert_eq!(state.fresh_bytes(), kept, "{sizes:?}");
            assert_eq!(state.fresh.is_some(), kept > 0);
        }
        for (capacity, is_kept) in [
            (CHUNK_BYTES / 2 - 1, false),
            (CHUNK_BYTES / 2, true),
            (CHUNK_BYTES * 2, true),
            (CHUNK_BYTES * 2 + 1, false),
        ] {
            let mut state = State::new();
            let records = (0..20).map(|_| Record::empty(Vec::with_capacity(capacity)));
            state.recycle(records);
            assert_eq!(
                state.spare.len(),
                if is_kept { SPARE } else { 0 },
                "{capacity}"
            );
        }
    }

    #[test]
    fn more_is_waited_for_only_where_nobody_waits() {
        let large = UNWRITTEN;
        // How many bytes are pending, and wait for the queue; whether a client waits, and the spool ends.
        for (bytes, fresh, is_client, is_ending, patience) in [
            (1, None, false, false, 1),
            (1, None, true, false, 0),
            (1, None, false, true, 0),
            (large, None, false, false, 0),
            (1, Some(FRESH - 1), false, false, 1),
            (1, Some(FRESH), false, false, 10),
            (1, Some(FRESH), true, false, 0),
            (large, Some(FRESH), false, false, 10),
        ] {
            let mut state = State::new();
            state.pending.bytes = bytes;
            state.fresh = fresh.map(|bytes| Group {
                bytes,
                ..Group::default()
            });
            state.pending.uncounted.extend(is_client.then_some((0, 1)));
            state.is_ending = is_ending;
            assert_eq!(state.patience(), patience, "{bytes} {fresh:?} {is_client}");
        }
    }

    /// With groups as clients and streams make them, the queue gets all events, in order.
    #[test]
    fn what_is_kept_for_the_queue_has_its_order() {
        let mut state = State::new();
        state.fresh = Some(Group::default());
        let (mut all, mut number) = (Vec::new(), 0);
        for sizes in [
            &[10, 20_000, 10][..],
            &[10],
            &[10, 10, 40_000, 10, 65_000, 10],
        ] {
            for size in sizes {
                let bytes = format!("{number:0size$}\n").into_bytes();
                number += 1;
                all.extend_from_slice(&bytes);
                let mut chunk = Chunk { bytes, events: 1 };
                match chunk.bytes.len() <= FEW {
                    true => state.collect(&mut chunk, false),
                    false => state.pending.records.extend(Record::of(&mut chunk)),
                }
            }
            let mut group = std::mem::take(&mut state.pending);
            state.keep(&mut group);
        }
        let records = state.fresh.unwrap().records;
        let bytes: Vec<u8> = records
            .iter()
            .flat_map(|record| record.bytes.clone())
            .collect();
        assert!(bytes == all, "not in order");
        let events: u32 = records.iter().map(|record| record.events).sum();
        assert_eq!(events, number);
        let sizes: Vec<_> = records.iter().map(|record| record.bytes.len()).collect();
        assert_eq!(
            sizes,
            [11, 20_045, 40_012, 65_012],
            "the small ones are together"
        );
    }
}
