//! What follows from a failure: what is said, how long is waited, and how bodies are divided.

use std::iter::once;

use super::answers::in_flight;
use super::turns::{delivery, error, event, others_pass, waiting};
use super::*;
use crate::delivery::attempt::{Attempt, Launch};

#[test]
fn that_a_body_is_divided_is_told_unless_all_is_rejected() {
    for (rejected, is_told) in [(0, true), (3, true), (4, false)] {
        let (mut delivery, flight) = in_flight(terms());
        delivery.rejected_in_a_row = rejected;
        let effects = delivery.on(flight, self::rejected(), QUICK, Instant::now());
        let told = effects.iter().any(|it| matches!(it, Effect::Divided));
        assert_eq!(told, is_told, "{rejected}");
    }
}

#[test]
fn what_an_answer_asks_an_operator_for_is_another_thing_while_others_pass() {
    for (cause, passes, is_same) in [
        (Cause::Answer, false, true),
        (Cause::Answer, true, false),
        (Cause::Disconnected, true, true),
        (Cause::Disconnected, false, true),
    ] {
        let mut delivery = delivery();
        if passes {
            others_pass(&mut delivery);
        }
        let error = DeliveryError {
            fix: Some("pay"),
            cause,
            ..error("no")
        };
        let (launch, mut effects) = (Launch::default(), Vec::new());
        delivery.hold_off(launch, error, Instant::now(), &mut effects);
        let [Effect::Failed(error, _)] = &effects[..] else {
            panic!("{effects:?}")
        };
        let place = format!("{cause:?} {passes}");
        assert_eq!(error.fix == Some("pay"), is_same, "{place}");
        assert!(error.fix.is_some(), "{place}");
    }
}

#[test]
fn who_rejects_all_is_looked_at_as_the_answer_says_or_hints() {
    for (fix, hint, expected) in [
        (None, None, None),
        (None, Some("look there"), Some("look there")),
        (Some("pay"), Some("look there"), Some("pay")),
    ] {
        let mut delivery = delivery();
        delivery.rejected_in_a_row = 3;
        let error = DeliveryError {
            fix,
            hint,
            ..error("no")
        };
        let (launch, mut effects) = (Launch::default(), Vec::new());
        delivery.rejected(event(0), launch, error, Instant::now(), &mut effects);
        let [Effect::Rejected(..), Effect::Failed(error, _)] = &effects[..] else {
            panic!("{effects:?}")
        };
        assert_eq!(error.fix, expected);
    }
}

/// Not for long after a few failures; not at all after fewer.
#[test]
fn what_is_to_blame_is_looked_for_in_a_hurry() {
    let hurry = Duration::from_millis(100);
    for (failures, expected) in [(1, 0), (2, 0), (3, 0), (4, 1), (9, 1), (10, 5)] {
        let (mut delivery, flight) = in_flight(terms());
        others_pass(&mut delivery);
        delivery.failed_in_a_row = failures - 1;
        let effects = delivery.on(flight, failed(Cause::Answer), QUICK, Instant::now());
        let delays = effects.iter().filter_map(|effect| match effect {
            Effect::Failed(_, delay) => Some(*delay),
            _ => None,
        });
        assert_eq!(delays.collect::<Vec<_>>(), [hurry * expected], "{failures}");
    }
}

#[test]
fn a_failure_like_that_of_a_rejected_event_is_trouble_before_the_last_pass() {
    for (message, is_overload, passes, trouble) in [
        ("HTTP 500 again", false, 5, 4),
        ("HTTP 500 again", false, 1, 0),
        ("HTTP 500 again", false, 0, 0),
        ("HTTP 500 again", true, 5, 5),
        ("HTTP 502 again", false, 5, 5),
        ("HTTP 502 again", true, 5, 5),
    ] {
        let (mut delivery, flight) = in_flight(terms());
        delivery.convicting = vec!["HTTP".into(), "500".into()];
        delivery.passes = passes;
        let error = DeliveryError {
            is_overload,
            ..error(message)
        };
        delivery.on(flight, Outcome::Failed(error), QUICK, Instant::now());
        let place = format!("{message} {is_overload} {passes}");
        assert_eq!(delivery.trouble, Some(trouble), "{place}");
    }
}

/// Whatever has passed before was smaller.
#[test]
fn an_overload_right_after_others_have_passed_says_nothing_of_the_size() {
    for (is_overload, later) in [(false, Duration::ZERO), (true, Duration::ZERO), (true, MAX)] {
        let mut delivery = patient();
        let limit = delivery.size.learned_limit();
        let began = Instant::now();
        delivery.passed_at = Some(began);
        let flight = launch(&mut delivery, Attempt::from(events(4)));
        let error = DeliveryError {
            is_overload,
            ..error("busy")
        };
        delivery.on(flight, Outcome::Failed(error), QUICK, began + later);
        let found = delivery.size.learned_limit();
        assert_eq!(found, limit, "{is_overload} {later:?}");
    }
}

/// Not than a part of what took long, since that is known to.
#[test]
fn beside_a_body_that_took_long_to_fail_others_are_smaller() {
    for (took, family, is_smaller) in [
        (QUICK, 0, false),
        (Duration::from_secs(1), 0, true),
        (Duration::from_secs(1), 7, false),
    ] {
        let (mut delivery, mut flight) = in_flight(terms());
        flight.attempt.family = family;
        let size = delivery.size_of(flight.batch()).bytes;
        let before = delivery.size.limit();
        delivery.on(flight, failed(Cause::Answer), took, Instant::now());
        let expected = if is_smaller { size / 2 } else { before };
        assert_eq!(delivery.size.limit(), expected, "{took:?} {family}");
    }
}

#[test]
fn halves_come_before_what_is_no_part_of_the_same() {
    for (family, other, expected) in [
        (0, 0, [(0, 1), (1, 2), (9, 1)]),
        (3, 4, [(0, 1), (1, 2), (9, 1)]),
        (3, 3, [(9, 1), (0, 1), (1, 2)]),
    ] {
        let (mut delivery, mut flight) = in_flight(terms());
        others_pass(&mut delivery);
        flight.attempt.family = family;
        let mut waits = event(9);
        waits.family = other;
        delivery.retry.push_back(waits);
        delivery.on(flight, failed(Cause::Answer), QUICK, Instant::now());
        assert_eq!(waiting(&delivery), expected, "{family} {other}");
    }
}

/// Nothing is known to have passed, and up to an hour may be asked for.
fn patient() -> Delivery {
    let mut delivery = Delivery::new(settings(), Backoff::new(MIN, MAX * 120, 7));
    delivery.retarget(1, terms());
    delivery
}

/// These are in flight.
fn launch(delivery: &mut Delivery, attempt: Attempt) -> Box<Flight> {
    sent(delivery.send(attempt.into(), 0, (Some(0), None), Instant::now()))
}

/// If it is suspicious, others passed between its failures.
fn after_failures(mut attempt: Attempt, is_suspicious: bool) -> Attempt {
    let passes = [5, 6].into_iter().filter(|_| is_suspicious);
    passes.for_each(|passes| attempt.failed(passes));
    attempt
}

#[test]
fn a_wait_that_is_asked_for_is_that_of_the_body_if_others_pass_and_it_may_be_to_blame() {
    for (passes, is_overload, is_suspicious, is_own) in [
        (true, false, false, true),
        (true, false, true, true),
        (true, true, false, false),
        (true, true, true, true),
        (false, false, false, false),
        (false, true, true, false),
    ] {
        let mut delivery = patient();
        if passes {
            others_pass(&mut delivery);
        }
        let attempt = after_failures(Attempt::from(events(3)), is_suspicious);
        let flight = launch(&mut delivery, attempt);
        let error = DeliveryError {
            is_overload,
            retry_after: Some(MAX),
            ..error("no")
        };
        let effects = delivery.on(flight, Outcome::Failed(error), QUICK, Instant::now());
        let place = format!("{passes} {is_overload} {is_suspicious}");
        let waits = delivery.retry.iter().all(|it| it.due.is_some());
        assert_eq!(waits, is_own, "{place}");
        let all_wait = matches!(effects[..], [Effect::Failed(_, delay)] if delay >= MAX);
        assert_eq!(all_wait, !is_own, "{place}: {effects:?}");
    }
}

/// As long as was asked for, and for ten times as long as it took.
#[test]
fn what_failed_rests_for_the_longer_of_two_times() {
    let second = Duration::from_secs(1);
    // What was asked for may be half as long again.
    for (asked, took, least, most) in [
        (None, second - QUICK, 0, 0),
        (None, second, 10, 10),
        (Some(20), QUICK, 20, 30),
        (Some(20), second, 20, 30),
        (Some(5), second, 10, 10),
    ] {
        let (mut delivery, now) = (patient(), Instant::now());
        others_pass(&mut delivery);
        let flight = launch(&mut delivery, Attempt::from(events(3)));
        let error = DeliveryError {
            retry_after: asked.map(|asked| second * asked),
            ..error("no")
        };
        delivery.on(flight, Outcome::Failed(error), took, now);
        let due = delivery.retry[0].due;
        let rest = due.map_or(Duration::ZERO, |due| due - now);
        let is_it = (second * least..=second * most).contains(&rest);
        assert!(is_it, "{asked:?} {took:?}: {rest:?}");
    }
}

#[test]
fn after_three_failures_in_a_row_while_others_pass_something_far_away_is_next() {
    for (passes, failures, wants_other) in [
        (true, 2, false),
        (true, 3, true),
        (true, 4, true),
        (false, 3, false),
        (false, 1, false),
    ] {
        let (mut delivery, flight) = in_flight(terms());
        if passes {
            others_pass(&mut delivery);
        }
        delivery.failed_in_a_row = failures - 1;
        delivery.on(flight, failed(Cause::Answer), QUICK, Instant::now());
        assert_eq!(delivery.wants_other, wants_other, "{passes} {failures}");
    }
}

/// Once, and without a wait for the others until several have failed in a row.
#[test]
fn an_event_that_fails_alone_is_set_aside_if_others_passed_since_or_between_its_failures() {
    for (is_suspect, passes, is_suspicious, row, is_told, waits) in [
        (true, false, false, 2, false, false),
        (true, true, false, 2, false, false),
        (true, true, false, 3, false, true),
        (false, true, false, 2, true, false),
        (false, true, false, 3, true, true),
        (false, false, true, 1, true, false),
        (false, false, false, 1, false, true),
    ] {
        let (mut delivery, now) = (patient(), Instant::now());
        if passes {
            others_pass(&mut delivery);
        }
        let attempt = after_failures(event(0), is_suspicious);
        let mut flight = launch(&mut delivery, attempt);
        if is_suspect {
            delivery.set_aside(None, event(0), "no", now);
            flight.suspect = delivery.suspects.pop_front();
        }
        delivery.failed_in_a_row = row - 1;
        let effects = delivery.on(flight, failed(Cause::Answer), QUICK, now);
        let place = format!("{is_suspect} {passes} {is_suspicious} {row}: {effects:?}");
        let count = |is: fn(&Effect) -> bool| effects.iter().filter(|it| is(it)).count();
        let told = count(|it| matches!(it, Effect::SetAside(_)));
        assert_eq!(told, usize::from(is_told), "{place}");
        let failed = count(|it| matches!(it, Effect::Failed(..)));
        assert_eq!(failed, usize::from(waits), "{place}");
        let is_aside = (delivery.suspects.len(), delivery.retry.len());
        let expected = if is_suspect || is_told {
            (1, 0)
        } else {
            (0, 1)
        };
        assert_eq!(is_aside, expected, "{place}");
    }
}

/// One that asks for fewer requests would refuse it right after others again.
#[test]
fn a_suspect_is_tried_as_soon_as_others_pass_unless_it_was_to_wait() {
    for (is_overload, asked, least) in [
        (false, None, None),
        (true, None, Some(MIN)),
        (true, Some(MAX), Some(MAX)),
        (false, Some(MAX), Some(MAX)),
    ] {
        let (mut delivery, now) = (patient(), Instant::now());
        others_pass(&mut delivery);
        let flight = launch(&mut delivery, after_failures(event(0), true));
        let error = DeliveryError {
            is_overload,
            retry_after: asked,
            ..error("no")
        };
        delivery.on(flight, Outcome::Failed(error), QUICK, now);
        let due = delivery.suspects[0].attempt.due;
        let place = format!("{is_overload} {asked:?}: {due:?}");
        assert_eq!(due.is_some(), least.is_some(), "{place}");
        assert!(due >= least.map(|least| now + least), "{place}");
    }
}

#[test]
fn an_event_whose_failures_can_not_be_chance_is_rejected_at_the_last_of_them() {
    for (failures, is_rejected) in [(3, false), (8, true)] {
        let (mut delivery, now) = (delivery(), Instant::now());
        (0..100).for_each(|_| delivery.chance.passed(true, |_| false));
        delivery.set_aside(None, event(0), "no", now);
        let suspect = &mut delivery.suspects[0];
        (suspect.attempt.failures, suspect.failed_twice) = (failures, true);
        let flight = delivery.suspects.pop_front().unwrap().into();
        let flight = sent(delivery.send(flight, 0, (Some(0), None), now));
        let effects = delivery.on(flight, failed(Cause::Answer), QUICK, now);
        let rejected = effects.iter().any(|it| matches!(it, Effect::Rejected(..)));
        assert_eq!(rejected, is_rejected, "{failures}");
    }
}

#[test]
fn a_failure_is_compared_with_those_of_suspects() {
    let (mut delivery, flight) = in_flight(terms());
    delivery.chance.failed(true, once(9..10));
    assert!(delivery.chance.is_clear() && flight.launch.is_control);
    delivery.on(flight, failed(Cause::Answer), QUICK, Instant::now());
    assert!(!delivery.chance.is_clear(), "several may be to blame");
}

#[test]
fn a_body_is_divided_that_failed_while_others_passed_or_that_took_too_long() {
    for (passes, cause, is_divided) in [
        (false, Cause::Answer, false),
        (false, Cause::Timeout, true),
        (true, Cause::Answer, true),
        (true, Cause::Timeout, true),
    ] {
        for has_suspects in [false, true] {
            let (mut delivery, flight) = in_flight(terms());
            if passes {
                others_pass(&mut delivery);
            }
            delivery.size.passed(100, QUICK);
            let size = delivery.size_of(flight.batch()).bytes;
            let before = delivery.size.limit();
            if has_suspects {
                delivery.set_aside(None, event(7), "no", Instant::now());
            }
            delivery.on(flight, failed(cause), QUICK, Instant::now());
            let place = format!("{passes} {cause:?} {has_suspects}");
            let waits = waiting(&delivery);
            let expected = if is_divided {
                &[(0, 1), (1, 2)][..]
            } else {
                &[(0, 3)]
            };
            assert_eq!(waits, expected, "{place}");
            // There may be more like the suspects in the next one.
            let is_smaller = is_divided && has_suspects;
            let limit = if is_smaller { size / 2 } else { before };
            assert_eq!(delivery.size.limit(), limit, "{place}");
            // If its parts pass, its size is to blame at once only if the time ran out.
            delivery.size.calm();
            let is_smaller = cause == Cause::Timeout;
            let limit = if is_smaller { size / 2 } else { before };
            assert_eq!(delivery.size.learned_limit(), limit, "{place}");
        }
    }
}

#[test]
fn the_size_of_bodies_is_not_to_blame_if_an_event_fails_alone() {
    for (count, is_excused) in [(1, true), (2, false)] {
        let mut delivery = delivery();
        let before = delivery.size.learned_limit();
        delivery.size.failed(100, false);
        let flight = launch(&mut delivery, Attempt::from(events(count)));
        delivery.on(flight, failed(Cause::Answer), QUICK, Instant::now());
        delivery.size.calm();
        let is_as_before = delivery.size.learned_limit() == before;
        assert_eq!(is_as_before, is_excused, "{count}");
    }
}

/// One of them first that failed itself may be to blame; in an outage it does not matter.
#[test]
fn what_has_failed_is_next_unless_it_is_one_event_and_all_are_one_if_nothing_passes() {
    for (count, row, expected) in [
        (1, 1, &[(9, 1), (0, 1)][..]),
        (3, 1, &[(0, 3), (9, 1)]),
        (1, 2, &[(0, 2)]),
        (3, 2, &[(0, 4)]),
    ] {
        let mut delivery = delivery();
        let flight = launch(&mut delivery, Attempt::from(events(count)));
        delivery.retry.push_back(event(9));
        delivery.failed_in_a_row = row - 1;
        delivery.on(flight, failed(Cause::Answer), QUICK, Instant::now());
        assert_eq!(waiting(&delivery), expected, "{count} {row}");
    }
}
