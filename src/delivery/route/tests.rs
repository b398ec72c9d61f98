//! When an endpoint's health changes, and what is decided by it; `delivery/tests/route.rs` follows the events.

use std::collections::BTreeSet;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const NANOSECOND: Duration = Duration::from_nanos(1);
const FAILBACK: Duration = Duration::from_secs(300);

/// After a failure an endpoint pauses for a second, and then for up to `longest`.
fn pausing(endpoints: usize, mode: Mode, longest: Duration) -> Route {
    let policy = Policy {
        endpoints,
        mode,
        failback: FAILBACK,
    };
    Route::new(policy, &Backoff::new(SECOND, longest, 7))
}

fn route(endpoints: usize, mode: Mode) -> Route {
    pausing(endpoints, mode, SECOND)
}

fn launch(number: u64, endpoint: usize) -> Launch {
    Launch {
        number,
        endpoint,
        ..Launch::default()
    }
}

impl Route {
    /// The endpoints that work.
    pub(in crate::delivery) fn working(&self) -> impl Iterator<Item = usize> {
        let endpoints = self.endpoints.iter().enumerate();
        endpoints
            .filter(|(_, endpoint)| endpoint.works())
            .map(|(place, _)| place)
    }

    /// The endpoints that are not tried because a body is on its way to do so.
    pub(in crate::delivery) fn tried(&self) -> BTreeSet<usize> {
        let endpoints = self.endpoints.iter().enumerate();
        endpoints
            .filter(|(_, endpoint)| endpoint.is_tried)
            .map(|(place, _)| place)
            .collect()
    }

    /// The body of this number, the last one so far, fails after the time `took`.
    fn fails(
        &mut self,
        number: u64,
        endpoint: usize,
        cause: Cause,
        took: Duration,
        now: Instant,
    ) -> Failure {
        let error = DeliveryError::transient(cause, "no");
        self.failed(launch(number, endpoint), number, &error, false, took, now)
    }
}

fn failure(is_elsewhere: bool, is_sure: bool) -> Failure {
    Failure {
        is_elsewhere,
        is_sure,
    }
}

#[test]
fn one_that_is_down_is_tried_by_one_body_after_its_pause_while_others_work() {
    for (took, pause) in [(0, 1000), (100, 1000), (101, 1010), (2000, 20_000)] {
        let (begin, mut route) = (Instant::now(), route(2, Mode::Failover));
        let took = Duration::from_millis(took);
        let due = begin + Duration::from_millis(pause);
        assert_eq!(route.due(begin, |_| true), None);
        route.fails(1, 0, Cause::Unreachable, took, begin);
        assert_eq!(route.due(due - NANOSECOND, |_| true), None);
        assert_eq!(route.due(due, |_| true), Some(0));
        route.tries(0);
        route.landed(launch(2, 0));
        assert_eq!(route.due(due, |_| true), None, "it is being tried");
        let is_trial = true;
        route.landed(Launch {
            is_trial,
            ..launch(3, 0)
        });
        assert_eq!(route.due(due, |_| true), Some(0));
        route.fails(4, 1, Cause::Unreachable, took, begin);
        assert_eq!(route.due(due, |_| true), None, "no other one works");
    }
}

#[test]
fn one_that_is_back_is_tried_now_and_then_until_it_has_worked_for_a_while() {
    let begin = Instant::now();
    for (mode, others_work, must_prove) in [
        (Mode::Failover, true, true),
        (Mode::Failover, false, false),
        (Mode::Spread, true, false),
    ] {
        let mut route = route(2, mode);
        route.fails(1, 0, Cause::Unreachable, Duration::ZERO, begin);
        if !others_work {
            route.fails(2, 1, Cause::Unreachable, Duration::ZERO, begin);
        }
        assert!(!route.passed(launch(1, 0), begin), "it was sent before");
        assert_eq!(
            route.pick(0, begin, |_| true),
            Some(usize::from(others_work))
        );
        assert!(route.passed(launch(3, 0), begin), "it is back");
        assert!(!route.passed(launch(4, 0), begin), "that is known");
        assert_eq!(
            route.pick(0, begin, |_| true),
            Some(usize::from(must_prove))
        );
        if !must_prove {
            continue;
        }
        let mut last = begin;
        for number in 5..8 {
            let due = last + FAILBACK / 10;
            assert_eq!(route.due(due - NANOSECOND, |_| true), None);
            assert_eq!(route.due(due, |_| true), Some(0));
            assert!(!route.passed(launch(number, 0), due));
            last = due;
        }
        let home = begin + FAILBACK;
        assert_eq!(route.pick(0, home - NANOSECOND, |_| true), Some(1));
        assert_eq!(
            (route.pick(0, home, |_| true), route.due(home, |_| true)),
            (Some(0), None)
        );
    }
}

#[test]
fn pauses_grow_until_the_endpoint_has_proven_itself() {
    let begin = Instant::now();
    for (proves_for, is_short) in [
        (Duration::ZERO, false),
        (FAILBACK - NANOSECOND, false),
        (FAILBACK, true),
    ] {
        let mut route = pausing(2, Mode::Failover, SECOND * 1000);
        for number in 1..=10 {
            route.fails(number, 0, Cause::Unreachable, Duration::ZERO, begin);
        }
        route.passed(launch(11, 0), begin);
        route.passed(launch(12, 0), begin + proves_for);
        let now = begin + FAILBACK;
        route.fails(13, 0, Cause::Unreachable, Duration::ZERO, now);
        let is_due = route.due(now + 2 * SECOND, |_| true).is_some();
        assert_eq!(is_due, is_short, "{proves_for:?}");
    }
}

#[test]
fn each_endpoint_is_tried_before_it_may_be_the_body() {
    let now = Instant::now();
    for count in 1..4 {
        for cause in [
            Cause::Unreachable,
            Cause::Settings,
            Cause::Answer,
            Cause::Timeout,
        ] {
            let is_sure = cause == Cause::Unreachable;
            let mut route = route(count, Mode::Failover);
            for number in 0..3 * count {
                let place = number % count;
                assert_eq!(
                    route.pick(0, now, |_| true),
                    Some(place),
                    "{cause:?} {number} of {count}"
                );
                let got = route.fails(number as u64 + 1, place, cause, SECOND, now);
                let is_last = place == count - 1;
                assert_eq!(
                    got,
                    failure(!is_last, is_sure),
                    "{cause:?} {number} of {count}"
                );
            }
            assert_eq!(route.convict(0), None);
        }
    }
}

#[test]
fn one_failure_may_be_the_bodys_and_two_while_others_work_are_the_endpoints() {
    let now = Instant::now();
    let mut route = route(2, Mode::Failover);
    let mut fails = |number, launches| {
        let error = DeliveryError::transient(Cause::Answer, "no");
        route.failed(launch(number, 0), launches, &error, false, SECOND, now)
    };
    assert_eq!(fails(1, 3), failure(true, false));
    assert_eq!(fails(3, 3), failure(true, false), "it was sent before");
    assert_eq!(fails(4, 4), failure(true, true));
    assert_eq!(route.convict(0), None, "that is known");
    route.fails(5, 1, Cause::Answer, SECOND, now);
    assert_eq!(
        route.convict(1),
        None,
        "all have failed, so it may be the body"
    );
    assert_eq!(route.pick(0, now, |_| true), Some(1));
    route.passed(launch(6, 0), now);
    route.fails(7, 1, Cause::Answer, SECOND, now);
    assert!(route.convict(1).is_some(), "the body has passed elsewhere");
    assert_eq!(route.convict(1), None);
}

#[test]
fn what_may_be_the_bodys_fault_is_tried_again_at_what_has_rested() {
    let (answer, reset) = (Cause::Answer, Cause::Disconnected);
    for (cause, suspicious, rest, is_elsewhere) in [
        (answer, false, SECOND * 10, true),
        (answer, false, SECOND * 10 - NANOSECOND, false),
        (answer, true, SECOND * 10, false),
        (reset, false, SECOND * 2, true),
        (reset, false, SECOND * 2 - NANOSECOND, false),
        (reset, true, SECOND * 2, false),
    ] {
        let (begin, mut route) = (Instant::now(), route(2, Mode::Failover));
        route.fails(1, 1, Cause::Unreachable, SECOND, begin);
        route.passed(launch(2, 0), begin);
        let (error, now) = (DeliveryError::transient(cause, "no"), begin + rest);
        let got = route.failed(launch(3, 0), 3, &error, suspicious, SECOND, now);
        let place = format!("{cause:?} {suspicious} {rest:?}");
        assert_eq!(got, failure(is_elsewhere, false), "{place}");
    }
}

#[test]
fn what_has_failed_meanwhile_is_no_reason_to_wait_before_all_were_tried() {
    let (now, mut route) = (Instant::now(), route(4, Mode::Failover));
    route.fails(1, 2, Cause::Unreachable, SECOND, now);
    route.fails(2, 3, Cause::Unreachable, SECOND, now);
    route.passed(launch(3, 0), now);
    for (number, endpoint, cause, is_elsewhere) in [
        (4, 0, Cause::Answer, true),
        (5, 1, Cause::Unreachable, true),
        (6, 0, Cause::Answer, true),
        (7, 0, Cause::Answer, false),
    ] {
        let got = route.fails(number, endpoint, cause, SECOND, now);
        assert_eq!(got.is_elsewhere, is_elsewhere, "{number}");
    }
}

#[test]
fn senders_take_turns_with_spread_and_else_go_to_the_first() {
    for (sender, seconds, place) in [
        (0, 0, 0),
        (1, 0, 1),
        (4, 0, 1),
        (0, 29, 0),
        (0, 30, 1),
        (1, 30, 2),
        (2, 59, 0),
        (0, 90, 0),
        (0, 120, 1),
    ] {
        let begin = Instant::now();
        for (mode, place) in [(Mode::Spread, place), (Mode::Failover, 0)] {
            let mut route = route(3, mode);
            route.pick(0, begin, |_| true);
            assert_eq!(
                route.pick(sender, begin + SECOND * seconds, |_| true),
                Some(place)
            );
        }
    }
}

#[test]
fn one_that_works_again_is_better_than_one_that_is_down() {
    let (now, mut route) = (Instant::now(), route(3, Mode::Failover));
    route.fails(1, 1, Cause::Unreachable, SECOND, now);
    route.fails(2, 0, Cause::Unreachable, SECOND, now);
    route.passed(launch(3, 0), now);
    assert_eq!(
        route.pick(0, now, |_| true),
        Some(2),
        "this one has always worked"
    );
    route.fails(4, 2, Cause::Unreachable, SECOND, now);
    assert_eq!(route.pick(0, now, |_| true), Some(0));
}

#[test]
fn one_that_has_no_room_is_passed_over_but_not_for_one_that_is_down() {
    // Which are down, which have room, and where the next body and a trial go.
    for (down, open, usual, trial) in [
        (&[][..], &[0, 1, 2][..], Some(0), None),
        (&[], &[1, 2], Some(1), None),
        (&[], &[], None, None),
        (&[0], &[0, 1, 2], Some(1), Some(0)),
        (&[0], &[1, 2], Some(1), None),
        (&[0, 1], &[0, 1], None, Some(0)),
        (&[0, 1], &[1], None, Some(1)),
        (&[0, 1, 2], &[0, 1, 2], Some(0), None),
        (&[0, 1, 2], &[1, 2], Some(1), None),
        (&[0, 1, 2], &[], None, None),
    ] {
        let (begin, mut route) = (Instant::now(), route(3, Mode::Failover));
        for (number, place) in (1..).zip(down) {
            route.fails(number, *place, Cause::Unreachable, Duration::ZERO, begin);
        }
        let (now, has_room) = (begin + SECOND, |place| open.contains(&place));
        let ways = (route.pick(0, now, has_room), route.due(now, has_room));
        assert_eq!(ways, (usual, trial), "{down:?} {open:?}");
    }
}

#[test]
fn modes_are_chosen_by_name() {
    for (name, mode) in [("failover", Mode::Failover), ("spread", Mode::Spread)] {
        assert_eq!(name.parse(), Ok(mode));
    }
    assert!("random".parse::<Mode>().is_err());
}
