//! The events of one message as the lines that go into the buffer.

use std::io::Read as _;

use flate2::bufread::MultiGzDecoder;

use super::head::{Fault, split_value};
use super::message::{Entries, json_record_of, record_at};
use super::msgpack::Transcoder;
use super::values::{Found, Values};
use crate::buffer::chunk::{CHUNK_BYTES, Chunk};
use crate::framer::Event;
use crate::framer::walk::elements;

/// An entry in MessagePack is this much longer than its record at most.
const ENTRY_ENVELOPE: usize = 1 << 10;

/// What a message may produce.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Bytes of one event, as it came and as JSON.
    pub event: usize,
    /// Bytes of all events together, decompressed and as JSON.
    pub whole: usize,
}

/// The events of a message, and those that are none.
#[derive(Debug)]
pub struct Batch {
    /// The events.
    pub lines: Chunk,
    /// Events over a limit.
    pub too_large: usize,
    /// Entries without a record. A run of them counts once.
    pub malformed: usize,
    limits: BatchLimits,
    /// The entry before the next one was malformed.
    after_malformed: bool,
    /// The events are too large together.
    is_over: bool,
    transcoder: Transcoder,
}

/// What is done with lines before all of a message is there.
pub type Partly<'a> = &'a mut dyn FnMut(&mut Chunk);

impl Batch {
    /// Without any events.
    pub fn new(limits: BatchLimits) -> Self {
        Batch {
            lines: Chunk::default(),
            too_large: 0,
            malformed: 0,
            limits,
            after_malformed: false,
            is_over: false,
            transcoder: Transcoder::default(),
        }
    }

    /// Takes the events of a message in MessagePack. With `partly`, which empties the lines, they need not fit into the
    /// limit for the whole; without it they are all there in the end, or all too large.
    pub fn take_msgpack(&mut self, entries: Entries<'_>, mut partly: Option<Partly<'_>>) {
        match entries {
            Entries::Record(record) => {
                let written = self.write(record).map(drop);
                self.count(written, &mut partly);
            }
            Entries::Many(entries) => {
                if partly.is_none() {
                    // JSON is a little longer, as a rule.
                    let likely = entries.len().saturating_add(entries.len() / 8);
                    self.lines.bytes.reserve(likely.min(self.limits.whole));
                }
                let mut rest = entries;
                while !rest.is_empty() {
                    rest = self.add_entry(rest, &mut partly);
                }
            }
            Entries::Gzip(packed) => self.take_gzip(packed, &mut partly),
            Entries::Unknown => self.count(Err(Fault::Malformed), &mut partly),
        }
        (self.after_malformed, self.is_over) = (false, false);
    }

    /// The same of a message in JSON, of which the records are parts.
    pub fn take_json(
        &mut self,
        message: &Event<'_>,
        entries: Entries<'_>,
        mut partly: Option<Partly<'_>>,
    ) {
        match entries {
            Entries::Record(record) => self.add_json(message, Some(record), &mut partly),
            Entries::Many(entries) => {
                for entry in elements(entries) {
                    self.add_json(message, json_record_of(entry), &mut partly);
                }
            }
            Entries::Gzip(_) | Entries::Unknown => self.add_json(message, None, &mut partly),
        }
        (self.after_malformed, self.is_over) = (false, false);
    }

    /// The events are too large together.
    pub fn lose_all(&mut self) {
        self.too_large += self.lines.events;
        self.lines = Chunk::default();
    }

    fn take_gzip(&mut self, packed: &[u8], partly: &mut Option<Partly<'_>>) {
        let mut decoder = MultiGzDecoder::new(packed);
        let mut values = Values::new(self.limits.event.saturating_add(ENTRY_ENVELOPE));
        let mut inflated = 0_usize;
        loop {
            match decoder.read(values.space()) {
                Ok(0) => break,
                Ok(count) => {
                    values.filled(count);
                    inflated += count;
                }
                Err(_) => return self.count(Err(Fault::Malformed), partly),
            }
            if inflated > self.limits.whole {
                self.too_large += 1;
                return;
            }
            loop {
                match values.next() {
                    Ok(Some(Found::Value(entry))) => {
                        self.add_entry(entry, partly);
                    }
                    Ok(Some(Found::TooLarge(_))) => self.too_large += 1,
                    Ok(None) => break,
                    Err(_) => return self.count(Err(Fault::Malformed), partly),
                }
            }
        }
        if values.is_unfinished() {
            self.count(Err(Fault::Malformed), partly);
        }
    }

    /// Adds the event of the entry that `entries` begin with, and returns what is behind that.
    fn add_entry<'a>(&mut self, entries: &'a [u8], partly: &mut Option<Partly<'_>>) -> &'a [u8] {
        let record = record_at(entries);
        let written = record.map_or(Err(Fault::Malformed), |record| {
            let length = self.write(record)?;
            Ok(record.get(length..).unwrap_or_default())
        });
        // As a rule it was written: then its end need not be looked for.
        let (written, rest) = match written {
            Ok(rest) => (Ok(()), rest),
            Err(fault) => match split_value(entries) {
                Some((_, rest)) => (Err(fault), rest),
                None => (Err(Fault::Malformed), &[][..]),
            },
        };
        self.count(written, partly);
        rest
    }

    /// Writes the record that `bytes` begin with as a line, and returns its length.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let (max, lines) = (self.limits.event, &mut self.lines.bytes);
        let before = lines.len();
        let length = self.transcoder.write(bytes, lines, max)?;
        if length > max {
            lines.truncate(before);
            return Err(Fault::TooLarge);
        }
        lines.push(b'\n');
        Ok(length)
    }

    fn add_json(
        &mut self,
        message: &Event<'_>,
        record: Option<&[u8]>,
        partly: &mut Option<Partly<'_>>,
    ) {
        let lines = &mut self.lines.bytes;
        let before = lines.len();
        let written = match record {
            Some(record) if record.len() > self.limits.event => Err(Fault::TooLarge),
            Some(record) => {
                message.part(record).append_line(lines);
                Ok(())
            }
            None => Err(Fault::Malformed),
        };
        // Bytes that are no UTF-8 become more; its newline does not count.
        let is_long = lines.len() - before > self.limits.event.saturating_add(1);
        if is_long {
            lines.truncate(before);
        }
        let written = if is_long {
            Err(Fault::TooLarge)
        } else {
            written
        };
        self.count(written, partly);
    }

    fn count(&mut self, written: Result<(), Fault>, partly: &mut Option<Partly<'_>>) {
        match written {
            Ok(()) => self.lines.events += 1,
            Err(Fault::TooLarge) => self.too_large += 1,
            Err(Fault::Malformed) if self.after_malformed => {}
            Err(Fault::Malformed) => self.malformed += 1,
        }
        self.after_malformed = written == Err(Fault::Malformed);
        match partly {
            Some(partly) if self.lines.bytes.len() >= CHUNK_BYTES / 2 => partly(&mut self.lines),
            Some(_) => {}
            None => {
                self.is_over |= self.lines.bytes.len() > self.limits.whole;
                if self.is_over {
                    self.lose_all();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const LIMITS: BatchLimits = BatchLimits {
        event: 100,
        whole: 600,
    };

    /// What may stand among entries.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Entry {
        /// With a record of so many bytes of text.
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

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Lines, too large ones, malformed ones.
    fn whole(entries: Entries<'_>) -> (Vec<u8>, usize, usize) {
        let mut batch = Batch::new(LIMITS);
        batch.take_msgpack(entries, None);
        assert_eq!(
            batch.lines.events,
            batch
                .lines
                .bytes
                .iter()
                .filter(|byte| **byte == b'\n')
                .count()
        );
        (batch.lines.bytes, batch.too_large, batch.malformed)
    }

    fn partly(entries: Entries<'_>) -> (Vec<u8>, usize, usize) {
        let mut batch = Batch::new(LIMITS);
        let mut bytes = Vec::new();
        let mut take = |lines: &mut Chunk| {
            bytes.append(&mut lines.bytes);
            lines.events = 0;
        };
        batch.take_msgpack(entries, Some(&mut take));
        take(&mut batch.lines);
        (bytes, batch.too_large, batch.malformed)
    }

    #[test]
    fn what_is_cut_off_is_malformed_and_what_was_whole_is_not() {
        let entries = packed(&[Entry::Record(1), Entry::Record(2)]);
        let line = b"{\"a\":\"x\"}\n".to_vec();
        let cut = &entries[..entries.len() - 1];
        assert_eq!(whole(Entries::Many(cut)), (line.clone(), 0, 1));
        assert_eq!(whole(Entries::Gzip(&gzip(cut))), (line, 0, 1));
        let packed = gzip(&entries);
        let (_, _, malformed) = whole(Entries::Gzip(&packed[..packed.len() - 4]));
        assert_eq!(malformed, 1);
        assert_eq!(whole(Entries::Gzip(b"no gzip")), (Vec::new(), 0, 1));
        assert_eq!(whole(Entries::Unknown), (Vec::new(), 0, 1));
        assert_eq!(whole(Entries::Many(b"")), (Vec::new(), 0, 0));
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
            let (mut lines, mut too_large, mut malformed, mut events) = (Vec::new(), 0, 0, 0);
            for (place, entry) in entries.iter().enumerate() {
                match entry {
                    Entry::Record(length) if usize::from(*length) + 8 > LIMITS.event => too_large += 1,
                    Entry::Record(length) => {
                        let text = "x".repeat((*length).into());
                        lines.extend(format!("{{\"a\":\"{text}\"}}\n").into_bytes());
                        events += 1;
                    }
                    Entry::Nil if place > 0 && entries[place - 1] == Entry::Nil => {}
                    Entry::Nil => malformed += 1,
                }
            }
            let bytes = packed(&entries);
            let (first, second) = bytes.split_at(split.min(bytes.len()));
            let members = [gzip(first), gzip(second)].concat();
            prop_assert_eq!(partly(Entries::Many(&bytes)), (lines.clone(), too_large, malformed));
            let expected = match lines.len() > LIMITS.whole {
                true => (Vec::new(), too_large + events, malformed),
                false => (lines.clone(), too_large, malformed),
            };
            prop_assert_eq!(whole(Entries::Many(&bytes)), expected.clone());
            if bytes.len() <= LIMITS.whole {
                prop_assert_eq!(partly(Entries::Gzip(&members)), (lines, too_large, malformed));
                prop_assert_eq!(whole(Entries::Gzip(&members)), expected);
            }
        }
    }
}
