//! How many events the next body waits for, and which one probes a webhook that is down.

use super::*;
use crate::delivery::attempt::Attempt;
use crate::delivery::compression::{Compression, Packed};

fn delivery() -> Delivery {
    Delivery::new(settings(), Backoff::new(MIN, MIN, 7))
}

fn seq(flight: Option<Flight>) -> Option<Seq> {
    Some(flight?.batch().seqs().next()?.start)
}

#[test]
fn what_the_encoding_adds_is_counted() {
    let mut delivery = delivery();
    delivery.terms.overhead = Overhead {
        per_event: 5,
        per_body: 2,
    };
    let Extent { events, bytes } = delivery.size_of(&events(2));
    assert_eq!((events, bytes), (2, 6 + 2 * 5 + 2));
}

#[test]
fn newer_events_are_looked_for_while_there_are_few() {
    for (is_down, fresh, retry, has_ended, has_room) in [
        (false, 9, 0, false, true),
        (false, 9, 0, true, false),
        (false, 10, 0, false, false),
        (false, 11, 0, false, false),
        (false, 0, 1, false, false),
        (true, 4, 3, false, true),
        (true, 4, 3, true, false),
        (true, 4, 4, false, false),
        (true, 9, 0, false, false),
    ] {
        let mut delivery = delivery();
        delivery.failed_in_a_row = if is_down { 2 } else { 0 };
        delivery.has_ended = has_ended;
        delivery.fresh = events(fresh);
        if retry > 0 {
            delivery.retry.push_back(Attempt::from(events(retry)));
        }
        let limit = Extent {
            events: 10,
            ..Extent::MAX
        };
        let place = format!("{is_down} {fresh} {retry} {has_ended}");
        assert_eq!(delivery.has_room(limit), has_room, "{place}");
    }
}

/// What is different.
type Change = fn(&mut Delivery);

/// A delivery for which another body may be made while this one is posted.
fn looking_ahead() -> Delivery {
    let mut delivery = delivery();
    delivery.fresh = events(10);
    delivery.compression.learn(Packed {
        plain: 100,
        bytes: 10,
    });
    delivery.ahead.collected(true);
    delivery
}

#[test]
fn the_queue_is_looked_at_for_another_body_unless_there_is_none_or_one_already() {
    let changes: [(Change, bool); 11] = [
        (|_| (), true),
        (|it| it.fresh = events(9), false),
        (|it| it.fresh = events(20), true),
        (|it| it.fresh = events(21), false),
        (|it| it.is_collecting = true, false),
        (|it| it.has_ended = true, false),
        (|it| it.ahead.collected(false), false),
        // None is made ahead.
        (|it| it.settings.connections = 2, false),
        (|it| it.compression = Compression::new(None), false),
        (|it| it.failed_in_a_row = 9, false),
        (|it| it.retry.push_back(Attempt::from(events(1))), false),
    ];
    let limit = Extent {
        events: 10,
        ..Extent::MAX
    };
    for (place, (change, looks)) in changes.into_iter().enumerate() {
        let mut delivery = looking_ahead();
        change(&mut delivery);
        assert_eq!(delivery.looks_ahead(limit), looks, "{place}");
    }
}

/// So many of eight events wait, and the others are suspects.
fn eight(waiting: usize) -> Delivery {
    let (mut delivery, mut all) = (delivery(), events(8));
    let now = Instant::now();
    for _ in waiting..8 {
        let one = Attempt::from(all.take_one(waiting));
        delivery.set_aside(None, one, "no", now);
    }
    delivery.fresh = all;
    delivery
}

#[test]
fn each_third_probe_is_another_event_if_the_oldest_may_be_to_blame() {
    for (probes, waiting, is_suspicious, expected) in [
        (0, 8, true, 0),
        (1, 8, true, 4),
        (2, 8, true, 0),
        (3, 8, true, 0),
        (4, 8, true, 2),
        (4, 8, false, 0),
        (7, 8, true, 6),
        (10, 8, true, 1),
        // Suspects count, too.
        (1, 4, true, 4),
        (4, 4, true, 2),
        (7, 4, true, 6),
        (0, 0, true, 4),
        (3, 0, false, 2),
    ] {
        let mut delivery = eight(waiting);
        (delivery.probes, delivery.is_content_suspicious) = (probes, is_suspicious);
        let probe = delivery.take_probe();
        let place = format!("{probes} {waiting} {is_suspicious}");
        assert_eq!(seq(probe), Some(expected), "{place}");
        let waits: Vec<_> = delivery
            .retry
            .iter()
            .map(|it| it.batch.extent().events)
            .collect();
        let left = waiting - usize::from((expected as usize) < waiting);
        assert_eq!(waits, [left][usize::from(left == 0)..], "{place}");
        assert_eq!(delivery.suspects.len() + left, 7, "{place}");
    }
    assert_eq!(seq(delivery().take_probe()), None);
}

#[test]
fn a_probe_is_one_of_all_events_whether_they_were_tried_or_not() {
    for tried in [1, 7] {
        let (mut delivery, mut all) = (delivery(), events(8));
        let one = Extent {
            events: tried,
            ..Extent::MAX
        };
        delivery
            .retry
            .push_back(all.take(one, Overhead::default()).into());
        delivery.fresh = all;
        (delivery.probes, delivery.is_content_suspicious) = (1, true);
        assert_eq!(seq(delivery.take_probe()), Some(4), "{tried}");
        assert_eq!(delivery.retry.len(), 1, "{tried}");
    }
}

#[test]
fn what_is_sent_after_rejections_is_far_from_all_before_it() {
    for is_fresh in [true, false] {
        let mut delivery = delivery();
        for (others, expected) in [(0, 2), (1, 6), (2, 1)] {
            delivery.others = others;
            match is_fresh {
                true => delivery.fresh = events(8),
                false => delivery.retry = [Attempt::from(events(8))].into(),
            }
            let other = delivery.take_other(Extent::MAX);
            assert_eq!(seq(other), Some(expected), "{is_fresh} {others}");
        }
    }
}

#[test]
fn after_rejections_the_newest_is_tried_and_the_oldest_once_all_seem_to_be_rejected() {
    for (rejected, others, expected) in [
        (1, 0, 7),
        (1, 1, 6),
        (1, 2, 1),
        (3, 2, 1),
        (4, 0, 7),
        (4, 2, 0),
    ] {
        let mut delivery = delivery();
        (delivery.rejected_in_a_row, delivery.others) = (rejected, others);
        delivery.retry = [Attempt::from(events(8))].into();
        let other = delivery.take_other(Extent::MAX);
        assert_eq!(seq(other), Some(expected), "{rejected} {others}");
    }
    let mut delivery = delivery();
    (delivery.rejected_in_a_row, delivery.others, delivery.fresh) = (4, 2, events(8));
    assert_eq!(
        seq(delivery.take_other(Extent::MAX)),
        Some(1),
        "none was tried before"
    );
}

/// Where it was taken from, and since when that waits.
#[test]
fn what_is_far_away_leaves_the_others_where_they_are() {
    for count in [1, 2] {
        let left = count - 1;
        let (mut delivery, now) = (delivery(), Instant::now());
        (delivery.fresh, delivery.fresh_since) = (events(count), Some(now));
        delivery.take_other(Extent::MAX).unwrap();
        let since = (left > 0).then_some(now);
        assert_eq!(
            (delivery.fresh.extent().events, delivery.fresh_since),
            (left, since)
        );
        delivery.fresh = Batch::default();
        delivery.retry = [Attempt::from(events(count))].into();
        delivery.take_other(Extent::MAX).unwrap();
        let waits: Vec<_> = delivery
            .retry
            .iter()
            .map(|it| it.batch.extent().events)
            .collect();
        assert_eq!(waits, [left][usize::from(left == 0)..]);
    }
}

#[test]
fn what_is_far_away_is_no_more_than_a_body_may_have_now() {
    for (most, expected) in [(1, 1), (100, 100), (1000, 250)] {
        let mut delivery = delivery();
        delivery.fresh = events(1000);
        let most = Extent {
            events: most,
            ..Extent::MAX
        };
        let other = delivery.take_other(most).unwrap();
        assert_eq!(other.batch().extent().events, expected);
    }
}

#[test]
fn a_probe_that_has_failed_at_one_endpoint_is_the_next_one_too() {
    for (is_suspect, is_blamed, expected) in [
        (true, true, 5),
        (false, true, 5),
        (true, false, 0),
        (false, false, 5),
    ] {
        let mut delivery = delivery();
        let mut attempt = Attempt::from(events(8).take_one(5));
        attempt.blamed = vec![0; usize::from(is_blamed)];
        delivery.retry.push_back(Attempt::from(events(8)));
        match is_suspect {
            true => delivery.set_aside(None, attempt, "no", Instant::now()),
            false => delivery.retry.push_front(attempt),
        }
        delivery.probes = 2;
        let place = format!("{is_suspect} {is_blamed}");
        assert_eq!(seq(delivery.take_probe()), Some(expected), "{place}");
        assert_eq!(delivery.probes, if is_blamed { 2 } else { 3 }, "{place}");
    }
}
