use std::collections::VecDeque;
use std::iter::once;
use std::thread;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::text::ranges::Ranges;

const ONE: Extent = Extent {
    events: 1,
    bytes: 1,
};

/// A chunk of `events` lines of `size` bytes each, all of them `mark`.
fn chunk(mark: u8, events: usize, size: usize) -> Chunk {
    let mut line = vec![mark; size - 1];
    line.push(b'\n');
    Chunk {
        bytes: line.repeat(events),
        events,
    }
}

fn bound(events: usize, bytes: usize) -> Extent {
    Extent { events, bytes }
}

#[test]
fn what_does_not_fit_is_left_to_the_offerer() {
    let (producer, consumer) = queue(bound(10, 1000));
    let mut events = chunk(b'a', 12, 20);
    assert_eq!(producer.offer(&mut events), 10);
    assert_eq!(events.events, 2);
    let Taken::Events(taken) = consumer.take(ONE, None) else {
        panic!()
    };
    assert_eq!(taken.extent(), bound(10, 200));
    assert_eq!(producer.offer(&mut events), 0, "taken is not yet ended");
    consumer.finish(taken.extent(), [taken.seqs()]);
    assert_eq!(producer.offer(&mut events), 2);

    let mut large = chunk(b'b', 3, 400);
    assert_eq!(producer.offer(&mut large), 2, "bytes are a bound too");
}

#[test]
fn the_end_comes_after_everything_that_was_offered() {
    let (producer, consumer) = queue(bound(100, 10_000));
    producer.offer(&mut chunk(b'a', 1, 10));
    drop(producer);
    assert!(matches!(consumer.take(ONE, None), Taken::Events(run) if run.extent().events == 1));
    assert!(matches!(consumer.take(ONE, None), Taken::Ended));
}

#[test]
fn the_sender_is_woken_for_what_it_wants_and_not_before() {
    let (producer, consumer) = queue(bound(100, 10_000));
    let sender = thread::spawn(move || {
        let Taken::Events(run) = consumer.take(bound(3, 10_000), None) else {
            panic!()
        };
        run.extent().events
    });
    for _ in 0..3 {
        producer.offer(&mut chunk(b'a', 1, 10));
        thread::yield_now();
    }
    assert_eq!(sender.join().unwrap(), 3);
}

#[test]
fn at_the_deadline_the_sender_gets_what_is_there() {
    let (producer, consumer) = queue(bound(100, 10_000));
    let soon = || Some(Instant::now() + Duration::from_millis(5));
    assert!(matches!(consumer.take(ONE, soon()), Taken::Nothing));
    producer.offer(&mut chunk(b'a', 2, 10));
    let taken = consumer.take(bound(50, 10_000), soon());
    assert!(matches!(taken, Taken::Events(run) if run.extent().events == 2));
}

#[test]
fn little_room_wakes_nobody_but_is_found_in_time() {
    let (producer, consumer) = queue(bound(10, 1000));
    producer.offer(&mut chunk(b'a', 10, 10));
    assert!(matches!(consumer.take(ONE, None), Taken::Events(run) if run.seqs() == (0..10)));
    let waiting = producer.clone();
    let source = thread::spawn(move || {
        let mut events = chunk(b'b', 1, 10);
        assert!(waiting.offer_or_wait(&mut events, Duration::from_millis(50)));
        events.events
    });
    consumer.finish(bound(1, 10), once(0..1));
    assert_eq!(source.join().unwrap(), 0);
}

#[test]
fn waiting_for_room_ends_with_room_or_with_the_queue() {
    let (producer, consumer) = queue(bound(5, 1000));
    let waiting = producer.clone();
    let source = thread::spawn(move || {
        let mut events = chunk(b'a', 12, 10);
        assert!(!waiting.offer_or_wait(&mut events, Duration::from_secs(60)));
        events.events
    });
    let mut taken = 0;
    while taken < 10 {
        let Taken::Events(run) = consumer.take(ONE, None) else {
            panic!()
        };
        taken += run.extent().events;
        if taken < 10 {
            consumer.finish(run.extent(), [run.seqs()]);
        }
    }
    // The last of them were not released, so there will be no more room.
    drop(consumer);
    assert_eq!(source.join().unwrap() + taken, 12);
}

#[test]
fn a_closed_queue_takes_nothing_though_there_is_room() {
    let (producer, consumer) = queue(bound(9, 1000));
    let mut events = chunk(b'a', 2, 10);
    assert!(producer.offer_or_wait(&mut events, Duration::from_secs(60)));
    consumer.close();
    let mut more = chunk(b'b', 3, 10);
    assert!(!producer.offer_or_wait(&mut more, Duration::from_secs(60)));
    assert_eq!(producer.offer(&mut more), 0);
    assert!(!producer.offer_whole(&mut more, |_| unreachable!()));
    assert_eq!((more.events, producer.enqueued()), (3, 2));
    assert!(matches!(
        consumer.take(Extent::MAX, Some(Instant::now())),
        Taken::Events(_)
    ));
    assert!(matches!(
        consumer.take(Extent::MAX, Some(Instant::now())),
        Taken::Nothing
    ));
}

#[test]
fn what_waits_and_what_resumes_is_known_by_its_numbers() {
    let (producer, consumer) = queue(bound(99, 1000));
    let (waiting, resuming) = (producer.waiting(), producer.resuming());
    for (producer, events) in [
        (&producer, 2),
        (&waiting, 3),
        (&resuming, 4),
        (&producer, 1),
    ] {
        assert_eq!(producer.offer(&mut chunk(b'a', events, 2)), events);
    }
    assert_eq!(
        (consumer.waiting().to_string(), consumer.resuming()),
        ("2-8".into(), 4)
    );
    consumer.finish(bound(3, 6), once(4..7));
    assert_eq!(
        (consumer.waiting().to_string(), consumer.resuming()),
        ("2-3,7-8".into(), 2)
    );
}

#[test]
fn released_events_leave_room_and_are_not_final() {
    let (producer, consumer) = queue(bound(10, 1000));
    let (stats, mut taken) = (producer.stats(), Vec::new());
    for _ in 0..2 {
        let mut events = chunk(b'a', 10, 20);
        assert!(producer.offer_noting(&mut events, Duration::ZERO, |seqs| taken.push(seqs)));
        assert!(events.is_empty());
        consumer.release(bound(10, 200));
        while let Taken::Events(_) = consumer.take(ONE, Some(Instant::now())) {}
    }
    assert_eq!(taken, [0..10, 10..20]);
    assert_eq!((stats.buffered(), stats.released()), (bound(0, 0), 20));
    consumer.finish_released(&Ranges::from(0..5));
    assert_eq!((stats.watermark(), stats.released()), (5, 15));
    consumer.take_back(bound(5, 100));
    assert_eq!((stats.buffered(), stats.released()), (bound(5, 100), 10));
    consumer.finish(bound(5, 100), once(5..10));
    assert_eq!((stats.buffered(), stats.watermark()), (bound(0, 0), 10));
}

#[test]
fn who_waits_for_the_watermark_is_woken_when_it_rises() {
    let (producer, consumer) = queue(bound(99, 1000));
    let (wake, woken) = bounded(1);
    producer.stats().wake_when_it_rises(wake);
    producer.offer(&mut chunk(b'a', 9, 2));
    for (seqs, is_woken) in [(4..7, false), (0..1, true), (2..4, false), (1..2, true)] {
        consumer.finish(bound(seqs.clone().count(), 2), once(seqs.clone()));
        assert_eq!(woken.try_recv().is_ok(), is_woken, "{seqs:?}");
    }
    // The previous wake was not received yet.
    consumer.finish(ONE, once(7..8));
    consumer.finish(ONE, once(8..9));
    assert!(woken.try_recv().is_ok() && woken.try_recv().is_err());
}

#[test]
fn a_patient_source_leaves_room_for_others() {
    let (producer, consumer) = queue(bound(100, 1000));
    let patient = producer.while_below(bound(50, 200));
    assert_eq!(patient.offer(&mut chunk(b'a', 1, 900)), 1, "any one event");
    assert_eq!(patient.offer(&mut chunk(b'a', 1, 10)), 0);
    assert_eq!(producer.offer(&mut chunk(b'b', 1, 10)), 1);
    consumer.finish(bound(1, 900), once(0..1));
    assert_eq!(patient.offer(&mut chunk(b'a', 1, 10)), 1);
}

#[test]
fn many_small_pieces_take_little_more_memory_than_their_bytes() {
    let (producer, consumer) = queue(bound(100_000, 1 << 20));
    while producer.offer(&mut chunk(b'a', 1, 100)) == 1 {}
    drop(producer);
    let (mut bytes, mut capacity) = (0, 0);
    while let Taken::Events(run) = consumer.take(ONE, None) {
        bytes += run.lines().len();
        capacity += run.into_buffer().unwrap().capacity();
    }
    assert_eq!(bytes, (1 << 20) / 100 * 100);
    assert!(
        capacity < bytes + bytes / 15 + CHUNK_BYTES,
        "{capacity} for {bytes}"
    );
}

proptest! {
    /// Compared with a plain list: nothing is lost, doubled or reordered, and the bound holds.
    #[test]
    fn keeps_order_and_bound(
        steps in vec(prop_oneof![
            3 => (1usize..40, 2usize..5000).prop_map(Some),
            2 => Just(None),
        ], 1..80),
        most in (1usize..100, 1usize..300_000),
    ) {
        let bound = bound(most.0, most.1);
        let (producer, consumer) = queue(bound);
        let mut model = VecDeque::new();
        let mut held = Extent::default();
        let mut next = 0;
        for (step, mark) in steps.into_iter().zip((b'a'..=b'z').cycle()) {
            if let Some((events, size)) = step {
                let mut offered = chunk(mark, events, size);
                let room = (bound.events - held.events).min((bound.bytes - held.bytes) / size);
                let taken = producer.offer(&mut offered);
                prop_assert_eq!(taken, room.min(events));
                prop_assert_eq!(offered.extent(), Extent {
                    events: events - taken,
                    bytes: (events - taken) * size,
                });
                held = held.plus(Extent { events: taken, bytes: taken * size });
                model.extend(chunk(mark, taken, size).bytes);
            } else if let Taken::Events(run) = consumer.take(ONE, Some(Instant::now())) {
                let expected: Vec<u8> = model.drain(..run.lines().len()).collect();
                prop_assert_eq!(run.lines(), &expected);
                let extent = run.extent();
                prop_assert_eq!(run.lines().iter().filter(|byte| **byte == b'\n').count(), extent.events);
                prop_assert_eq!(run.seqs().start, next);
                next = run.seqs().end;
                held = held.minus(extent);
                consumer.finish(extent, [run.seqs()]);
                prop_assert_eq!(producer.stats().watermark(), next);
                run.into_buffer().into_iter().for_each(|buffer| consumer.recycle(buffer));
            } else {
                prop_assert!(model.is_empty());
            }
        }
    }
}
