//! What a segment's bytes mean. No I/O.
//!
//! A segment begins with a header, followed by records of some whole events each: a head with its own CRC-32, and the
//! events' lines. Each event of a spool has a number, and a record has the number of its first event, so that whatever
//! is missing can be counted. Damage costs the records that it touches.

use std::ops::Range;

use crate::buffer::chunk::{CHUNK_BYTES, Chunk, Extent, prefix_within};

/// A segment's first bytes: what it is, and its version, with a CRC-32.
pub const SEGMENT_HEAD: usize = 16;
/// A record's head.
pub const RECORD_HEAD: usize = 32;
/// The version that this program writes, and the newest that it reads.
pub const VERSION: u32 = 1;
/// The events of a record have at most this many bytes: an event has at most 1 GiB, of which each byte may be replaced by
/// three, because it is not UTF-8.
const MAX_BYTES: u32 = 3 * (1 << 30) + (1 << 20);
const SEGMENT_MAGIC: [u8; 8] = *b"s3aSPOOL";
/// This is not UTF-8, so no event contains it.
const RECORD_MAGIC: [u8; 4] = [0xf5, 0xc0, 0xff, 0xee];

/// The head of a segment that this program writes.
pub fn segment_head() -> [u8; SEGMENT_HEAD] {
    let mut head = [0; SEGMENT_HEAD];
    head[..8].copy_from_slice(&SEGMENT_MAGIC);
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let crc = crc32fast::hash(&head[..12]);
    head[12..].copy_from_slice(&crc.to_le_bytes());
    head
}

/// The version of a segment that begins like this; none if its head is damaged.
pub fn segment_version(bytes: &[u8]) -> Option<u32> {
    let head = bytes.get(..SEGMENT_HEAD)?;
    let is_sound =
        head.starts_with(&SEGMENT_MAGIC) && u32_at(head, 12) == crc32fast::hash(&head[..12]);
    is_sound.then(|| u32_at(head, 8))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

/// Some whole events that are written together.
#[derive(Debug)]
pub struct Record {
    /// Their lines.
    pub bytes: Vec<u8>,
    /// How many.
    pub events: u32,
    /// The CRC-32 of the lines, if they are still the first ones.
    crc: Option<u32>,
}

impl Record {
    /// A record of these lines. Reads every byte: whoever has just made them does so at the least cost.
    pub fn new(bytes: Vec<u8>, events: usize) -> Self {
        Record {
            events: u32::try_from(events).unwrap_or(u32::MAX),
            crc: Some(crc32fast::hash(&bytes)),
            bytes,
        }
    }

    /// A record without events, in this memory.
    pub fn empty(bytes: Vec<u8>) -> Self {
        Record {
            bytes,
            events: 0,
            crc: None,
        }
    }

    /// Adds these lines. False if they would make it larger than a chunk.
    pub fn add(&mut self, lines: &[u8], events: u32) -> bool {
        let fits = self.bytes.len() + lines.len() <= CHUNK_BYTES;
        if fits {
            self.bytes.extend_from_slice(lines);
            self.events += events;
            self.crc = None;
        }
        fits
    }

    /// Records of at most a chunk each, unless an event is larger. Takes the chunk's events, and also its memory where
    /// copying would cost more.
    pub fn of(chunk: &mut Chunk) -> Vec<Record> {
        let mut whole = chunk.extent();
        let records = if whole.bytes > CHUNK_BYTES && whole.events > 1 {
            let (mut records, mut rest) = (Vec::new(), chunk.bytes.as_slice());
            while whole.events > 0 {
                let room = Extent {
                    events: whole.events,
                    bytes: CHUNK_BYTES,
                };
                let mut part = prefix_within(rest, whole, room);
                if part.events == 0 {
                    // A single event that is longer.
                    let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
                    (part.events, part.bytes) = (1, end);
                }
                let (lines, behind) = rest.split_at(part.bytes);
                records.push(Record::new(lines.to_vec(), part.events));
                (rest, whole) = (behind, whole.minus(part));
            }
            records
        } else if whole.bytes * 2 > chunk.bytes.capacity() {
            vec![Record::new(std::mem::take(&mut chunk.bytes), whole.events)]
        } else {
            vec![Record::new(chunk.bytes.clone(), whole.events)]
        };
        chunk.clear();
        records
    }

    /// Its head, for this number of its first event and this time of writing, in seconds since 1970.
    pub fn head(&self, first: u64, time: u32) -> [u8; RECORD_HEAD] {
        let mut head = [0; RECORD_HEAD];
        head[..4].copy_from_slice(&RECORD_MAGIC);
        head[4..8].copy_from_slice(&(self.bytes.len() as u32).to_le_bytes());
        head[8..12].copy_from_slice(&self.events.to_le_bytes());
        head[12..16].copy_from_slice(&time.to_le_bytes());
        head[16..24].copy_from_slice(&first.to_le_bytes());
        let lines = self.crc.unwrap_or_else(|| crc32fast::hash(&self.bytes));
        head[24..28].copy_from_slice(&lines.to_le_bytes());
        let crc = crc32fast::hash(&head[..28]);
        head[28..].copy_from_slice(&crc.to_le_bytes());
        head
    }

    /// How many bytes it takes in a segment.
    pub fn size(&self) -> u64 {
        (RECORD_HEAD + self.bytes.len()) as u64
    }
}

/// The head of a record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The number of its first event.
    pub first: u64,
    /// How many events there are.
    pub events: u32,
    /// When it was written, in seconds since 1970.
    pub time: u32,
    /// The length of its lines in bytes.
    len: u32,
    crc: u32,
}

impl Head {
    fn parse(bytes: &[u8]) -> Option<Head> {
        let head = bytes.get(..RECORD_HEAD)?;
        if !head.starts_with(&RECORD_MAGIC) || u32_at(head, 28) != crc32fast::hash(&head[..28]) {
            return None;
        }
        let mut first = [0; 8];
        first.copy_from_slice(&head[16..24]);
        let head = Head {
            first: u64::from_le_bytes(first),
            events: u32_at(head, 8),
            time: u32_at(head, 12),
            len: u32_at(head, 4),
            crc: u32_at(head, 24),
        };
        let is_sound = head.events > 0 && head.events <= head.len && head.len <= MAX_BYTES;
        (is_sound && head.first.checked_add(head.events.into()).is_some()).then_some(head)
    }

    /// The number after its last event.
    pub fn end(&self) -> u64 {
        self.first + u64::from(self.events)
    }
}

/// What is found at the beginning of some bytes of a segment.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A record, and where its lines are.
    Record(Head, Range<usize>),
    /// This many bytes are damaged.
    Damaged(usize),
    /// This many bytes are needed to decide; fewer are there.
    Incomplete(usize),
}

/// Looks at the bytes after a segment's head, or after what was found before.
pub fn find(bytes: &[u8]) -> Found {
    if bytes.len() < RECORD_HEAD {
        return Found::Incomplete(RECORD_HEAD);
    }
    let Some(head) = Head::parse(bytes) else {
        // A magic number may be cut off at the end.
        let next = memchr::memmem::find(&bytes[1..], &RECORD_MAGIC);
        let kept = RECORD_MAGIC.len() - 1;
        return Found::Damaged(next.map_or(bytes.len() - kept, |at| at + 1));
    };
    let lines = RECORD_HEAD..RECORD_HEAD + head.len as usize;
    match bytes.get(lines.clone()) {
        None => Found::Incomplete(lines.end),
        Some(found) if crc32fast::hash(found) == head.crc => Found::Record(head, lines),
        Some(_) => Found::Damaged(lines.end),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::group::bytes_of;
    use super::*;

    fn chunk(lines: &[usize]) -> Chunk {
        let mut chunk = Chunk::default();
        for length in lines {
            chunk.bytes.extend(vec![b'x'; *length]);
            chunk.bytes.push(b'\n');
            chunk.events += 1;
        }
        chunk
    }

    #[test]
    fn a_head_tells_its_version_unless_it_is_damaged() {
        assert_eq!(segment_version(&segment_head()), Some(VERSION));
        for at in 0..SEGMENT_HEAD {
            let mut head = segment_head();
            head[at] ^= 1;
            assert_eq!(segment_version(&head), None);
        }
    }

    #[test]
    fn a_record_takes_lines_up_to_a_chunk_and_the_memory_of_one_that_is_full() {
        let mut record = Record::empty(Vec::new());
        assert!(record.add(b"x\n", 1) && record.add(&vec![b'x'; CHUNK_BYTES - 2], 1));
        assert!(!record.add(b"\n", 1));
        assert_eq!((record.bytes.len(), record.events), (CHUNK_BYTES, 2));
        for (length, is_taken) in [(10, false), (499, false), (501, true)] {
            let mut chunk = Chunk::default();
            chunk.bytes.reserve_exact(1000);
            chunk.bytes.resize(length, b'x');
            Record::of(&mut chunk);
            assert_eq!(chunk.bytes.capacity() == 0, is_taken, "{length}");
        }
    }

    /// With a sum that fits, so only what it says can be wrong.
    #[test]
    fn a_head_that_makes_no_sense_is_damaged() {
        let record = Record::new(b"{}\n{}\n".to_vec(), 2);
        let sound = record.head(7, 9);
        assert_eq!(find(&sound), Found::Incomplete(RECORD_HEAD + 6));
        for (what, at, value, is_sound) in [
            ("nothing", 12, 10, true),
            ("another magic number", 0, 1, false),
            ("no events", 8, 0, false),
            ("as many events as bytes", 8, 6, true),
            ("more events than bytes", 8, 7, false),
            (
                "the largest event, none of it UTF-8",
                4,
                (3 << 30) + 1,
                true,
            ),
            ("as long as can be", 4, MAX_BYTES, true),
            ("too long", 4, MAX_BYTES + 1, false),
            ("a number that is nearly too large", 20, u32::MAX, true),
        ] {
            let mut head = sound;
            head[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
            let crc = crc32fast::hash(&head[..28]);
            head[28..].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(Head::parse(&head).is_some(), is_sound, "{what}");
        }
        assert_eq!(Head::parse(&record.head(u64::MAX - 1, 9)), None);
        // Its last bytes may be the beginning of a magic number.
        assert_eq!(find(&[0; 40]), Found::Damaged(37));
    }

    proptest! {
        #[test]
        fn a_chunk_is_cut_into_records_of_whole_events(lines in vec(0..90_000_usize, 1..6)) {
            let mut whole = chunk(&lines);
            let (bytes, events) = (whole.bytes.clone(), whole.events);
            let bytes_len = bytes.len();
            let records = Record::of(&mut whole);
            prop_assert!(whole.is_empty() && whole.bytes.is_empty());
            let all: Vec<u8> = records.iter().flat_map(|record| record.bytes.clone()).collect();
            prop_assert_eq!(all, bytes);
            prop_assert_eq!(records.iter().map(|record| record.events as usize).sum::<usize>(), events);
            let size: u64 = records.iter().map(Record::size).sum();
            prop_assert!(size <= bytes_of(bytes_len));
            for record in &records {
                prop_assert!(record.bytes.len() <= CHUNK_BYTES || record.events == 1);
                let newlines = memchr::memchr_iter(b'\n', &record.bytes).count();
                prop_assert_eq!(newlines, record.events as usize);
            }
        }

        /// Whichever byte is changed, the records that do not contain it are found.
        #[test]
        fn damage_costs_the_record_that_it_touches(
            lines in vec(vec(0..300_usize, 1..4), 1..6),
            at in any::<prop::sample::Index>(),
            flip in 1..=255_u8,
        ) {
            let (mut bytes, mut ends, mut next) = (Vec::new(), Vec::new(), 7);
            for lines in &lines {
                let (first, more) = (chunk(&lines[..1]), chunk(&lines[1..]));
                let mut record = Record::new(first.bytes, first.events);
                if !more.bytes.is_empty() {
                    prop_assert!(record.add(&more.bytes, more.events as u32));
                }
                bytes.extend(record.head(next, 9));
                bytes.extend(&record.bytes);
                ends.push((next, bytes.len()));
                next += lines.len() as u64;
            }
            let at = at.index(bytes.len());
            let hit = ends.iter().position(|(_, end)| at < *end).unwrap();
            bytes[at] ^= flip;
            let (mut found, mut from) = (Vec::new(), 0);
            loop {
                match find(&bytes[from..]) {
                    Found::Record(head, range) => {
                        found.push(head.first);
                        from += range.end;
                    }
                    Found::Damaged(length) => from += length,
                    Found::Incomplete(_) => break,
                }
            }
            let mut expected: Vec<u64> = ends.iter().map(|(first, _)| *first).collect();
            expected.remove(hit);
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn no_bytes_panic(bytes in vec(any::<u8>(), 0..200), has_magic in any::<bool>()) {
            let mut all = if has_magic { RECORD_MAGIC.to_vec() } else { Vec::new() };
            all.extend(bytes);
            let mut from = 0;
            while let Found::Record(_, Range { end, .. }) | Found::Damaged(end) = find(&all[from..]) {
                prop_assert!(end > 0);
                from += end;
            }
        }
    }
}
