//! A running spool, whose threads do what a test says.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::disk::FakeDir;
use crate::buffer::chunk::{Chunk, Extent};
use crate::buffer::queue::{Consumer, Producer, Taken, queue};
use crate::buffer::run::Run;
use crate::buffer::spool::noting::Noted;
use crate::buffer::spool::overdue::Overdue;
use crate::buffer::spool::reader::Reader;
use crate::buffer::spool::shared::{Shared, State};
use crate::buffer::spool::upkeep::Upkeep;
use crate::buffer::spool::{Appended, Files, SyncMode};
use crate::telemetry::watchdog::Watchdog;
use crate::telemetry::{Report, ReportedSource};

pub(super) const LIMIT: u64 = 64 << 10;
pub(super) const SEGMENT: u64 = LIMIT / 8;

/// A running spool.
pub(super) struct Life {
    pub(super) shared: Arc<Shared>,
    pub(super) upkeep: Upkeep,
    pub(super) producer: Producer,
    pub(super) consumer: Consumer,
    pub(super) reader: Option<Reader>,
    pub(super) runs: VecDeque<Run>,
    /// Events are missing from it.
    pub(super) missing: bool,
    /// How often each line was read in it.
    pub(super) seen: BTreeMap<String, usize>,
    /// How many events count as received, if that is known.
    pub(super) received: Option<u64>,
    pub(super) report: Arc<Report>,
}

impl Life {
    pub(super) fn new(dir: &FakeDir, sync: SyncMode) -> Self {
        Self::of(dir, sync, LIMIT)
    }

    pub(super) fn of(dir: &FakeDir, sync: SyncMode, limit: u64) -> Self {
        let lock = tempfile::tempfile().unwrap();
        let mut files = Files::of(Arc::new(dir.clone()), lock).unwrap();
        let source = ReportedSource {
            name: "http".into(),
            resumes: false.into(),
        };
        let report = Arc::new(Report::new(Duration::from_secs(10), vec![source]));
        let (producer, consumer) = queue(Extent {
            events: 1 << 20,
            bytes: 1 << 30,
        });
        let shared = Shared::new(
            "spool".into(),
            limit,
            sync,
            Arc::clone(&report),
            Watchdog::default(),
        );
        shared.install(&mut shared.lock(), &mut files);
        let shared = Arc::new(shared);
        let again = dir.clone();
        let mut life = Life {
            upkeep: Upkeep {
                shared: Arc::clone(&shared),
                stats: producer.stats(),
                open: Box::new(move || {
                    again.disk().come_back()?;
                    Files::of(Arc::new(again.clone()), tempfile::tempfile()?)
                }),
                noted: Noted::at(files.position.at()),
                id: 0,
                position: Some(files.position),
                lock: Some(files.lock),
                overdue: Overdue::new(Instant::now()),
                left: Vec::new(),
            },
            shared,
            producer,
            consumer,
            reader: None,
            runs: VecDeque::new(),
            missing: false,
            seen: BTreeMap::new(),
            received: Some(0),
            report,
        };
        life.upkeep.take_over();
        life
    }

    pub(super) fn write(&self) {
        let state = self.shared.lock();
        if state.can_write() {
            drop(self.shared.write(state));
        } else if state.must_try_out() {
            drop(self.shared.try_out(state));
        }
    }

    /// What a client is told, and whether its event is on disk then.
    pub(super) fn client(&self, line: &str, dirs: &[FakeDir]) -> (Appended, bool) {
        let mut chunk = chunk(line);
        let bytes = chunk.bytes.clone();
        let is_in = |durable: &[u8]| durable.windows(bytes.len()).any(|part| part == bytes);
        thread::scope(|scope| {
            let shared = &self.shared;
            let client = scope.spawn(move || {
                let appended = shared.append(&mut chunk, 0, true);
                let disks: Vec<_> = dirs.iter().map(|dir| dir.disk().clone()).collect();
                (appended, disks)
            });
            while !client.is_finished() {
                self.write();
                self.upkeep.sync();
                thread::yield_now();
            }
            let (appended, disks) = client.join().unwrap();
            let mut files = disks.iter().flat_map(|disk| &disk.files);
            let is_durable = files.any(|file| is_in(&file.durable));
            (appended, is_durable)
        })
    }

    /// What the reading thread does.
    pub(super) fn read(&mut self) {
        loop {
            let state = self.shared.lock();
            let from = state.queued;
            let reader = state.reader(&mut self.reader, from).unwrap();
            let view = reader.view(&state.segments);
            if state.is_at_end(&view, from) {
                self.reader.take_if(|_| state.unread() > 0);
                return;
            }
            drop(state);
            let mut chunk = Chunk::default();
            let damage = reader.read(&view, &mut chunk).unwrap();
            if damage.is_some() {
                assert!(chunk.is_empty());
                self.missing = true;
            }
            let (mut first, end) = (reader.position() - chunk.events as u64, reader.position());
            while !chunk.is_empty() {
                self.producer
                    .offer_noting(&mut chunk, Duration::ZERO, |seqs| {
                        let events = seqs.end - seqs.start;
                        self.shared.marks().add(seqs, first, 1);
                        first += events;
                    });
            }
            self.shared.marks().pass(end);
            self.shared.lock().queued = end;
            let any = Extent {
                events: 1,
                bytes: 1,
            };
            while let Taken::Events(run) = self.consumer.take(any, Some(Instant::now())) {
                for line in std::str::from_utf8(run.lines()).unwrap().lines() {
                    *self.seen.entry(line.into()).or_default() += 1;
                }
                self.runs.push_back(run);
            }
        }
    }

    pub(super) fn finish(&mut self, batches: usize) {
        for run in self.runs.drain(..batches.min(self.runs.len())) {
            self.consumer.finish(run.extent(), [run.seqs()]);
        }
    }
}

/// A failed disk is due to be tried again.
pub(super) fn retry(state: &mut State) {
    if let Some(trouble) = &mut state.trouble
        && trouble.retry_at.is_some()
    {
        trouble.retry_at = Some(Instant::now());
    }
}

pub(super) fn chunk(line: &str) -> Chunk {
    super::chunk(&format!("{line}\n"))
}
