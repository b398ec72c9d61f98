//! What answers, failures and outages say of the size.

use proptest::prelude::*;

use super::*;

const MAX: usize = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(30);
const QUICK: Duration = Duration::from_millis(5);

fn size() -> BodySize {
    BodySize::new(MAX, TIMEOUT)
}

/// Sends this many bodies to a webhook that takes up to `most` bytes; returns how many it rejected, and all bytes.
fn refusals(size: &mut BodySize, most: usize, bodies: usize) -> (usize, usize) {
    let (mut refused, mut bytes) = (0, 0);
    for _ in 0..bodies {
        let body = size.limit();
        bytes += body;
        if body > most {
            refused += 1;
            size.too_large(body);
        } else {
            size.passed(body, QUICK);
        }
    }
    (refused, bytes)
}

#[test]
fn a_limit_that_is_refused_is_learned_at_once_and_kept() {
    for most in [10 << 10, 100 << 10, MAX - 1] {
        let mut size = size();
        let (refused, bytes) = refusals(&mut size, most, 10);
        assert!(
            refused <= 7 && bytes <= 3 * MAX + 10 * most,
            "{refused}, {bytes}"
        );
        assert_eq!(size.learned().is_some(), refused > 0);
        let (refused, _) = refusals(&mut size, most, 2000);
        assert!(refused <= 100, "{refused} of 2000 refused");
        assert!(size.limit() > most / 2 && size.limit() <= most * 5 / 4);
        assert_eq!(size.learned(), None, "one line is enough");
    }
}

#[test]
fn a_small_event_that_is_too_large_says_nothing_of_others() {
    let mut size = size();
    size.too_large(1000);
    size.passed(500, QUICK);
    size.too_large(500);
    size.too_large_alone(10);
    assert_eq!(size.limit(), 500, "more was taken");
    size.too_large_alone(900);
    size.passed(500, QUICK);
    size.too_large(500);
    size.too_large_alone(510);
    assert!(size.limit() < 500, "this one is large");
    size.passed(1000, QUICK);
    size.too_large_alone(1000);
    assert_eq!(size.limit(), 250, "as large as what was taken");
}

#[test]
fn when_nothing_has_passed_a_small_event_that_is_too_large_costs_a_few_tries() {
    for most in [100, MAX] {
        let mut size = size();
        for power in (1..=20).rev() {
            size.too_large(1 << power);
        }
        size.too_large_alone(1);
        let (refused, _) = refusals(&mut size, most, 40);
        assert!(
            refused <= 2 && size.limit() >= most / 4,
            "{refused}: {size:?}"
        );
    }
}

#[test]
fn a_limit_that_is_no_more_is_forgotten() {
    let mut size = size();
    refusals(&mut size, 10_000, 100);
    refusals(&mut size, usize::MAX, 3000);
    assert_eq!(size.limit(), MAX);
}

/// A body of this size fails and passes in halves, so many times in a row.
fn strike(size: &mut BodySize, bytes: usize, times: u32) {
    for _ in 0..times {
        size.failed(bytes, false);
        for _ in 0..2 {
            size.passed(bytes / 2, QUICK);
        }
        size.calm();
    }
}

#[test]
fn bodies_that_fail_and_pass_in_parts_were_too_large() {
    for (passes, strikes) in [(false, 1), (true, STRIKES)] {
        let mut size = size();
        if passes {
            size.passed(MAX, QUICK);
        }
        strike(&mut size, MAX, strikes - 1);
        size.failed(MAX, false);
        assert_eq!((size.limit(), size.learned()), (MAX, None), "not yet");
        size.calm();
        assert_eq!((size.limit(), size.learned()), (MAX / 2, None));
        size.passed(MAX / 2, QUICK);
        assert_eq!(size.learned(), Some(MAX / 2));
    }
}

#[test]
fn a_body_that_takes_too_long_is_enough() {
    for (timed_out, limit) in [
        (vec![true], MAX / 2),
        (vec![true, true], MAX / 2),
        (vec![true, false], MAX / 2),
        (vec![false, false], MAX),
    ] {
        let mut size = size();
        size.passed(MAX, QUICK);
        timed_out.iter().for_each(|it| size.failed(MAX, *it));
        size.calm();
        assert_eq!(size.limit(), limit, "{timed_out:?}");
    }
}

#[test]
fn while_bodies_as_large_pass_in_between_it_is_not_the_size() {
    let mut size = size();
    for _ in 0..100 {
        strike(&mut size, MAX, STRIKES - 1);
        size.passed(MAX, QUICK);
    }
    assert_eq!(size.limit(), MAX);
}

#[test]
fn a_body_that_passes_after_all_was_not() {
    let mut size = size();
    size.failed(MAX, false);
    size.passed(MAX, QUICK);
    size.calm();
    assert_eq!(size.limit(), MAX);
}

#[test]
fn one_event_that_fails_alone_is_to_blame() {
    let mut size = size();
    size.failed(MAX, false);
    size.failed(MAX / 2, false);
    size.excuse();
    size.calm();
    assert_eq!(size.limit(), MAX);
    // A guess is forgotten, an answer is not.
    for (is_answer, is_slow, limit) in [
        (false, false, MAX),
        (true, false, MAX / 2),
        (false, true, MAX / 4),
        (true, true, MAX / 4),
    ] {
        let mut size = BodySize::new(MAX, TIMEOUT);
        match is_answer {
            true => size.too_large(MAX),
            false => strike(&mut size, MAX, 1),
        }
        assert_eq!(size.limit(), MAX / 2);
        if is_slow {
            size.failed(MAX / 2, true);
            size.calm();
        }
        size.excuse();
        size.calm();
        assert_eq!(size.limit(), limit);
    }
}

#[test]
fn a_limit_below_two_events_grows() {
    for event in [100, 150, 1000] {
        let mut size = size();
        size.too_large(2 * event);
        for _ in 0..3000 {
            let events = (size.limit() / event).max(1);
            size.passed(events * event, QUICK);
        }
        assert_eq!(size.limit(), MAX, "{event}");
    }
}

#[test]
fn no_body_is_tried_that_would_take_too_long() {
    let mut size = size();
    size.failed(MAX, true);
    size.calm();
    for _ in 0..10_000 {
        let body = size.limit();
        size.passed(body, TIMEOUT.mul_f64(body as f64 / MAX as f64));
    }
    assert_eq!(
        size.limit(),
        MAX / 2,
        "half the time is left for a slower day"
    );
}

#[test]
fn after_an_outage_bodies_grow_from_one_event() {
    for (event, bodies) in [(1000, 11), (1, 20)] {
        let mut size = size();
        size.outage();
        let mut sizes = Vec::new();
        while size.is_growing() {
            let body = size.limit().max(event);
            sizes.push(body);
            size.passed(body, QUICK);
        }
        assert_eq!((sizes.len(), size.limit()), (bodies, MAX), "{sizes:?}");
    }
}

/// A limit of 1000, half the operator's, that was learned, and so many bodies of this size that have passed since.
fn learned(bodies: u32, bytes: usize, took: Duration) -> BodySize {
    let mut size = BodySize::new(2000, TIMEOUT);
    size.too_large(2000);
    for _ in 0..bodies {
        size.passed(bytes, took);
    }
    size
}

#[test]
fn a_limit_is_raised_by_a_quarter_when_enough_bodies_have_filled_it_in_time() {
    let half = TIMEOUT / 2;
    for (bodies, bytes, took, limit) in [
        (7, 1000, QUICK, 1000),
        (8, 1000, QUICK, 1251),
        (8, 500, QUICK, 1251),
        (100, 499, QUICK, 1000),
        // The larger one should not take longer than half the time.
        (8, 1251, half, 1251),
        (100, 1251, half + Duration::from_nanos(1), 1000),
        (8, 1000, half * 1000 / 1252, 1251),
        (100, 1000, half * 1000 / 1250, 1000),
        (100, 625, half * 625 / 1250, 1000),
    ] {
        let mut size = learned(bodies, bytes, took);
        assert_eq!(size.limit(), limit, "{bodies} of {bytes} in {took:?}");
        assert_eq!(size.learned().is_some(), bytes >= 500);
    }
}

#[test]
fn a_raised_limit_that_fails_is_taken_back_to_what_has_passed() {
    for (raises, passes, fails, limit) in [
        (1, None, 1251, 1000),
        (1, None, 1001, 1000),
        (1, None, 1000, 1251),
        (1, Some(999), 1251, 1000),
        (1, Some(1100), 1251, 1100),
        (1, Some(1251), 1251, 1251),
        (4, Some(1956), 2000, 1956),
        // At the operator's limit there is nothing more to find out.
        (4, Some(1980), 2000, 2000),
    ] {
        let mut size = learned(8 * raises, 1000, QUICK);
        passes.into_iter().for_each(|it| size.passed(it, QUICK));
        size.failed(fails, false);
        assert_eq!(size.limit(), limit, "{raises}, {passes:?}, {fails}");
    }
    // An answer that even what had passed is too large.
    let mut size = learned(8, 1000, QUICK);
    size.too_large(1000);
    assert_eq!(size.limit(), 500);
}

#[test]
fn each_raise_that_fails_doubles_the_bodies_until_the_next_one() {
    let mut size = learned(8, 1000, QUICK);
    for bodies in [16, 32, 64, 128, 128] {
        size.too_large(1251);
        for _ in 1..bodies {
            size.passed(1000, QUICK);
            assert_eq!(size.limit(), 1000, "{bodies}");
        }
        size.passed(1000, QUICK);
        assert_eq!(size.limit(), 1251, "{bodies}");
    }
}

#[test]
fn what_has_passed_is_proven_and_an_eighth_of_the_limit() {
    for (passes, outage, proven) in [
        (None, false, MAX / 8),
        (Some(MAX / 16), false, MAX / 8),
        (Some(MAX / 4), false, MAX / 4),
        (Some(MAX), false, MAX),
        (Some(MAX), true, 1),
    ] {
        let mut size = size();
        passes.into_iter().for_each(|it| size.passed(it, QUICK));
        if outage {
            size.outage();
        }
        assert_eq!(size.proven(), proven, "{passes:?}, {outage}");
    }
}

proptest! {
    #[test]
    fn the_limit_is_never_zero_nor_over_the_operators(steps in proptest::collection::vec((0u8..6, 1usize..2 * MAX), 1..200)) {
        let mut size = size();
        for (step, bytes) in steps {
            match step {
                0 => size.passed(bytes, QUICK),
                1 => size.too_large(bytes),
                2 => size.failed(bytes, bytes % 2 == 0),
                3 => size.excuse(),
                4 => size.calm(),
                _ => size.outage(),
            }
            prop_assert!((1..=MAX).contains(&size.limit()));
        }
    }
}

#[test]
fn beside_what_took_long_to_fail_bodies_are_half_as_large_until_that_is_dealt_with() {
    let mut size = size();
    for (held_up, limit) in [(600, 300), (2000, 300), (100, 50), (1, 1)] {
        size.held_up(held_up);
        assert_eq!(size.limit(), limit, "{held_up}");
    }
    size.calm();
    assert_eq!(size.limit(), MAX);
}
