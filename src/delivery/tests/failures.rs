//! What follows from a failure: what is said, how long is waited, and how bodies are divided.

use super::answers::in_flight;
use super::turns::{delivery, error, event, others_pass, waiting};
use super::*;
use crate::delivery::attempt::Launch;

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
