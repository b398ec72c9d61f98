//! Decisions that show in many requests only, each alone: whose turn it is, how much is sent, and what a failure tells.

use std::iter::once;

use super::answers::in_flight;
use super::parts::partial;
use super::*;
use crate::delivery::attempt::{Attempt, PER_GAP, draw};
use crate::delivery::outcome::EventOutcome;

pub(super) fn delivery() -> Delivery {
    let mut delivery = Delivery::new(settings(), Backoff::new(MIN, MIN, 7));
    delivery.retarget(1, terms());
    delivery
}

/// One event, of this number.
pub(super) fn event(seq: usize) -> Attempt {
    Attempt::from(events(seq + 1).take_one(seq))
}

/// Others have passed since the first failure.
pub(super) fn others_pass(delivery: &mut Delivery) {
    (delivery.trouble, delivery.passes) = (Some(0), 1);
}

/// The attempts that wait, by the number of the first event and how many there are.
pub(super) fn waiting(delivery: &Delivery) -> Vec<(Seq, usize)> {
    let waiting = delivery.retry.iter().map(|attempt| &attempt.batch);
    waiting
        .map(|batch| (batch.seqs().next().unwrap().start, batch.extent().events))
        .collect()
}

pub(super) fn error(message: &str) -> DeliveryError {
    DeliveryError::transient(Cause::Answer, message)
}

/// An event that failed at these numbers of requests that had passed.
#[test]
fn a_failure_after_many_others_have_passed_is_apart_for_good() {
    for (passes, is_apart) in [
        (&[][..], false),
        (&[99], false),
        (&[5, 5], false),
        (&[5, 20], false),
        (&[5, 21], true),
        (&[5, 21, 22], true),
        (&[5, 6, 21], false),
        (&[5, 6, 22], true),
    ] {
        let mut attempt = Attempt::default();
        passes.iter().for_each(|passes| attempt.failed(*passes));
        assert_eq!(attempt.is_apart, is_apart, "{passes:?}");
    }
}

#[test]
fn what_is_drawn_may_be_any_number_and_is_the_same_for_the_same() {
    for from in [2, 10] {
        let mut counts = vec![0; from];
        for of in 0..1000 {
            let drawn = draw(of, from as u64);
            assert_eq!(drawn, draw(of, from as u64));
            counts[drawn as usize] += 1;
        }
        let least = 1000 / from * 2 / 3;
        assert!(counts.iter().all(|count| *count > least), "{counts:?}");
    }
}

#[test]
fn a_control_might_have_held_a_suspect_and_holds_none() {
    for (might, holds, is_control) in [
        (true, false, true),
        (false, false, false),
        (true, true, false),
        (false, true, false),
    ] {
        let (mut delivery, now) = (delivery(), Instant::now());
        delivery.suspects_failed = if might { 0 } else { PER_GAP };
        delivery.set_aside(None, event(0), "no", now);
        let suspect = delivery.suspects.pop_front().unwrap();
        let flight = if holds {
            suspect.into()
        } else {
            event(1).into()
        };
        let flight = sent(delivery.send(flight, 0, (Some(0), None), now));
        assert_eq!(flight.launch.is_control, is_control, "{might} {holds}");
    }
}

#[test]
fn what_is_sent_is_a_control_only_if_chance_might_have_chosen_a_suspect() {
    for (is_down, suspects_failed, is_control) in [
        (false, 0, true),
        (false, 1, true),
        (false, 2, false),
        (true, 0, false),
        (true, 2, false),
    ] {
        let mut delivery = delivery();
        distrust(&mut delivery, is_down);
        delivery.suspects_failed = suspects_failed;
        let place = format!("{is_down} {suspects_failed}");
        assert_eq!(delivery.is_controls_turn(), is_control, "{place}");
    }
    // While several may be to blame, that is drawn; and one is next, or the other.
    let (mut delivery, now) = (delivery(), Instant::now());
    delivery.chance.failed(true, once(0..1));
    delivery.chance.failed(true, once(5..6));
    let mut turns = 0;
    for launches in 0..100 {
        delivery.launches = launches;
        let is_controls = delivery.is_controls_turn();
        assert_eq!(is_controls, draw(launches, 2) != 0);
        let flight = sent(delivery.send(event(1).into(), 0, (Some(0), None), now));
        assert_eq!(
            flight.launch.is_control, is_controls,
            "the same draw decides"
        );
        turns += usize::from(is_controls);
    }
    assert!((30..70).contains(&turns), "{turns}");
}

#[test]
fn only_the_first_three_suspects_are_tried_as_soon_as_others_pass() {
    for (count, is_tried) in [(1, true), (3, true), (4, false), (5, false)] {
        let (mut delivery, now) = (delivery(), Instant::now());
        delivery.passes = 1;
        for seq in 0..count {
            let mut attempt = event(seq);
            // The last one failed before, and the others twice since.
            match seq + 1 == count {
                true => attempt.failed(0),
                false => (0..2).for_each(|_| attempt.failed(1)),
            }
            delivery.set_aside(None, attempt, "no", now);
        }
        assert_eq!(
            delivery.take_due_suspect(now).is_some(),
            is_tried,
            "{count}"
        );
    }
}

/// Of thousands, a request that passes has a look at some: at the first three, and each time at others.
#[test]
fn of_many_suspects_some_are_looked_at_each_time() {
    for (count, first, passes, expected) in [
        (31, 3, 0, 3),
        (31, 3, 1, 3),
        (63, 3, 0, 4),
        (63, 3, 1, 3),
        (70, 3, 0, 3),
        (70, 3, 1, 5),
        (70, 3, 2, 4),
        (70, 2, 2, 2),
        (70, 0, 1, 0),
    ] {
        let (mut delivery, now) = (delivery(), Instant::now());
        (0..100).for_each(|_| delivery.chance.passed(true, |_| false));
        delivery.passes = passes;
        for seq in 0..count {
            delivery.set_aside(None, event(seq), "no", now);
        }
        // From this one on, all have failed too often.
        for suspect in delivery.suspects.iter_mut().skip(first) {
            (suspect.attempt.failures, suspect.failed_twice) = (9, true);
        }
        let (batch, _) = delivery.take_convict().unwrap();
        let place = format!("{count} {first} {passes}");
        assert_eq!(batch.seqs().next(), Some(expected..expected + 1), "{place}");
    }
}

/// One that asks for fewer requests says nothing of an event that came right after others.
#[test]
fn a_failure_for_too_many_requests_counts_if_it_is_far_from_the_last_pass() {
    let (took, ns) = (Duration::from_secs(2), Duration::from_nanos(1));
    let far = Duration::from_secs(1) + took;
    for (passed, is_overload, counts) in [
        (None, true, true),
        (None, false, true),
        (Some(far), true, true),
        (Some(far - ns), true, false),
        (Some(far - ns), false, true),
        (Some(Duration::ZERO), true, false),
    ] {
        let (mut delivery, start) = (delivery(), Instant::now());
        delivery.passed_at = passed.map(|_| start);
        let error = DeliveryError {
            is_overload,
            ..error("no")
        };
        let mut attempt = event(0);
        let now = start + passed.unwrap_or_default();
        delivery.note_failure(&mut attempt, &error, took, now);
        assert_eq!(
            attempt.failures,
            u32::from(counts),
            "{passed:?} {is_overload}"
        );
    }
}

#[test]
fn a_suspect_has_failed_twice_if_others_failed_before_it_or_it_is_apart() {
    for (failed_in_a_row, is_apart, expected) in [
        (0, false, false),
        (1, false, false),
        (2, false, true),
        (3, false, true),
        (0, true, true),
    ] {
        let (mut delivery, now) = (delivery(), Instant::now());
        delivery.failed_in_a_row = failed_in_a_row;
        let mut attempt = event(0);
        attempt.is_apart = is_apart;
        delivery.set_aside(None, attempt, "no", now);
        let place = format!("{failed_in_a_row} {is_apart}");
        let suspect = delivery.suspects.pop_front().unwrap();
        assert_eq!(suspect.failed_twice, expected, "{place}");
        delivery.failed_in_a_row = 0;
        delivery.set_aside(Some(suspect), event(0), "no", now);
        assert_eq!(
            delivery.suspects[0].failed_twice, expected,
            "{place}: for good"
        );
    }
}

#[test]
fn failures_of_suspects_are_counted_until_another_request_passes() {
    for is_suspect in [false, true] {
        let (mut delivery, now) = (delivery(), Instant::now());
        match is_suspect {
            true => delivery.set_aside(None, event(0), "no", now),
            false => delivery.retry.push_back(event(0)),
        }
        for count in 1..3 {
            let later = now + MAX * count;
            let flight = sent(delivery.next(0, later));
            delivery.on(flight, failed(Cause::Answer), QUICK, later);
            let expected = if is_suspect { count } else { 0 };
            assert_eq!(delivery.suspects_failed, expected, "{count}");
            delivery.failed_in_a_row = 0;
        }
    }
}

#[test]
fn a_suspects_failure_is_counted_with_an_answer_for_all_with_one_for_each_event_and_with_none() {
    for outcome in [
        failed(Cause::Answer),
        failed(Cause::Unreachable),
        partial(vec![EventOutcome::Failed]),
    ] {
        let (mut delivery, now) = (delivery(), Instant::now());
        delivery.set_aside(None, event(0), "no", now);
        let flight = sent(delivery.next(0, now + MAX));
        let place = format!("{outcome:?}");
        delivery.on(flight, outcome, QUICK, now + MAX);
        assert_eq!(delivery.suspects_failed, 1, "{place}");
    }
}

/// What is different.
type Change = fn(&mut Delivery);

#[test]
fn all_of_the_queue_is_wanted_while_something_rests_or_may_be_one_of_many() {
    // What is different, and whether all is wanted.
    let changes: [(Change, bool); 7] = [
        (|_| (), false),
        (|it| it.wants_other = true, true),
        (|it| it.posted.distrust(0), false),
        (others_pass, false),
        (|it| (others_pass(it), it.posted.distrust(0)).0, true),
        (|it| it.retry.push_back(event(0)), false),
        (
            |it| {
                it.retry.push_back(event(0));
                it.retry[0].due = Some(Instant::now());
            },
            true,
        ),
    ];
    for (place, (change, is_wanted)) in changes.into_iter().enumerate() {
        let mut delivery = delivery();
        change(&mut delivery);
        assert_eq!(delivery.looks_on(), is_wanted, "{place}");
        // It is looked for as soon as events come that don't tell that there are no more.
        delivery.collected(Some(Run::new(Chunk::default(), 9)), Instant::now());
        assert_eq!(delivery.has_looked, !is_wanted, "{place}");
    }
}

#[test]
fn there_is_room_for_others_than_those_that_were_rejected_in_a_row() {
    for (wants_other, has_ended, has_room) in [
        (false, false, false),
        (true, false, true),
        (true, true, false),
    ] {
        let mut delivery = delivery();
        (delivery.wants_other, delivery.has_ended) = (wants_other, has_ended);
        delivery.fresh = events(11);
        let limit = Extent {
            events: 10,
            ..Extent::MAX
        };
        assert_eq!(
            delivery.has_room(limit),
            has_room,
            "{wants_other} {has_ended}"
        );
    }
}

#[test]
fn after_a_failure_the_queue_is_looked_at_again_if_something_rests() {
    for (has_looked, took, expected) in [
        (true, QUICK, true),
        (false, QUICK, false),
        (true, Duration::from_secs(1), false),
        (false, Duration::from_secs(1), false),
    ] {
        let (mut delivery, flight) = in_flight(terms());
        delivery.has_looked = has_looked;
        let now = Instant::now();
        delivery.on(flight, failed(Cause::Answer), took, now);
        assert_eq!(delivery.has_looked, expected, "{has_looked} {took:?}");
        let rests = (took > QUICK).then(|| now + 10 * took);
        assert_eq!(delivery.retry[0].due, rests, "{took:?}");
    }
}

/// If it passes, those behind it are next: before it may be many that fail.
#[test]
fn a_probe_from_behind_others_is_followed_by_those_behind_it_while_others_pass() {
    for (probes, is_suspicious, passes, seq, left) in [
        (0, true, true, 7, &[(0, 7)][..]),
        (0, true, false, 0, &[(1, 7)]),
        (0, false, true, 0, &[(1, 7)]),
        (1, true, true, 4, &[(5, 3), (0, 4)]),
        (1, true, false, 4, &[(0, 7)]),
        (2, true, true, 0, &[(1, 7)]),
    ] {
        let mut delivery = delivery();
        (delivery.probes, delivery.is_content_suspicious) = (probes, is_suspicious);
        if passes {
            others_pass(&mut delivery);
        }
        delivery.fresh = events(8);
        let probe = delivery.take_probe().unwrap();
        let place = format!("{probes} {is_suspicious} {passes}");
        assert_eq!(probe.batch().seqs().next(), Some(seq..seq + 1), "{place}");
        assert_eq!(waiting(&delivery), left, "{place}");
    }
}

#[test]
fn the_more_have_failed_in_a_row_the_fewer_events_behind_them_are_tried() {
    for (rejected, failed, expected) in [
        (0, 0, 256),
        (0, 2, 256),
        (0, 3, 64),
        (0, 4, 16),
        (0, 6, 1),
        (0, 99, 1),
        (1, 0, 1),
        (3, 3, 1),
    ] {
        let mut delivery = delivery();
        (delivery.rejected_in_a_row, delivery.failed_in_a_row) = (rejected, failed);
        // Not the newest, behind which there is none.
        delivery.others = 1;
        delivery.fresh = events(1024);
        let other = delivery.take_other(Extent::MAX).unwrap();
        let found = other.batch().extent().events;
        assert_eq!(found, expected, "{rejected} {failed}");
    }
}
