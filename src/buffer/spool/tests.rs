//! A spool without threads on a disk that is killed, loses power, and is damaged, against a naive model.

mod disk;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use self::disk::FakeDir;
use super::dir::{Dir, SpoolFile};
use super::position::{self, Position, PositionFile, Stored};
use super::reader::{Reader, View};
use super::record::Record;
use super::segments::{self, Segments};
use super::writer::Writer;
use super::{Appended, Files, Settings, Spool, SyncMode};
use crate::buffer::chunk::{Chunk, Extent};
use crate::buffer::queue::{Taken, queue};
use crate::sys::shutdown::ShutdownSignal;
use crate::telemetry::Report;
use crate::telemetry::watchdog::Watchdog;

const SEGMENT: u64 = 400;

/// What may happen to a spool.
#[derive(Debug, Clone)]
enum Act {
    /// Events of these lengths are written as records of one chunk.
    Write(Vec<usize>),
    /// The same, with a disk that fails after so many calls.
    Fail(Vec<usize>, usize, bool),
    /// All that is written is on disk from now on, as if it had been acknowledged so.
    Sync,
    /// So many records are read.
    Read(usize),
    /// All that was read is final; the position is written, and perhaps on disk, with what that makes superfluous.
    Ack(bool),
    /// The process is killed, and started again.
    Kill,
    /// The power fails, and comes back. The seed decides what survives.
    Power(u64),
    /// A byte of a file is changed.
    Flip(prop::sample::Index, prop::sample::Index, u8),
    /// A segment is removed by somebody.
    Remove(prop::sample::Index),
}

fn acts(with_damage: bool) -> impl Strategy<Value = Vec<Act>> {
    let lines = || vec(0..200_usize, 1..5);
    let index = any::<prop::sample::Index>;
    let damage = if with_damage { 1 } else { 0 };
    let act = prop_oneof![
        8 => lines().prop_map(Act::Write),
        1 => (lines(), 0..6_usize, any::<bool>()).prop_map(|(lines, calls, full)| Act::Fail(lines, calls, full)),
        3 => Just(Act::Sync),
        6 => (1..8_usize).prop_map(Act::Read),
        4 => any::<bool>().prop_map(Act::Ack),
        2 => Just(Act::Kill),
        2 => any::<u64>().prop_map(Act::Power),
        damage => (index(), index(), 1..=255_u8).prop_map(|(file, at, flip)| Act::Flip(file, at, flip)),
        damage => index().prop_map(Act::Remove),
    ];
    vec(act, 1..40)
}

/// What must be true of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// A write of it failed: nobody was told that it is there.
    Unknown,
    /// It survives a kill.
    Written,
    /// The same, by a process that was killed: it is not known whether it is on disk.
    Left,
    /// It survives a power failure.
    Durable,
    /// The power has failed since it was written.
    Doubtful,
}

/// A spool, and what must be true of it.
struct Model {
    dir: FakeDir,
    segments: Segments,
    writer: Writer,
    reader: Reader,
    position: PositionFile,
    acked: u64,
    unsynced: Vec<Arc<dyn SpoolFile>>,
    /// Every event that was ever written, by its number.
    written: BTreeMap<u64, (Vec<u8>, Fate)>,
    /// Events whose write has failed, which are written before others.
    kept: Vec<Vec<u8>>,
    /// Lines that were read, by number, since the last start.
    delivered: BTreeMap<u64, Vec<u8>>,
    /// Numbers that were reported as missing.
    missing: u64,
    serial: u64,
    is_damaged: bool,
}

impl Model {
    fn new() -> Self {
        let dir = FakeDir::default();
        let (segments, reader, position, writer, acked) = start(&dir);
        Model {
            dir,
            segments,
            writer,
            reader,
            position,
            acked,
            unsynced: Vec::new(),
            written: BTreeMap::new(),
            kept: Vec::new(),
            delivered: BTreeMap::new(),
            missing: 0,
            serial: 0,
            is_damaged: false,
        }
    }

    fn write(&mut self, lengths: &[usize]) {
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
        for (number, line) in (first..).zip(&self.kept) {
            self.written.insert(number, (line.clone(), fate));
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

    fn sync(&mut self) {
        for file in self.unsynced.drain(..) {
            file.sync().unwrap();
        }
        self.dir.sync().unwrap();
        for (_, fate) in self.written.values_mut() {
            if *fate == Fate::Written {
                *fate = Fate::Durable;
            }
        }
    }

    fn read(&mut self, records: usize) -> Result<(), TestCaseError> {
        for _ in 0..records {
            let view = self.reader.view(&self.segments);
            if matches!(view, View::End(0)) {
                return Ok(());
            }
            let (from, mut chunk) = (self.reader.position(), Chunk::default());
            let damage = self.reader.read(&view, &mut chunk).unwrap();
            if let Some(damage) = damage {
                prop_assert!(chunk.is_empty());
                prop_assert_eq!(self.reader.position(), from + damage.events);
                self.missing += damage.events;
                let mut missing = self.written.range(from..from + damage.events);
                let is_expected = missing.all(|(_, event)| event.1 == Fate::Doubtful);
                prop_assert!(self.is_damaged || is_expected, "{:?}", damage);
                continue;
            }
            prop_assert_eq!(self.reader.position(), from + chunk.events as u64);
            for (number, line) in (from..).zip(chunk.bytes.split_inclusive(|byte| *byte == b'\n')) {
                // Nothing comes that was not written so, and nothing under another number.
                prop_assert_eq!(
                    Some(line),
                    self.written.get(&number).map(|event| &*event.0),
                    "{}",
                    number
                );
                self.delivered.insert(number, line.into());
            }
        }
        Ok(())
    }

    fn ack(&mut self, is_durable: bool) {
        self.acked = self.reader.position();
        let position = Position {
            acked: self.acked,
            end: self.segments.next(),
        };
        self.position.write(position).unwrap();
        if is_durable {
            self.position.sync().unwrap();
            while let Some(segment) = self.segments.release(self.acked) {
                let result = self.dir.remove(&segment.name());
                assert!(result.is_ok() || self.is_damaged);
            }
        }
    }

    /// Starts again. What is found are the events from the position on, but for those that were lost with the power.
    fn restart(&mut self, lost_power: bool) -> Result<(), TestCaseError> {
        let before = self.segments.next();
        let (segments, reader, position, writer, acked) = start(&self.dir);
        prop_assert!(segments.next() >= acked);
        if !self.is_damaged {
            if !lost_power {
                prop_assert_eq!(acked, self.acked);
                let mut gone = self.written.range(segments.next().min(before)..before);
                prop_assert!(gone.all(|(_, event)| event.1 == Fate::Doubtful));
            }
            prop_assert!(acked <= self.acked);
            let durable = (self.written.iter()).filter(|(_, event)| event.1 == Fate::Durable);
            if let Some((last, _)) = durable.max_by_key(|(number, _)| **number) {
                prop_assert!(segments.next() > *last, "what is on disk is found");
            }
        }
        // Numbers from here on are given once more.
        self.written.split_off(&segments.next());
        self.kept.clear();
        for (_, fate) in self.written.values_mut() {
            *fate = match *fate {
                Fate::Durable => Fate::Durable,
                Fate::Doubtful => Fate::Doubtful,
                _ if lost_power => Fate::Doubtful,
                _ => Fate::Left,
            };
        }
        (self.segments, self.reader, self.position) = (segments, reader, position);
        (self.writer, self.acked) = (writer, acked);
        self.unsynced.clear();
        Ok(())
    }

    fn act(&mut self, act: &Act) -> Result<(), TestCaseError> {
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
                let mut random = *seed | 1;
                self.dir.lose_power(|| {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    random % 2 == 0
                });
                self.restart(true)?;
            }
            Act::Flip(file, at, flip) => {
                let mut disk = self.dir.disk();
                if !disk.names.is_empty() {
                    let names: Vec<_> = disk.names.values().copied().collect();
                    let file = &mut disk.files[names[file.index(names.len())]];
                    if !file.bytes.is_empty() {
                        let at = at.index(file.bytes.len());
                        file.bytes[at] ^= flip;
                        if let Some(byte) = file.durable.get_mut(at) {
                            *byte ^= flip;
                        }
                        self.is_damaged = true;
                    }
                }
            }
            Act::Remove(file) => {
                let mut disk = self.dir.disk();
                let names: Vec<_> = disk
                    .names
                    .keys()
                    .filter(|name| name.ends_with("spool"))
                    .cloned()
                    .collect();
                if !names.is_empty() {
                    let name = &names[file.index(names.len())];
                    disk.names.remove(name);
                    disk.durable_names.remove(name);
                    self.is_damaged = true;
                }
            }
        }
        Ok(())
    }
}

fn start(dir: &FakeDir) -> (Segments, Reader, PositionFile, Writer, u64) {
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// However it ends: all that was written comes, in order, once; after a power failure all that was on disk.
    #[test]
    fn nothing_is_lost_that_was_on_disk(acts in acts(false)) {
        let mut model = Model::new();
        for act in &acts {
            model.act(act)?;
        }
        model.act(&Act::Kill)?;
        let acked = model.acked;
        model.delivered.clear();
        model.read(usize::MAX)?;
        for (number, (line, fate)) in model.written.range(acked..) {
            if *fate != Fate::Doubtful {
                prop_assert_eq!(model.delivered.get(number), Some(line));
            }
        }
    }

    /// With damage besides: what is not touched comes, what is missing is counted, and nothing comes that was not written.
    #[test]
    fn damage_is_counted_and_costs_nothing_else(acts in acts(true)) {
        let mut model = Model::new();
        for act in &acts {
            model.act(act)?;
        }
        model.act(&Act::Kill)?;
        let (acked, end) = (model.acked, model.segments.next());
        model.delivered.clear();
        model.missing = 0;
        model.read(usize::MAX)?;
        prop_assert_eq!(model.delivered.len() as u64 + model.missing, end - acked);
    }
}

/// The threads' part of the promise: clients that append at the same time, and a power failure at a moment of its own.
#[test]
fn with_always_no_power_failure_costs_what_was_acknowledged() {
    for seed in 1..=25_u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut dice = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let dir = FakeDir::default();
        let lock = tempfile::tempfile().unwrap();
        let files = Files::of(Arc::new(dir.clone()), lock);
        let settings = Settings {
            path: "spool".into(),
            limit: 1 << 20,
            sync: SyncMode::Always,
        };
        let report = Arc::new(Report::new(Duration::from_secs(10), Vec::new()));
        let (producer, _consumer) = queue(Extent {
            events: 10,
            bytes: 1 << 20,
        });
        let stats = producer.stats();
        let running = Spool::start(&settings, files, stats, report, Watchdog::default()).unwrap();
        let taken = &Mutex::new(Vec::new());
        let fails_at = dice() % 40;
        let (acknowledged, after) = thread::scope(|scope| {
            for client in 0..4 {
                let appender = running.spool().appender(0);
                scope.spawn(move || {
                    for number in 0..20 {
                        let line = format!("{client}-{number}-{}\n", "x".repeat(3000));
                        let mut chunk = Chunk {
                            bytes: line.clone().into_bytes(),
                            events: 1,
                        };
                        if appender.append_and_wait(&mut chunk) == Appended::Taken {
                            taken.lock().unwrap().push(line);
                        }
                    }
                });
            }
            while (taken.lock().unwrap().len() as u64) < fails_at {
                thread::yield_now();
            }
            let acknowledged = taken.lock().unwrap().clone();
            let disk = dir.disk().clone();
            (acknowledged, FakeDir(Arc::new(Mutex::new(disk))))
        });
        running.finish(Duration::from_secs(10));
        after.lose_power(|| dice() % 2 == 0);
        let (segments, mut reader, ..) = start(&after);
        let mut chunk = Chunk::default();
        loop {
            match reader.view(&segments) {
                View::End(0) => break,
                view => drop(reader.read(&view, &mut chunk).unwrap()),
            }
        }
        let found = String::from_utf8(chunk.bytes).unwrap();
        for line in &acknowledged {
            assert!(
                found.contains(line.as_str()),
                "{line} of {}",
                acknowledged.len()
            );
        }
        assert!(acknowledged.len() as u64 >= fails_at);
    }
}

#[test]
fn a_position_of_which_nothing_is_left_repeats_what_is_there() {
    let mut model = Model::new();
    model.write(&[1, 2, 3]);
    model.read(9).unwrap();
    model.ack(false);
    model.dir.disk().names.remove(position::NAME);
    model.is_damaged = true;
    model.restart(false).unwrap();
    assert_eq!((model.acked, model.segments.next()), (0, 3));
    let at = Position { acked: 0, end: 3 };
    assert_eq!(position::read(&model.dir).unwrap(), Stored::At(at));
}

#[test]
fn events_are_missed_whose_segment_is_gone_though_none_is_behind_it() {
    let mut model = Model::new();
    model.write(&[1, 2, 3]);
    model.read(1).unwrap();
    model.ack(true);
    let names: Vec<_> = model.dir.disk().names.keys().cloned().collect();
    for name in names.iter().filter(|name| segments::is_segment(name)) {
        model.dir.disk().names.remove(name);
    }
    model.is_damaged = true;
    model.restart(false).unwrap();
    model.write(&[4]);
    model.read(9).unwrap();
    let came: Vec<_> = model.delivered.keys().copied().collect();
    assert_eq!((model.missing, came), (1, vec![0, 1, 3]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whether they go on at once or are read back, because the queue was full.
    #[test]
    fn every_event_is_queued_once_and_in_order(
        chunks in vec(1..40_usize, 1..60),
        bound in 1..60_usize,
        waits in vec(any::<bool>(), 60),
        always in any::<bool>(),
    ) {
        let dir = FakeDir::default();
        let files = Files::of(Arc::new(dir), tempfile::tempfile().unwrap());
        let sync = if always { SyncMode::Always } else { SyncMode::Second };
        let settings = Settings { path: "spool".into(), limit: 1 << 20, sync };
        let report = Arc::new(Report::new(Duration::from_secs(10), Vec::new()));
        let (producer, consumer) = queue(Extent { events: bound, bytes: 1 << 20 });
        let running =
            Spool::start(&settings, files, producer.stats(), report, Watchdog::default()).unwrap();
        let (appender, spool) = (running.spool().appender(0), running.spool().clone());
        let (watchdog, stop) = (Watchdog::default(), ShutdownSignal::new().unwrap());
        let feed = thread::spawn(move || spool.feed(producer, watchdog, stop, usize::MAX));
        let taker = thread::spawn(move || {
            let mut all = Vec::new();
            let wanted = Extent { events: 1, bytes: 1 };
            while let Taken::Events(run) = consumer.take(wanted, None) {
                all.extend_from_slice(run.lines());
                let (extent, seqs) = (run.extent(), run.seqs());
                consumer.finish(extent, [seqs]);
            }
            all
        });
        let (mut sent, mut serial) = (Vec::new(), 0);
        for (events, waits) in chunks.into_iter().zip(waits) {
            let mut chunk = Chunk::default();
            for _ in 0..events {
                serial += 1;
                chunk.bytes.extend_from_slice(format!("{serial}\n").as_bytes());
            }
            chunk.events = events;
            sent.extend_from_slice(&chunk.bytes);
            let appended = match waits {
                true => appender.append_and_wait(&mut chunk),
                false => appender.append(&mut chunk),
            };
            prop_assert_eq!(appended, Appended::Taken);
        }
        drop(appender);
        feed.join().unwrap();
        prop_assert_eq!(taker.join().unwrap(), sent);
        prop_assert_eq!(running.finish(Duration::from_secs(10)), 0);
    }
}
