//! The events of entries in MessagePack. No I/O.

use super::batch::Batch;
use super::head::Fault;
use super::message::Entries;
use super::values::{Found, Values};
use crate::buffer::chunk::Extent;
use crate::source::gunzip::Gunzip;

/// An entry is at most this much longer than its record.
pub const ENTRY_ENVELOPE: usize = 1 << 10;
/// What gzip begins with, and no entry does.
const GZIP: u8 = 0x1f;

/// Takes the events of a message. If they are more than `max` bytes together, inflated or as JSON, takes none of them
/// and returns false.
pub fn take_whole(batch: &mut Batch, entries: Entries<'_>, max: usize) -> bool {
    match entries {
        Entries::Record(record) => batch.add_record(record),
        Entries::Many(mut rest) => {
            // JSON is a little longer, as a rule.
            let likely = rest.len().saturating_add(rest.len() / 8);
            batch.lines.bytes.reserve(likely.min(max));
            while !rest.is_empty() && batch.lines.bytes.len() <= max {
                rest = batch.add_entry(rest);
            }
        }
        Entries::Gzip(mut packed) => {
            let mut unpacker = Unpacker::new(batch.max_event());
            let enough = Extent {
                events: usize::MAX,
                bytes: max.saturating_add(1),
            };
            if unpacker.unpack(&mut packed, batch, enough, max) != Step::Read {
                batch.clear();
                return false;
            }
            unpacker.finish(batch);
            if unpacker.is_corrupt {
                // What came out before may be garbled too: which of it, nobody knows.
                batch.clear();
                batch.lose(Fault::Malformed);
            }
        }
        Entries::Unknown => batch.lose(Fault::Malformed),
    }
    batch.is_within(max)
}

/// Why taking a message's events has paused.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// More bytes are needed.
    Read,
    /// The batch has enough, and should be offered.
    Offer,
    /// It has taken enough time for now.
    Pause,
    /// The message has ended, with this option.
    Done(Vec<u8>),
}

/// Entries that are packed in a string, which may come in pieces, and may be compressed.
#[derive(Debug)]
pub struct Unpacker {
    entries: Values,
    has_begun: bool,
    gunzip: Option<Gunzip>,
    /// Nothing after this can be understood.
    is_bad: bool,
    /// They can't be decompressed, or not as they were compressed.
    is_corrupt: bool,
}

impl Unpacker {
    /// Before the first byte.
    pub fn new(max_event: usize) -> Self {
        Unpacker {
            entries: Values::new(max_event.saturating_add(ENTRY_ENVELOPE)),
            has_begun: false,
            gunzip: None,
            is_bad: false,
            is_corrupt: false,
        }
    }

    /// Adds the events of the next bytes to the batch, until that has enough, or about `slice` bytes were inflated.
    /// [`Step::Read`] means that all of them were taken.
    pub fn unpack(
        &mut self,
        packed: &mut &[u8],
        batch: &mut Batch,
        enough: Extent,
        slice: usize,
    ) -> Step {
        let mut inflated = 0;
        loop {
            while !self.is_bad {
                if batch.has(enough) {
                    return Step::Offer;
                }
                match self.entries.next() {
                    Ok(None) => break,
                    Ok(Some(Found::Value(entry))) => _ = batch.add_entry(entry),
                    Ok(Some(Found::TooLarge(_))) => batch.lose(Fault::TooLarge),
                    Err(_) => self.break_off(batch),
                }
            }
            if self.is_bad {
                *packed = &[];
            }
            let Some(first) = packed.first() else {
                return Step::Read;
            };
            if !std::mem::replace(&mut self.has_begun, true) && *first == GZIP {
                self.gunzip = Some(Gunzip::default());
            }
            let Some(gunzip) = &mut self.gunzip else {
                self.entries.copy_in(packed);
                continue;
            };
            if inflated >= slice {
                return Step::Pause;
            }
            match gunzip.next(packed, self.entries.space()) {
                Ok(count) => {
                    self.entries.filled(count);
                    inflated += count;
                }
                Err(_) => {
                    self.is_corrupt = true;
                    self.break_off(batch);
                }
            }
        }
    }

    fn break_off(&mut self, batch: &mut Batch) {
        batch.lose(Fault::Malformed);
        self.is_bad = true;
    }

    /// Bytes of memory that it takes.
    pub fn memory(&self) -> usize {
        self.entries.memory() + self.gunzip.as_ref().map_or(0, |_| Gunzip::MEMORY)
    }

    /// That was all.
    pub fn finish(&mut self, batch: &mut Batch) {
        let is_cut_off = (self.gunzip.as_ref()).is_some_and(|gunzip| !gunzip.is_done());
        if !self.is_bad && (is_cut_off || self.entries.is_unfinished()) {
            self.is_corrupt = is_cut_off;
            self.break_off(batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::source::fluent::message::opening;
    use crate::source::fluent::parts::Parts;
    use crate::source::gunzip::gzip;

    const MAX_EVENT: usize = 100;
    const MAX_BYTES: usize = 600;

    /// What may occur among entries.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Entry {
        /// With a record of this many bytes of text.
        Record(u8),
        /// Without one.
        Nil,
    }

    fn packed(entries: &[Entry]) -> Vec<u8> {
        let entry = |entry: &Entry| match entry {
            Entry::Record(length) => {
                let text = vec![b'x'; usize::from(*length)];
                [b"\x92\x01\x81\xa1a\xd9", &[*length][..], &text].concat()
            }
            Entry::Nil => vec![0xc0],
        };
        entries.iter().flat_map(entry).collect()
    }

    /// Lines, too large ones, malformed ones.
    type Taken = (Vec<u8>, usize, usize);

    fn whole(entries: Entries<'_>) -> Option<Taken> {
        let mut batch = Batch::new(MAX_EVENT);
        let is_taken = take_whole(&mut batch, entries, MAX_BYTES);
        let lines = memchr::memchr_iter(b'\n', &batch.lines.bytes).count();
        assert_eq!(batch.lines.events, lines);
        let taken = (batch.lines.bytes, batch.too_large, batch.malformed);
        assert!(is_taken || taken == (Vec::new(), 0, 0));
        is_taken.then_some(taken)
    }

    /// The same of a message that comes in pieces and is taken in parts.
    fn in_parts(packed: &[u8], piece: usize) -> Taken {
        let header = [&b"\x93\xa1t\xc6"[..], &(packed.len() as u32).to_be_bytes()].concat();
        let option = b"\x81\xa5chunk\xa1c";
        let message = [&header, packed, option].concat();
        let mut values = Values::new(20);
        let mut rest = &message[..];
        let (first, behind) = rest.split_at(header.len() + 20);
        rest = behind;
        values.copy_in(&mut &*first);
        assert!(matches!(values.next(), Ok(Some(Found::TooLarge(_)))));
        let enough = Extent {
            events: 3,
            bytes: 200,
        };
        let mut parts = Parts::begin(opening(first).unwrap(), &mut values, MAX_EVENT, enough);
        let mut batch = Batch::new(MAX_EVENT);
        let mut lines = Vec::new();
        loop {
            let step = parts.next(&mut values, &mut batch).unwrap();
            assert!(batch.lines.events <= 3 && batch.lines.bytes.len() <= 200 + MAX_EVENT);
            lines.append(&mut batch.lines.bytes);
            batch.lines.events = 0;
            match step {
                Step::Read => {
                    let (mut piece, behind) = rest.split_at(piece.min(rest.len()));
                    assert!(!piece.is_empty());
                    rest = behind;
                    values.copy_in(&mut piece);
                }
                Step::Done(found) => {
                    assert_eq!(found, option);
                    assert!(rest.is_empty() && !values.is_unfinished());
                    return (lines, batch.too_large, batch.malformed);
                }
                Step::Offer | Step::Pause => {}
            }
        }
    }

    #[test]
    fn what_is_cut_off_is_malformed_and_what_was_whole_is_not() {
        let entries = packed(&[Entry::Record(1), Entry::Record(2)]);
        let line = b"{\"a\":\"x\"}\n".to_vec();
        let cut = &entries[..entries.len() - 1];
        assert_eq!(whole(Entries::Many(cut)), Some((line.clone(), 0, 1)));
        assert_eq!(whole(Entries::Gzip(&gzip(cut))), Some((line, 0, 1)));
        let packed = gzip(&entries);
        let nothing = Some((Vec::new(), 0, 1));
        assert_eq!(whole(Entries::Gzip(&packed[..packed.len() - 4])), nothing);
        let mut wrong_sum = packed.clone();
        wrong_sum[packed.len() - 8] ^= 1;
        assert_eq!(whole(Entries::Gzip(&wrong_sum)), nothing);
        let behind_others = [packed, wrong_sum].concat();
        assert_eq!(whole(Entries::Gzip(&behind_others)), nothing);
        assert_eq!(whole(Entries::Gzip(b"no gzip")), Some((Vec::new(), 0, 1)));
        assert_eq!(whole(Entries::Unknown), Some((Vec::new(), 0, 1)));
        assert_eq!(whole(Entries::Many(b"")), Some((Vec::new(), 0, 0)));
    }

    proptest! {
        #[test]
        fn each_event_is_a_line_or_counted(
            entries in vec(
                prop_oneof![(0..130_u8).prop_map(Entry::Record), Just(Entry::Nil)],
                0..20,
            ),
            split in 0..20_usize,
        ) {
            let (mut lines, mut too_large, mut malformed) = (Vec::new(), 0, 0);
            for (place, entry) in entries.iter().enumerate() {
                match entry {
                    Entry::Record(length) if usize::from(*length) + 8 > MAX_EVENT => too_large += 1,
                    Entry::Record(length) => {
                        let text = "x".repeat((*length).into());
                        lines.extend(format!("{{\"a\":\"{text}\"}}\n").into_bytes());
                    }
                    Entry::Nil if place > 0 && entries[place - 1] == Entry::Nil => {}
                    Entry::Nil => malformed += 1,
                }
            }
            let bytes = packed(&entries);
            let (first, second) = bytes.split_at(split.min(bytes.len()));
            let members = [gzip(first), gzip(second)].concat();
            let expected = (lines.clone(), too_large, malformed);
            prop_assert_eq!(in_parts(&[&[0xc0; 20], &bytes[..]].concat(), split + 1), {
                let starts_malformed = matches!(entries.first(), Some(Entry::Nil));
                (lines.clone(), too_large, malformed + usize::from(!starts_malformed))
            });
            prop_assert_eq!(in_parts(&members, split + 1), expected.clone());
            let is_within = lines.len() <= MAX_BYTES;
            let expected = is_within.then_some(expected);
            prop_assert_eq!(whole(Entries::Many(&bytes)), expected.clone());
            if bytes.len() <= MAX_BYTES {
                prop_assert_eq!(whole(Entries::Gzip(&members)), expected);
            }
        }
    }
}
