//! What of a spool is still passed on when the agent stops.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::disk::{FakeDir, Meanwhile};
use super::life::{LIMIT, Life, chunk, retry};
use crate::buffer::chunk::{Chunk, Extent};
use crate::buffer::queue::{Taken, queue};
use crate::buffer::spool::feed::Feed;
use crate::buffer::spool::group::Group;
use crate::buffer::spool::{Appended, Files, Settings, Spool, SyncMode};
use crate::sys::shutdown::ShutdownSignal;
use crate::telemetry::Report;
use crate::telemetry::watchdog::Watchdog;

/// How many of five events are passed on, if they wait in memory or only on disk.
fn passed_on(is_fresh: bool, is_stopping: bool, last_events: usize) -> usize {
    let dir = FakeDir::default();
    let life = Life::new(&dir, SyncMode::Second);
    life.shared.lock().fresh = is_fresh.then(Group::default);
    for number in 0..5 {
        let taken = life.shared.append(&mut chunk(&number.to_string()), 0, true);
        assert_eq!(taken, Appended::Taken);
    }
    let stop = ShutdownSignal::new().unwrap();
    if is_stopping {
        stop.trigger();
    }
    let feed = Feed {
        shared: life.shared.clone(),
        producer: life.producer,
        stop,
        last_events,
    };
    feed.run();
    assert!(life.shared.lock().fresh.is_none(), "nothing more comes");
    let (mut events, wanted) = (
        0,
        Extent {
            events: 1,
            bytes: 1,
        },
    );
    while let Taken::Events(run) = life.consumer.take(wanted, Some(Instant::now())) {
        events += run.extent().events;
    }
    events
}

#[test]
fn a_stop_passes_on_what_is_left_only_if_that_is_little() {
    for is_fresh in [false, true] {
        for (is_stopping, last_events, passed) in
            [(false, 0, 5), (true, 4, 0), (true, 5, 5), (true, 6, 5)]
        {
            let found = passed_on(is_fresh, is_stopping, last_events);
            assert_eq!(found, passed, "{is_fresh} {is_stopping} {last_events}");
        }
    }
}

#[test]
fn what_is_in_a_directory_that_is_not_in_its_place_is_not_left_for_the_next_start() {
    let life = Life::new(&FakeDir::default(), SyncMode::Second);
    let producer = life.producer.resuming(life.shared.resumes.clone());
    let stats = producer.stats();
    producer.offer(&mut many(4));
    assert_eq!(stats.resuming().events(), 4);
    // Two more were not passed to the queue.
    life.shared.hidden(6, 2);
    assert!(stats.resuming().is_empty());
}

fn many(events: usize) -> Chunk {
    Chunk {
        bytes: b"x\n".repeat(events),
        events,
    }
}

#[test]
fn it_is_known_how_many_received_events_are_not_written() {
    let dir = FakeDir::default();
    let life = Life::new(&dir, SyncMode::Never);
    let append = |events| {
        let appended = life.shared.append(&mut many(events), 0, false);
        assert_eq!(appended, Appended::Taken);
    };
    let unwritten = || life.shared.lock().unwritten();
    // Few events and many are kept in different ways.
    append(2);
    append(20_000);
    assert_eq!(unwritten(), 20_002);
    let during = Arc::new(Mutex::new(Vec::new()));
    let look = || {
        let (shared, during) = (Arc::clone(&life.shared), Arc::clone(&during));
        dir.disk().meanwhile = Meanwhile::new(move || {
            during.lock().unwrap().push(shared.lock().unwritten());
            Ok(())
        });
    };
    dir.disk().failing = Some((0, ErrorKind::StorageFull));
    look();
    life.write();
    assert_eq!(unwritten(), 20_002, "they wait until the disk works again");
    // A client sends its event again.
    let appended = life.shared.append(&mut chunk("3"), 0, true);
    assert_eq!((appended, unwritten()), (Appended::Full, 20_002));
    dir.disk().failing = None;
    retry(&mut life.shared.lock());
    look();
    life.write();
    life.write();
    assert_eq!(
        (unwritten(), &*during.lock().unwrap()),
        (0, &vec![20_002; 2])
    );
    // What a client waits for does not count as received before it is written.
    look();
    assert_eq!(
        life.shared.append(&mut chunk("4"), 0, true),
        Appended::Taken
    );
    assert_eq!(during.lock().unwrap().last(), Some(&0));
}

/// Nothing else would tell it: they have no numbers.
#[test]
fn the_trail_is_told_at_the_end_what_is_not_written() {
    let dir = FakeDir::default();
    let files = Files::of(Arc::new(dir.clone()), tempfile::tempfile().unwrap());
    let settings = Settings {
        path: "spool".into(),
        limit: LIMIT,
        sync: SyncMode::Never,
    };
    let report = Arc::new(Report::new(Duration::from_secs(10), Vec::new()).with_trail());
    let (producer, _consumer) = queue(Extent {
        events: 10,
        bytes: 1 << 20,
    });
    let running = Spool::start(
        &settings,
        files,
        producer.stats(),
        Arc::clone(&report),
        Watchdog::default(),
    )
    .unwrap();
    dir.disk().failing = Some((0, ErrorKind::StorageFull));
    let appended = running.spool().appender(0).append(&mut many(3));
    assert_eq!(appended, Appended::Taken);
    assert_eq!(running.finish(Duration::from_secs(60)), 0);
    let gaps = report.take_gaps();
    let key = (String::new(), "shutdown".to_owned());
    assert_eq!((gaps.len(), gaps[&key].unnumbered), (1, 3));
}
