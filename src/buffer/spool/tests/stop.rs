//! What of a spool is still passed on when the agent stops.

use std::time::Instant;

use super::disk::FakeDir;
use super::life::{Life, chunk};
use crate::buffer::chunk::Extent;
use crate::buffer::queue::Taken;
use crate::buffer::spool::feed::Feed;
use crate::buffer::spool::group::Group;
use crate::buffer::spool::{Appended, SyncMode};
use crate::sys::shutdown::ShutdownSignal;

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
    life.report.received(0, 9);
    // All that the queue had of the spool; two more were not passed to it.
    life.report.left(5);
    life.shared.hidden(6, 2);
    assert_eq!(life.report.stopped().balance.buffered(), 1);
}
