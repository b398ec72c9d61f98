//! What a sender is told to do, one step at a time.

use super::*;
use crate::delivery::attempt::{Attempt, Launch};
use crate::delivery::compression::Packed;
use crate::delivery::route::Mode;

const DELAY: Duration = Duration::from_secs(10);

fn delivery(settings: Settings) -> Delivery {
    Delivery::new(settings, Backoff::new(MIN, MIN, 7))
}

fn of(connections: usize) -> Delivery {
    delivery(Settings {
        connections,
        age: Duration::ZERO,
        ..settings()
    })
}

#[test]
fn after_a_failure_one_sender_waits_or_all_and_not_for_long_at_the_end() {
    let hurry = Duration::from_millis(100);
    for (connections, stopping, failures, delay, all_wait) in [
        (1, false, 1, DELAY, true),
        (2, false, 1, DELAY, false),
        (2, false, 2, DELAY, true),
        (2, true, 1, hurry, false),
        (2, true, 3, hurry, true),
        (2, true, 9, hurry, true),
        (2, true, 10, DELAY, true),
    ] {
        let (now, mut delivery) = (Instant::now(), of(connections));
        (delivery.stopping, delivery.failed_in_a_row) = (stopping, failures);
        assert_eq!(delivery.wait(0, DELAY, now), delay);
        assert_eq!(delivery.waits_for(0, now), delay);
        let place = format!("{connections} {stopping} {failures}");
        let end = now + delay;
        for (sender, waits) in [(0, true), (connections - 1, all_wait)] {
            for at in [now, end - Duration::from_nanos(1)] {
                let step = delivery.next(sender, at);
                let is_told = matches!(step, Step::Wait(until) if until == Some(end));
                assert_eq!(is_told, waits, "{place} {sender}: {step:?}");
            }
        }
        let step = delivery.next(0, end);
        assert!(!matches!(step, Step::Wait(Some(_))), "{place}: {step:?}");
    }
}

#[test]
fn what_is_sent_lets_another_sender_go_to_the_queue() {
    for (wakes, is_collecting, expected) in [
        (false, false, true),
        (false, true, false),
        (true, false, true),
        (true, true, true),
    ] {
        let mut delivery = of(2);
        delivery.collected(
            Some(Run::new(
                Chunk {
                    bytes: b"{}\n".to_vec(),
                    events: 1,
                },
                0,
            )),
            Instant::now(),
        );
        (delivery.wakes, delivery.is_collecting) = (wakes, is_collecting);
        sent(delivery.next(0, Instant::now()));
        let place = format!("{wakes} {is_collecting}");
        assert_eq!(delivery.wakes_others(), expected, "{place}");
        assert!(!delivery.wakes_others(), "once");
    }
}

#[test]
fn a_body_is_a_larger_one_if_it_exceeds_what_is_proven() {
    for (count, is_larger) in [(9, false), (10, false), (11, true)] {
        let body = Extent {
            events: 100,
            bytes: 8 * 30,
        };
        let mut delivery = delivery(Settings { body, ..settings() });
        delivery.retry.push_back(Attempt::from(events(count)));
        let flight = sent(delivery.next(0, Instant::now()));
        assert_eq!(flight.launch.is_larger, is_larger, "{count}");
    }
}

/// The first of two endpoints was not reached, and may be tried again after [`MIN`]. One event waits.
fn first_is_down(connections: usize, now: Instant) -> Delivery {
    let policy = Policy {
        endpoints: 2,
        mode: Mode::Failover,
        failback: DELAY,
    };
    let mut delivery = of(connections);
    delivery.retarget(1, Terms { policy, ..terms() });
    delivery.retry.push_back(Attempt::from(events(1)));
    let flight = sent(delivery.next(0, now));
    delivery.on(flight, failed(Cause::Unreachable), QUICK, now);
    delivery
}

#[test]
fn an_endpoint_is_tried_by_one_sender_at_a_time() {
    let now = Instant::now();
    let (mut delivery, later) = (first_is_down(3, now), now + MIN);
    delivery.retry.push_back(Attempt::from(events(1)));
    delivery.retry.push_back(Attempt::from(events(1)));
    let tried = [0, 1].map(|sender| sent(delivery.next(sender, later)));
    let found = tried
        .each_ref()
        .map(|flight| (flight.launch.is_trial, flight.endpoint()));
    assert_eq!(found, [(true, 0), (false, 1)]);
    let [trial, _] = tried;
    delivery.on(trial, failed(Cause::Aborted), QUICK, later);
    assert!(
        sent(delivery.next(2, later)).launch.is_trial,
        "that told nothing"
    );
}

/// It could not be sent at all otherwise.
#[test]
fn what_has_failed_tries_an_endpoint_if_none_that_works_has_room() {
    let now = Instant::now();
    for (usual, is_trial) in [(Some(1), false), (None, true)] {
        let mut delivery = first_is_down(1, now);
        let mut attempt = delivery.retry.pop_front().unwrap();
        attempt.failures = 1;
        let flight = sent(delivery.send(attempt.into(), 0, (usual, Some(0)), now));
        assert_eq!(flight.launch.is_trial, is_trial);
        assert_eq!(flight.endpoint(), usize::from(!is_trial));
    }
}

/// Neither what was made ahead, nor what may be found for another body.
#[test]
fn what_tries_an_endpoint_is_one_event_and_nothing_is_collected_for_it() {
    let now = Instant::now();
    for (events, ahead) in [(9, None), (9, Some(5)), (1, None)] {
        let mut delivery = first_is_down(1, now);
        delivery.retry.clear();
        delivery.compression.learn(Packed {
            plain: 100,
            bytes: 10,
        });
        (delivery.fresh, delivery.fresh_since) = (self::events(events), Some(now));
        ahead
            .into_iter()
            .for_each(|events| delivery.ahead.begin(events));
        let flight = sent(delivery.next(0, now + MIN));
        assert_eq!(
            (flight.launch.is_trial, flight.batch().extent().events),
            (true, 1)
        );
    }
}

/// By one sender, and once.
#[test]
fn newer_events_are_collected_first_if_there_is_room_and_nobody_looked() {
    for (count, is_collecting, has_looked, is_collected) in [
        (1, false, false, true),
        (2, false, false, false),
        (1, true, false, false),
        (1, false, true, false),
    ] {
        let body = Extent {
            events: 2,
            ..settings().body
        };
        let settings = Settings {
            body,
            age: Duration::ZERO,
            connections: 2,
            ..settings()
        };
        let (now, mut delivery) = (Instant::now(), delivery(settings));
        (delivery.fresh, delivery.fresh_since) = (events(count), Some(now));
        (delivery.is_collecting, delivery.has_looked) = (is_collecting, has_looked);
        let step = delivery.next(0, now);
        let place = format!("{count} {is_collecting} {has_looked}: {step:?}");
        match step {
            Step::Collect { wanted, until } => {
                assert!(is_collected && delivery.has_looked, "{place}");
                assert_eq!((wanted.events, until), (2, Some(now)), "{place}");
            }
            step => assert!(!is_collected && matches!(step, Step::Send(_)), "{place}"),
        }
    }
}

#[test]
fn a_webhook_that_is_down_gets_one_probe_and_what_it_may_have_taken_is_waited_for() {
    for (is_down, is_probed, is_distrusted, is_posted, waits) in [
        (true, true, false, false, true),
        (true, false, false, false, false),
        (false, true, false, false, false),
        (false, false, true, true, true),
        (false, false, true, false, false),
        (true, false, false, true, false),
        (false, false, false, false, false),
    ] {
        let (now, mut delivery) = (Instant::now(), of(3));
        delivery.retarget(
            1,
            Terms {
                ack_timeout: Some(MAX),
                ..terms()
            },
        );
        let launch = |delivery: &mut Delivery, sender| {
            delivery.retry.push_back(Attempt::from(events(1)));
            sent(delivery.next(sender, now))
        };
        if is_posted {
            let flight = launch(&mut delivery, 0);
            delivery.on(flight, Outcome::Accepted(0), QUICK, now);
        }
        let before = launch(&mut delivery, 1);
        assert!(!before.launch.is_probe);
        if is_probed {
            delivery.failed_in_a_row = 2;
            assert!(launch(&mut delivery, 0).launch.is_probe);
        }
        delivery.failed_in_a_row = if is_down { 2 } else { 0 };
        distrust(&mut delivery, is_distrusted);
        delivery.retry.push_back(Attempt::from(events(1)));
        let step = delivery.next(2, now);
        let place = format!("{is_down} {is_probed} {is_distrusted} {is_posted}: {step:?}");
        match step {
            Step::Wait(until) => assert!(waits && until.is_none(), "{place}"),
            step => assert!(!waits && matches!(step, Step::Send(_)), "{place}"),
        }
    }
}

#[test]
fn what_is_far_from_rejected_events_is_sent_once_and_is_no_more_than_a_body_has() {
    let body = Extent {
        events: 100,
        ..settings().body
    };
    let settings = Settings {
        body,
        connections: 2,
        ..settings()
    };
    let (now, mut delivery) = (Instant::now(), delivery(settings));
    (delivery.fresh, delivery.wants_other) = (events(1000), true);
    for (first, count) in [(250, 100), (0, 100)] {
        let flight = sent(delivery.next(0, now));
        let seqs = flight.batch().seqs().next().unwrap();
        assert_eq!(seqs, first..first + count);
    }
}

#[test]
fn what_has_failed_is_not_sent_to_try_an_endpoint() {
    for (failures, is_suspect, is_trial) in [(0, false, true), (1, false, false), (0, true, false)]
    {
        let now = Instant::now();
        let mut delivery = first_is_down(1, now);
        let mut attempt = delivery.retry.pop_front().unwrap();
        attempt.failures = failures;
        match is_suspect {
            true => delivery.set_aside(None, attempt, "no", now),
            false => delivery.retry.push_back(attempt),
        }
        let flight = sent(delivery.next(0, now + MIN));
        let place = format!("{failures} {is_suspect}");
        assert_eq!(flight.launch.is_trial, is_trial, "{place}");
        assert_eq!(flight.endpoint(), usize::from(!is_trial), "{place}");
    }
}

#[test]
fn what_was_sent_before_a_failure_is_part_of_it() {
    let (now, mut delivery) = (Instant::now(), of(4));
    let launch = |delivery: &mut Delivery, sender| {
        delivery.retry.push_back(Attempt::from(events(1)));
        sent(delivery.next(sender, now)).launch
    };
    let [first, second] = [0, 1].map(|sender| launch(&mut delivery, sender));
    assert!(delivery.count_failure(second));
    assert!(!delivery.count_failure(first) && !delivery.count_failure(second));
    assert_eq!(delivery.failed_in_a_row, 1);
    let third = launch(&mut delivery, 2);
    assert!(delivery.count_failure(third));
    assert_eq!(delivery.failed_in_a_row, 2);
    let suspect = Launch {
        is_suspect: true,
        ..second
    };
    assert!(!delivery.count_failure(suspect));
    assert_eq!(
        (delivery.failed_in_a_row, delivery.suspects_failed),
        (2, 1),
        "each counts"
    );
}
