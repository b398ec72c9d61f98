//! The model: what may happen to a spool, and what must be true of it then.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::Range;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::dir::{Dir, SpoolFile};
use super::super::position::{Position, PositionFile};
use super::super::reader::{Reader, View};
use super::super::record::Record;
use super::super::segments::{self, Segments};
use super::super::writer::Writer;
use super::disk::{FakeDir, dice};
use crate::buffer::chunk::Chunk;

const SEGMENT: u64 = 400;
/// With a byte that can't be read, the rest of these is given up.
const SECTOR: usize = 4096;

/// What may happen to a spool.
#[derive(Debug, Clone)]
pub(super) enum Act {
    /// Events of these lengths are written as records of one chunk.
    Write(Vec<usize>),
    /// The same, with a disk that fails after this many calls.
    Fail(Vec<usize>, usize, bool),
    /// Everything written is on disk from now on, as if it had been acknowledged as such.
    Sync,
    /// This many records are read.
    Read(usize),
    /// Everything read is final; the position is written, and perhaps synced, and then old segments are removed.
    Ack(bool),
    /// The process is killed, and started again.
    Kill,
    /// The power fails, and comes back. The seed decides what survives.
    Power(u64),
    /// A byte of a file is changed.
    Flip(prop::sample::Index, prop::sample::Index, u8),
    /// Somebody removes a segment.
    Remove(prop::sample::Index),
    /// So many bytes of a file can't be read from now on. There is one such file.
    Spoil(prop::sample::Index, prop::sample::Index, usize),
}

pub(super) fn acts(with_damage: bool) -> impl Strategy<Value = Vec<Act>> {
    let lines = || vec(0..200_usize, 1..5);
    let index = any::<prop::sample::Index>;
    let damage = prop_oneof![
        (index(), index(), 1..=255_u8).prop_map(|(file, at, flip)| Act::Flip(file, at, flip)),
        index().prop_map(Act::Remove),
        (index(), index(), 1..600_usize).prop_map(|(file, at, len)| Act::Spoil(file, at, len)),
    ];
    let act = prop_oneof![
        8 => lines().prop_map(Act::Write),
        1 => (lines(), 0..6_usize, any::<bool>()).prop_map(|(lines, calls, full)| Act::Fail(lines, calls, full)),
        3 => Just(Act::Sync),
        6 => (1..8_usize).prop_map(Act::Read),
        4 => any::<bool>().prop_map(Act::Ack),
        2 => Just(Act::Kill),
        2 => any::<u64>().prop_map(Act::Power),
        if with_damage { 3 } else { 0 } => damage,
    ];
    vec(act, 1..40)
}

/// What must be true of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// A write of it failed: nobody was told that it was written.
    Unknown,
    /// It survives a kill.
    Written,
    /// The same, by a process that was killed: whether it is on disk is not known.
    Left,
    /// It survives a power failure.
    Durable,
    /// The power has failed since it was written.
    Doubtful,
}

/// A part of a file, by its number.
type Place = (usize, Range<usize>);

/// An event that was written, or was to be.
pub(super) struct Event {
    pub(super) line: Vec<u8>,
    pub(super) fate: Fate,
    /// Its record; none if the write has failed, or the segment had been removed.
    place: Option<Place>,
}

/// A spool, and what must be true of it.
pub(super) struct Model {
    pub(super) dir: FakeDir,
    pub(super) segments: Segments,
    pub(super) writer: Writer,
    pub(super) reader: Reader,
    pub(super) position: PositionFile,
    pub(super) acked: u64,
    /// All events with lower numbers were final at some time: they need not come again.
    final_below: u64,
    pub(super) unsynced: Vec<Arc<dyn SpoolFile>>,
    /// Every event that was ever written, by its number.
    pub(super) written: BTreeMap<u64, Event>,
    /// Events whose write has failed, which are written before others.
    pub(super) kept: Vec<Vec<u8>>,
    /// Lines that were read, by number, since the last start.
    pub(super) delivered: BTreeMap<u64, Vec<u8>>,
    /// Numbers that were reported as missing.
    pub(super) missing: u64,
    pub(super) serial: u64,
    /// What was damaged, can't be read, or was removed by somebody.
    damage: Vec<Place>,
}

impl Model {
    pub(super) fn new() -> Self {
        let dir = FakeDir::default();
        let (segments, reader, position, writer, acked) = start(&dir);
        Model {
            dir,
            segments,
            writer,
            reader,
            position,
            acked,
            final_below: 0,
            unsynced: Vec::new(),
            written: BTreeMap::new(),
            kept: Vec::new(),
            delivered: BTreeMap::new(),
            missing: 0,
            serial: 0,
            damage: Vec::new(),
        }
    }

    fn is_damaged(&self) -> bool {
        !self.damage.is_empty()
    }

    /// Whether this event need not come: the power has failed since it was written; or, once there is damage, that has
    /// touched its record, or it was final already.
    pub(super) fn may_be_missing(&self, number: u64, event: &Event) -> bool {
        let is_touched = event.place.as_ref().is_none_or(|(file, record)| {
            let overlaps =
                |bytes: &Range<usize>| bytes.start < record.end && record.start < bytes.end;
            let mut damage = self.damage.iter();
            damage.any(|(damaged, bytes)| damaged == file && overlaps(bytes))
        });
        let is_excused = number < self.final_below || is_touched;
        event.fate == Fate::Doubtful || (self.is_damaged() && is_excused)
    }

    /// Somebody removes a file.
    pub(super) fn remove(&mut self, name: &str) {
        let mut disk = self.dir.disk();
        let file = disk.names.remove(name).unwrap();
        disk.durable_names.remove(name);
        self.damage.push((file, 0..usize::MAX));
    }

    pub(super) fn write(&mut self, lengths: &[usize]) {
        let first = self.segments.next();
        for length in lengths {
            self.serial += 1;
            let line = format!("{}-{}\n", self.serial, "x".repeat(*length));
            self.kept.push(line.into_bytes());
        }
        let records = self.kept.chunks(2);
        let records: Vec<_> = records
            .map(|lines| Record::new(lines.concat(), lines.len()))
            .collect();
        let result = self.writer.write(&records, first, 1);
        let fate = if result.is_ok() {
            Fate::Written
        } else {
            Fate::Unknown
        };
        let mut place = result.as_ref().ok().and_then(|written| {
            let name = segments::name(written.segment);
            let file = self.dir.disk().names.get(&name).copied()?;
            Some((file, written.from as usize..written.from as usize))
        });
        let mut number = first;
        for (record, lines) in records.iter().zip(self.kept.chunks(2)) {
            if let Some((_, bytes)) = &mut place {
                *bytes = bytes.end..bytes.end + record.size() as usize;
            }
            for line in lines {
                let (line, place) = (line.clone(), place.clone());
                self.written.insert(number, Event { line, fate, place });
                number += 1;
            }
        }
        let Ok(written) = result else {
            return;
        };
        if written.is_new {
            self.segments.created(written.segment);
        }
        let events = self.kept.drain(..).count();
        self.segments
            .appended(written.segment, written.bytes, events as u64);
        self.unsynced.push(written.file);
    }

    pub(super) fn sync(&mut self) {
        for file in self.unsynced.drain(..) {
            file.sync().unwrap();
        }
        self.dir.sync().unwrap();
        for event in self.written.values_mut() {
            if event.fate == Fate::Written {
                event.fate = Fate::Durable;
            }
        }
    }

    pub(super) fn read(&mut self, records: usize) -> Result<(), TestCaseError> {
        for _ in 0..records {
            let view = self.reader.view(&self.segments);
            if matches!(view, View::End(0)) {
                return Ok(());
            }
            let (from, mut chunk) = (self.reader.position(), Chunk::default());
            let read = self.reader.read(&view, &mut chunk);
            prop_assert!(read.is_ok() || self.is_damaged());
            let Ok(damage) = read else { continue };
            if let Some(damage) = damage {
                prop_assert!(chunk.is_empty());
                prop_assert_eq!(self.reader.position(), from + damage.events);
                self.missing += damage.events;
                let mut missing = self.written.range(from..from + damage.events);
                let is_expected =
                    missing.all(|(number, event)| self.may_be_missing(*number, event));
                prop_assert!(is_expected, "{:?}", damage);
                continue;
            }
            prop_assert_eq!(self.reader.position(), from + chunk.events as u64);
            for (number, line) in (from..).zip(chunk.bytes.split_inclusive(|byte| *byte == b'\n')) {
                // Nothing comes that was not written like this, or that has another number.
                prop_assert_eq!(
                    Some(line),
                    self.written.get(&number).map(|event| &*event.line),
                    "{}",
                    number
                );
                self.delivered.insert(number, line.into());
            }
        }
        Ok(())
    }

    pub(super) fn ack(&mut self, is_durable: bool) {
        self.acked = self.reader.position();
        self.final_below = self.final_below.max(self.acked);
        let position = Position {
            acked: self.acked,
            end: self.segments.next(),
        };
        self.position.write(position).unwrap();
        if is_durable {
            self.position.sync().unwrap();
            while let Some(segment) = self.segments.release(self.acked) {
                let result = self.dir.remove(&segment.name());
                assert!(result.is_ok() || self.is_damaged());
            }
        }
    }

    /// Starts again. This finds the events from the position on, except those that were lost with the power.
    pub(super) fn restart(&mut self, lost_power: bool) -> Result<(), TestCaseError> {
        let before = self.segments.next();
        let (segments, reader, position, writer, acked) = start(&self.dir);
        prop_assert!(segments.next() >= acked);
        for event in self.written.values_mut() {
            event.fate = match event.fate {
                Fate::Durable => Fate::Durable,
                Fate::Doubtful => Fate::Doubtful,
                _ if lost_power => Fate::Doubtful,
                _ => Fate::Left,
            };
        }
        if !self.is_damaged() {
            prop_assert!(acked == self.acked || (lost_power && acked < self.acked));
        }
        // What it takes for final, and what it does not know of.
        let skipped = self.written.range(self.final_below.min(acked)..acked);
        let unknown = self.written.range(segments.next().min(before)..before);
        for (number, event) in skipped.chain(unknown) {
            prop_assert!(self.may_be_missing(*number, event), "{}", number);
        }
        self.final_below = self.final_below.min(segments.next());
        // Numbers from here on are given out again. What could not be read may come before that.
        if self.dir.disk().unreadable_file.is_none() {
            self.written.split_off(&segments.next());
        }
        self.kept.clear();
        (self.segments, self.reader, self.position) = (segments, reader, position);
        (self.writer, self.acked) = (writer, acked);
        self.unsynced.clear();
        Ok(())
    }

    pub(super) fn act(&mut self, act: &Act) -> Result<(), TestCaseError> {
        match act {
            Act::Write(lengths) => self.write(lengths),
            Act::Fail(lengths, calls, is_full) => {
                let kind = if *is_full {
                    ErrorKind::StorageFull
                } else {
                    ErrorKind::Other
                };
                self.dir.disk().failing = Some((*calls, kind));
                self.write(lengths);
                self.dir.disk().failing = None;
            }
            Act::Sync => self.sync(),
            Act::Read(records) => self.read(*records)?,
            Act::Ack(is_durable) => self.ack(*is_durable),
            Act::Kill => self.restart(false)?,
            Act::Power(seed) => {
                let mut dice = dice(*seed);
                self.dir.lose_power(|| dice().is_multiple_of(2));
                self.restart(true)?;
            }
            Act::Flip(file, at, flip) => {
                let mut disk = self.dir.disk();
                if !disk.names.is_empty() {
                    let numbers: Vec<_> = disk.names.values().copied().collect();
                    let number = numbers[file.index(numbers.len())];
                    let file = &mut disk.files[number];
                    if !file.bytes.is_empty() {
                        let at = at.index(file.bytes.len());
                        file.bytes[at] ^= flip;
                        if let Some(byte) = file.durable.get_mut(at) {
                            *byte ^= flip;
                        }
                        self.damage.push((number, at..at + 1));
                    }
                }
            }
            Act::Spoil(file, at, len) => {
                let mut disk = self.dir.disk();
                if !disk.names.is_empty() && disk.unreadable_file.is_none() {
                    let numbers: Vec<_> = disk.names.values().copied().collect();
                    let number = numbers[file.index(numbers.len())];
                    let at = at.index(disk.files[number].bytes.len() + 1);
                    (disk.unreadable_file, disk.unreadable) = (Some(number), at..at + len);
                    let end = (at + len).next_multiple_of(SECTOR);
                    self.damage.push((number, at..end));
                }
            }
            Act::Remove(file) => {
                let names: Vec<_> = self
                    .dir
                    .disk()
                    .names
                    .keys()
                    .filter(|name| name.ends_with("spool"))
                    .cloned()
                    .collect();
                if !names.is_empty() {
                    self.remove(&names[file.index(names.len())]);
                }
            }
        }
        Ok(())
    }
}

pub(super) fn start(dir: &FakeDir) -> (Segments, Reader, PositionFile, Writer, u64) {
    let shared: Arc<dyn Dir> = Arc::new(dir.clone());
    let opened = segments::open(&*shared).unwrap();
    let at = Position {
        acked: opened.acked,
        end: opened.segments.next(),
    };
    let position = PositionFile::open(&*shared, at).unwrap();
    let reader = Reader::new(Arc::clone(&shared), opened.acked);
    let writer = Writer::new(shared, SEGMENT);
    (opened.segments, reader, position, writer, opened.acked)
}
