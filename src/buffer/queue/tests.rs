use std::collections::VecDeque;
use std::iter::{from_fn, once};
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
    let (waiting, patience) = (producer.clone(), Duration::from_secs(2));
    let source = thread::spawn(move || {
        let (began, mut events) = (Instant::now(), chunk(b'b', 1, 10));
        assert!(waiting.offer_or_wait(&mut events, patience));
        (began.elapsed(), events.events)
    });
    while consumer.shared.lock().wake_at == Extent::default() {
        thread::yield_now();
    }
    consumer.finish(bound(1, 10), once(0..1));
    let (waited, left) = source.join().unwrap();
    assert_eq!(left, 0);
    assert!(waited >= patience, "woken after {waited:?}");
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
    assert!(producer.is_open());
    producer.stats().close();
    assert!(!producer.is_open());
    let mut more = chunk(b'b', 3, 10);
    assert!(!producer.offer_or_wait(&mut more, Duration::from_secs(60)));
    assert_eq!(producer.offer(&mut more), 0);
    assert!(!producer.offer_whole(&mut more, |_| unreachable!()));
    assert_eq!((more.events, producer.enqueued()), (3, 2));
    assert_eq!(producer.push(b"{}\n", || ()), Some(2), "a record");
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
    let resumes = Resumes::from(true);
    let (stats, waiting) = (producer.stats(), producer.resuming(false.into()));
    let resuming = producer.resuming(resumes.clone());
    for (producer, events) in [
        (&producer, 2),
        (&waiting, 3),
        (&resuming, 4),
        (&producer, 1),
    ] {
        assert_eq!(producer.offer(&mut chunk(b'a', events, 2)), events);
    }
    assert_eq!(
        (consumer.waiting().to_string(), stats.resuming().events()),
        ("2-8".into(), 4)
    );
    consumer.finish(bound(3, 6), once(4..7));
    assert_eq!(
        (consumer.waiting().to_string(), stats.resuming().events()),
        ("2-3,7-8".into(), 2)
    );
    resumes.set(false);
    assert_eq!(
        stats.resuming().events(),
        0,
        "the next start begins at the end"
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
fn only_what_is_taken_is_noted() {
    let (producer, _consumer) = queue(bound(5, 1000));
    for (events, expected) in [(0, None), (3, Some(0..3)), (4, Some(3..5)), (2, None)] {
        let (mut events, mut noted) = (chunk(b'a', events, 2), Vec::new());
        producer.offer_noting(&mut events, Duration::ZERO, |seqs| noted.push(seqs));
        assert_eq!(noted, Vec::from_iter(expected));
    }
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
fn a_patient_source_reads_past_what_stays_for_long() {
    for (buffered, excused, taken) in [
        (20, 0, 0),
        (20, 10, 0),
        (20, 11, 1),
        (20, 20, 10),
        (20, 900, 10),
        (55, 900, 5),
        // At most half of all.
        (70, 900, 0),
    ] {
        let (producer, consumer) = queue(bound(100, 10_000));
        let patient = producer.while_below(bound(10, 10_000));
        producer.offer(&mut chunk(b'a', buffered, 10));
        consumer.excuse(bound(excused, 0));
        let place = format!("{buffered} {excused}");
        assert_eq!(patient.offer(&mut chunk(b'b', 60, 10)), taken, "{place}");
    }
    for (buffered, excused, is_taken) in [
        (200, 0, false),
        (200, 100, false),
        (200, 101, true),
        (599, 900, true),
        (600, 900, false),
    ] {
        let (producer, consumer) = queue(bound(100, 1000));
        let patient = producer.while_below(bound(100, 100));
        producer.offer(&mut chunk(b'a', 1, buffered));
        consumer.excuse(bound(0, excused));
        let taken = patient.offer(&mut chunk(b'b', 1, 10));
        assert_eq!(taken == 1, is_taken, "{buffered} {excused} bytes");
    }
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

#[test]
fn small_pieces_share_a_chunk_and_large_ones_keep_their_memory() {
    const FULL: usize = CHUNK_BYTES;
    const HALF: usize = FULL / 2;
    const MOST: usize = FULL / 16 * 15;
    const MOVED: (usize, usize) = (HALF + 1, HALF + 1);
    // The sizes of pieces, and of the chunks that they end up in, each with its memory.
    for (pieces, chunks) in [
        (&[HALF][..], &[(HALF, FULL)][..]),
        (&[HALF, HALF], &[(FULL, FULL)]),
        (&[HALF, HALF, 1], &[(FULL, FULL), (1, FULL)]),
        // There is a slot for each of those that can't share one.
        (&[HALF + 1; 31], &[MOVED; 31]),
        // When another one follows, memory that is not needed is freed.
        (&[HALF, MOST - HALF, HALF + 1], &[(MOST, FULL), MOVED]),
        (
            &[HALF, MOST - HALF - 1, HALF + 1],
            &[(MOST - 1, MOST - 1), MOVED],
        ),
    ] {
        let (producer, consumer) = queue(bound(100, 1 << 20));
        for size in pieces {
            assert_eq!(producer.offer(&mut chunk(b'a', 1, *size)), 1);
        }
        drop(producer);
        let taken = from_fn(|| match consumer.take(ONE, None) {
            Taken::Events(run) => Some((run.extent().bytes, run.into_buffer()?.capacity())),
            _ => None,
        });
        assert_eq!(taken.collect::<Vec<_>>(), chunks, "{pieces:?}");
    }
}

#[test]
fn a_whole_chunk_is_taken_or_nothing_of_it() {
    const FULL: usize = CHUNK_BYTES;
    // Chunks in the channel, which has 16 slots; the events of a chunk and their size; and whether it is taken.
    for (before, events, size, is_taken) in [
        (0, 51, 2, false),
        (0, 5, FULL / 2, false),
        (14, 2, FULL / 2 - 9, true),
        (15, 2, 9, true),
        (16, 2, 9, false),
        // In pieces, of which there may be three.
        (13, 3, FULL / 2, true),
        (14, 3, FULL / 2, false),
    ] {
        let (producer, consumer) = queue(bound(50, FULL * 2));
        for _ in 0..before {
            producer.offer(&mut chunk(b'a', 1, 1));
            producer.skip(1).unwrap();
        }
        let (mut whole, mut counted) = (chunk(b'b', events, size), 0);
        let lines = whole.bytes.clone();
        let taken = producer.offer_whole(&mut whole, |events| counted = events);
        assert_eq!(taken, is_taken, "{before} {events} {size}");
        let left = if is_taken {
            (0, 0)
        } else {
            (events, lines.len())
        };
        assert_eq!((whole.events, whole.bytes.len()), left);
        assert_eq!(counted, events - left.0);
        drop(producer);
        let runs = from_fn(|| match consumer.take(ONE, None) {
            Taken::Events(run) => Some(run),
            _ => None,
        });
        let runs: Vec<_> = runs.skip(before).collect();
        assert!(runs.iter().all(|run| run.extent().bytes <= FULL));
        let came: Vec<_> = runs.iter().flat_map(Run::lines).copied().collect();
        assert_eq!(came, lines[..if is_taken { lines.len() } else { 0 }]);
    }
}

#[test]
fn numbers_are_skipped_and_one_event_needs_no_room() {
    let (producer, consumer) = queue(bound(2, 100));
    let stats = producer.stats();
    assert_eq!(producer.offer(&mut chunk(b'a', 3, 10)), 2);
    assert!(consumer.bell.is_empty(), "nothing was wanted");
    assert_eq!(producer.skip(3), Some(2..5));
    let mut counted = 0;
    assert_eq!(producer.push(b"bb\n", || counted += 1), Some(5));
    assert_eq!((stats.numbers(), counted), ((6, 0), 1));
    assert_eq!(
        (stats.buffered(), stats.bound()),
        (bound(3, 23), bound(2, 100))
    );
    assert_eq!(stats.unfinished().to_string(), "0-1,5");
    for seqs in [0..2, 5..6] {
        assert!(matches!(consumer.take(ONE, None), Taken::Events(run) if run.seqs() == seqs));
    }
    consumer.finish(bound(2, 20), once(0..2));
    assert_eq!((stats.take_peak(), stats.take_peak()), (23, 3));
    assert_eq!((stats.numbers(), stats.watermark()), ((6, 5), 5));
    // While no slot is free, the tail takes events but no numbers can be skipped behind it.
    for number in 0..8 {
        assert_eq!(producer.push(b"c\n", || ()), Some(6 + number * 2));
        assert!(producer.skip(1).is_some());
    }
    assert_eq!(producer.push(b"c\n", || unreachable!()), None);
    consumer.finish(bound(8, 16), None);
    assert_eq!(producer.offer(&mut chunk(b'd', 1, 10)), 1);
    assert_eq!(producer.skip(1), None);
}

#[test]
fn an_empty_queue_takes_a_chunk_larger_than_its_bound_from_who_may_do_that() {
    let (producer, consumer) = queue(bound(2, 100));
    let large = producer.taking_large();
    assert_eq!(large.offer(&mut chunk(b'a', 3, 90)), 3);
    assert_eq!(large.offer(&mut chunk(b'a', 1, 1)), 0);
    consumer.finish(bound(3, 270), once(0..3));
    assert_eq!(producer.offer(&mut chunk(b'a', 3, 90)), 1);
    assert_eq!(large.offer(&mut chunk(b'a', 3, 1)), 1, "not empty any more");
}

#[test]
fn buffers_of_chunks_are_used_again_and_others_freed() {
    const FULL: usize = CHUNK_BYTES;
    let (producer, consumer) = queue(bound(2, 100));
    for (capacity, is_kept) in [
        (FULL - 1, false),
        (FULL, true),
        (FULL * 2, true),
        (FULL * 2 + 1, false),
    ] {
        let mut buffer = Vec::with_capacity(capacity);
        buffer.push(b'x');
        consumer.recycle(buffer);
        assert_eq!(consumer.spare.len(), usize::from(is_kept), "{capacity}");
        let buffer = producer.buffer();
        let expected = if is_kept { capacity } else { FULL };
        assert_eq!((buffer.len(), buffer.capacity()), (0, expected));
    }
}

#[test]
fn who_waits_for_room_is_woken_when_half_of_its_share_is_free() {
    for (most, half) in [(Extent::MAX, bound(5, 500)), (bound(4, 400), bound(2, 200))] {
        let (producer, consumer) = queue(bound(10, 1000));
        producer.offer(&mut chunk(b'a', 10, 10));
        let waiting = producer.while_below(most);
        let source = thread::spawn(move || {
            waiting.offer_or_wait(&mut chunk(b'b', 1, 10), Duration::from_secs(60))
        });
        let wake_at = || consumer.shared.lock().wake_at;
        while wake_at() == Extent::default() {
            thread::yield_now();
        }
        assert_eq!(wake_at(), half);
        let last = 10 - half.events - 1;
        consumer.finish(bound(last, last * 10), once(0..last as Seq));
        assert_eq!(wake_at(), half, "one event too many is buffered");
        consumer.finish(bound(1, 10), once(last as Seq..last as Seq + 1));
        assert!(source.join().unwrap());
    }
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
