//! Events of a spool in memory: those to be written, those that the queue gets next, and memory to be reused.

use std::iter;

use super::group::Group;
use super::record::Record;
use super::shared::{FEW, FRESH, State};
use crate::buffer::chunk::{CHUNK_BYTES, Chunk};

/// How many buffers are kept for reuse.
const SPARE: usize = 16;

impl State {
    /// How many bytes were written and wait in memory for the queue.
    pub(super) fn fresh_bytes(&self) -> u64 {
        self.fresh.as_ref().map_or(0, |fresh| fresh.bytes)
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
        chunk.bytes.clear();
        chunk.events = 0;
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
    use super::*;

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
        assert!(
            records.len() < number as usize,
            "the small ones are together"
        );
    }
}
