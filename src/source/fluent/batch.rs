//! The events of one message as the lines that go into the buffer.

use super::head::{Fault, split_value};
use super::message::{Entries, json_record_of, record_at};
use super::msgpack::Transcoder;
use super::values::MAX_SPARE;
use crate::buffer::chunk::{Chunk, Extent};
use crate::framer::Event;
use crate::framer::walk::elements;

/// The events of a message, and counts of what could not be taken.
#[derive(Debug)]
pub struct Batch {
    /// The events.
    pub lines: Chunk,
    /// Events over the limit.
    pub too_large: usize,
    /// Entries without a record. A run of them counts once.
    pub malformed: usize,
    max_event: usize,
    /// The entry before the next one was malformed.
    after_malformed: bool,
    transcoder: Transcoder,
}

impl Batch {
    /// Without any events; each may have `max_event` bytes, both as it comes and as JSON.
    pub fn new(max_event: usize) -> Self {
        Batch {
            lines: Chunk::default(),
            too_large: 0,
            malformed: 0,
            max_event,
            after_malformed: false,
            transcoder: Transcoder::default(),
        }
    }

    /// Takes the events of a message in JSON, whose records are parts of it. If they are more than `max` bytes
    /// together, takes none of them and returns false.
    pub fn take_json(&mut self, message: &Event<'_>, entries: Entries<'_>, max: usize) -> bool {
        match entries {
            Entries::Record(record) => self.add_json(message, Some(record)),
            Entries::Many(entries) => {
                for entry in elements(entries) {
                    self.add_json(message, json_record_of(entry));
                    if self.lines.bytes.len() > max {
                        break;
                    }
                }
            }
            Entries::Gzip(_) | Entries::Unknown => self.lose(Fault::Malformed),
        }
        self.is_within(max)
    }

    /// A message has ended. If its events are longer than `max` together, none of them is taken.
    pub fn is_within(&mut self, max: usize) -> bool {
        let is_within = self.lines.bytes.len() <= max;
        if !is_within {
            self.clear();
        }
        self.end();
        is_within
    }

    /// The next entry is another message's.
    pub fn end(&mut self) {
        self.after_malformed = false;
    }

    /// Bytes that an event may have.
    pub fn max_event(&self) -> usize {
        self.max_event
    }

    /// Takes the spare memory, if it has none itself.
    pub fn borrow(&mut self, spare: &mut Vec<u8>) {
        if self.lines.bytes.capacity() == 0 {
            self.lines.bytes = std::mem::take(spare);
        }
    }

    /// Gives back its memory if it has no events, to `spare` if that has less.
    pub fn release(&mut self, spare: &mut Vec<u8>) {
        if self.lines.is_empty() {
            let lines = std::mem::take(&mut self.lines.bytes);
            if (spare.capacity() + 1..=MAX_SPARE).contains(&lines.capacity()) {
                *spare = lines;
            }
        }
    }

    /// Forgets all events.
    pub fn clear(&mut self) {
        self.lines = Chunk::default();
        (self.too_large, self.malformed) = (0, 0);
        self.after_malformed = false;
    }

    /// Whether it has at least this many events or bytes.
    pub fn has(&self, enough: Extent) -> bool {
        self.lines.events >= enough.events || self.lines.bytes.len() >= enough.bytes
    }

    /// Adds a record in MessagePack.
    pub fn add_record(&mut self, record: &[u8]) {
        let written = self.write(record).map(drop);
        self.count(written);
    }

    /// Adds the event of the entry that `entries` begin with, and returns what follows that entry.
    pub fn add_entry<'a>(&mut self, entries: &'a [u8]) -> &'a [u8] {
        let record = record_at(entries);
        let written = record.map_or(Err(Fault::Malformed), |record| {
            let length = self.write(record)?;
            Ok(record.get(length..).unwrap_or_default())
        });
        // Usually it was written; then its end need not be searched for.
        let (written, rest) = match written {
            Ok(rest) => (Ok(()), rest),
            Err(fault) => match split_value(entries) {
                Some((_, rest)) => (Err(fault), rest),
                None => (Err(Fault::Malformed), &[][..]),
            },
        };
        self.count(written);
        rest
    }

    /// Writes the record that `bytes` begin with as a line, and returns its length.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let (max, lines) = (self.max_event, &mut self.lines.bytes);
        let before = lines.len();
        let length = self.transcoder.write(bytes, lines, max)?;
        if length > max {
            lines.truncate(before);
            return Err(Fault::TooLarge);
        }
        lines.push(b'\n');
        Ok(length)
    }

    fn add_json(&mut self, message: &Event<'_>, record: Option<&[u8]>) {
        let written = record.ok_or(Fault::Malformed).and_then(|record| {
            let event = message.part(record);
            // Bytes that are not UTF-8 become more bytes; the newline does not count.
            let max = self.max_event;
            if 3 * record.len() > max && (record.len() > max || event.line_len() > max + 1) {
                return Err(Fault::TooLarge);
            }
            event.append_line(&mut self.lines.bytes);
            Ok(())
        });
        self.count(written);
    }

    /// Something is not an event that can be taken.
    pub fn lose(&mut self, fault: Fault) {
        self.count(Err(fault));
    }

    fn count(&mut self, written: Result<(), Fault>) {
        match written {
            Ok(()) => self.lines.events += 1,
            Err(Fault::TooLarge) => self.too_large += 1,
            Err(Fault::Malformed) if self.after_malformed => {}
            Err(Fault::Malformed) => self.malformed += 1,
        }
        self.after_malformed = written == Err(Fault::Malformed);
    }
}
