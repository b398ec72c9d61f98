//! How the reading thread goes on where something is missing, damaged, or comes later.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::disk::FakeDir;
use super::found::{put, segment};
use super::life::{Life, chunk};
use crate::buffer::chunk::Extent;
use crate::buffer::queue::Taken;
use crate::buffer::spool::SyncMode;
use crate::buffer::spool::feed::Feed;
use crate::buffer::spool::segments::name;
use crate::sys::shutdown::ShutdownSignal;

const LONG: Duration = Duration::from_secs(10);

fn feed(life: &Life) -> Feed {
    Feed {
        shared: Arc::clone(&life.shared),
        producer: life.producer.clone(),
        stop: ShutdownSignal::new().unwrap(),
        last_events: usize::MAX,
    }
}

/// A source that may still append something.
struct Source<'a>(&'a Life);

impl Drop for Source<'_> {
    fn drop(&mut self) {
        self.0.shared.lock().appenders = 0;
    }
}

/// Does this while the feed runs.
fn while_fed(life: &Life, work: impl FnOnce()) {
    life.shared.lock().appenders = 1;
    let feed = feed(life);
    thread::scope(|scope| {
        // Also ends if the work panics.
        let _source = Source(life);
        scope.spawn(|| feed.run());
        work();
    });
}

/// What the queue has, or gets soon.
fn next(life: &Life, patience: Duration) -> Option<String> {
    let any = Extent {
        events: 1,
        bytes: 1,
    };
    match life.consumer.take(any, Some(Instant::now() + patience)) {
        Taken::Events(run) => Some(String::from_utf8(run.lines().to_vec()).unwrap()),
        _ => None,
    }
}

fn corrupt_bytes(life: &Life) -> u64 {
    life.upkeep.report();
    life.report.snapshot().spool.unwrap().corrupt_bytes
}

/// A file of the same name may be there later.
#[test]
fn what_is_missing_is_looked_for_again_while_it_may_be_rescued() {
    let dir = FakeDir::default();
    let life = Life::new(&dir, SyncMode::Second);
    life.shared.append(&mut chunk("event"), 0, true);
    dir.disk().unopenable = (3, libc::ENOENT);
    while_fed(&life, || {
        assert_eq!(next(&life, LONG).as_deref(), Some("event\n"));
    });
}

#[test]
fn what_was_read_is_not_read_again_when_more_comes() {
    let dir = FakeDir::default();
    // So that all is read from the disk.
    let life = Life::new(&dir, SyncMode::Always);
    let write = |line: &str| {
        life.shared.append(&mut chunk(line), 0, false);
        life.write();
        life.upkeep.sync();
    };
    while_fed(&life, || {
        write("first");
        assert_eq!(next(&life, LONG).as_deref(), Some("first\n"));
        let end = Instant::now() + LONG;
        while !life.shared.lock().reader_waits {
            assert!(Instant::now() < end, "it does not wait");
            thread::sleep(Duration::from_millis(1));
        }
        let file = dir.disk().names[&name(0)];
        dir.disk().files[file].bytes.fill(b'x');
        write("second");
        assert_eq!(next(&life, LONG).as_deref(), Some("second\n"));
    });
    assert_eq!(corrupt_bytes(&life), 0);
}

/// No event is missing there, but whoever set the segment aside can see why.
#[test]
fn damaged_bytes_behind_the_last_event_are_counted() {
    let dir = FakeDir::default();
    let damaged = vec![b'x'; 64];
    put(&dir, name(0), [segment(0, &[5, 5]), damaged].concat());
    let life = Life::new(&dir, SyncMode::Second);
    feed(&life).run();
    assert_eq!(
        next(&life, Duration::ZERO).as_deref(),
        Some("00000\n00001\n")
    );
    // The last three may be the beginning of something that was not written whole.
    assert_eq!(corrupt_bytes(&life), 64 - 3);
}
