//! A spool without threads on a disk that is killed, loses power, and is damaged, compared with a naive model.

mod again;
mod damage;
mod disk;
mod feed;
mod found;
mod life;
mod lost;
mod meanwhile;
mod model;
mod rescue;
mod room;
mod second;
mod steps;
mod stop;
mod trouble;

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use self::disk::FakeDir;
use self::model::{Act, Fate, Model, acts, start};
use super::position::{self, Position, Stored};
use super::reader::View;
use super::record;
use super::segments;
use super::shared::Shared;
use super::{Appended, Files, Settings, Spool, SyncMode};
use crate::buffer::chunk::{Chunk, Extent};
use crate::buffer::queue::{Taken, queue};
use crate::sys::shutdown::ShutdownSignal;
use crate::telemetry::watchdog::Watchdog;
use crate::telemetry::{Report, ReportedSource};

proptest! {
    #![proptest_config(crate::cases(2000))]

    /// However it ends: everything written comes, in order, once; after a power failure everything that was on disk.
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
        for (number, event) in model.written.range(acked..) {
            if event.fate != Fate::Doubtful {
                prop_assert_eq!(model.delivered.get(number), Some(&event.line));
            }
        }
    }

    /// With damage as well: what is untouched comes, what is missing is counted, nothing comes that was not written.
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
        for (number, event) in model.written.range(acked..end) {
            if !model.may_be_missing(*number, event) {
                prop_assert_eq!(model.delivered.get(number), Some(&event.line));
            }
        }
    }
}

/// The threads' part of the promise: clients that append at the same time, and a power failure at any moment.
#[test]
fn with_always_no_power_failure_costs_what_was_acknowledged() {
    for seed in 1..=25_u64 {
        let mut dice = disk::dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
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
        after.lose_power(|| dice().is_multiple_of(2));
        let found = lines_in(&after);
        for line in &acknowledged {
            assert!(found.contains(line), "{line} of {}", acknowledged.len());
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
    model.remove(position::NAME);
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
        model.remove(name);
    }
    model.restart(false).unwrap();
    model.write(&[4]);
    model.read(9).unwrap();
    let came: Vec<_> = model.delivered.keys().copied().collect();
    assert_eq!((model.missing, came), (1, vec![0, 1, 3]));
}

proptest! {
    #![proptest_config(crate::cases(64))]

    /// Whether they are passed on at once or read back because the queue was full.
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
        let stop = ShutdownSignal::new().unwrap();
        let feed = thread::spawn(move || spool.feed(producer, stop, usize::MAX));
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

/// Clients whose events are refused send them again; streams don't, so theirs are written when the disk works again.
#[test]
fn what_was_refused_does_not_come_later() {
    let kinds = [ErrorKind::StorageFull, ErrorKind::Other].into_iter();
    thread::scope(|scope| {
        for (kind, fails_at) in kinds.flat_map(|kind| (0..12).map(move |at| (kind, at))) {
            scope.spawn(move || refuse(kind, fails_at));
        }
    });
}

fn refuse(kind: ErrorKind, fails_at: usize) {
    let dir = FakeDir::default();
    let files = Files::of(Arc::new(dir.clone()), tempfile::tempfile().unwrap());
    let settings = Settings {
        path: "spool".into(),
        limit: 1 << 20,
        sync: SyncMode::Never,
    };
    let source = ReportedSource {
        name: "http".into(),
        resumes: false.into(),
    };
    let report = Arc::new(Report::new(Duration::from_secs(10), vec![source]));
    let (producer, _consumer) = queue(Extent {
        events: 1,
        bytes: 1 << 20,
    });
    let stats = producer.stats();
    let counts = Arc::clone(&report);
    let running = Spool::start(&settings, files, stats, report, Watchdog::default()).unwrap();
    let [client, stream] = [(); 2].map(|()| running.spool().appender(0));
    let post = |line: &str| {
        let mut chunk = chunk(line);
        client.append_and_wait(&mut chunk) == Appended::Taken
    };
    {
        let mut disk = dir.disk();
        disk.failing = Some((fails_at, kind));
        disk.shrinks = true;
    }
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    for number in 0..20 {
        let (one, other) = (format!("client {number}\n"), format!("stream {number}\n"));
        match post(&one) {
            true => taken.push(one),
            false => refused.push(one),
        }
        if stream.append(&mut chunk(&other)) == Appended::Taken {
            taken.push(other);
        }
    }
    assert!(!refused.is_empty(), "the disk failed");
    let by_clients = taken.iter().filter(|line| line.starts_with("client"));
    let counted = by_clients.count() as u64;
    dir.disk().failing = None;
    while !post("last\n") {
        thread::yield_now();
    }
    taken.push("last\n".into());
    running.finish(Duration::from_secs(10));
    let mut found = lines_in(&dir);
    found.sort();
    taken.sort();
    assert_eq!(found, taken, "{kind}, {fails_at}");
    assert_eq!(
        counts.snapshot().balance.received(),
        counted + 1,
        "{kind}, {fails_at}"
    );
}

#[test]
fn only_what_fits_with_its_head_could_ever_be_taken() {
    let (limit, head) = (1000, record::RECORD_HEAD);
    let report = Arc::new(Report::new(Duration::from_secs(10), Vec::new()));
    let shared = Shared::new(
        "spool".into(),
        limit as u64,
        SyncMode::Second,
        report,
        Watchdog::default(),
    );
    for (bytes, could) in [(0, true), (limit - head, true), (limit - head + 1, false)] {
        assert_eq!(shared.could_take(bytes), could, "{bytes}");
    }
}

pub(super) fn sync_mode() -> impl Strategy<Value = SyncMode> {
    prop_oneof![
        Just(SyncMode::Never),
        Just(SyncMode::Second),
        Just(SyncMode::Always)
    ]
}

fn chunk(line: &str) -> Chunk {
    Chunk {
        bytes: line.as_bytes().to_vec(),
        events: 1,
    }
}

/// All events that the next start would find.
fn lines_in(dir: &FakeDir) -> Vec<String> {
    let (segments, mut reader, ..) = start(dir);
    let mut chunk = Chunk::default();
    loop {
        match reader.view(&segments) {
            View::End(0) => break,
            view => drop(reader.read(&view, &mut chunk).unwrap()),
        }
    }
    let text = String::from_utf8(chunk.bytes).unwrap();
    text.split_inclusive('\n').map(str::to_owned).collect()
}
