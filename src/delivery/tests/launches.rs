//! What a sender is told to do, one step at a time.

use super::*;
use crate::delivery::attempt::Attempt;
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

fn sent(step: Step) -> Box<Flight> {
    match step {
        Step::Send(flight) => flight,
        step => panic!("{step:?}"),
    }
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
    for is_collecting in [false, true] {
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
        delivery.is_collecting = is_collecting;
        sent(delivery.next(0, Instant::now()));
        assert_eq!(delivery.wakes_others(), !is_collecting);
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

#[test]
fn what_has_failed_is_not_sent_to_try_an_endpoint() {
    for (failures, is_suspect, is_trial) in [(0, false, true), (1, false, false), (0, true, false)]
    {
        let policy = Policy {
            endpoints: 2,
            mode: Mode::Failover,
            failback: DELAY,
        };
        let (now, mut delivery) = (Instant::now(), of(1));
        delivery.retarget(1, Terms { policy, ..terms() });
        delivery.retry.push_back(Attempt::from(events(1)));
        let flight = sent(delivery.next(0, now));
        delivery.on(flight, failed(Cause::Unreachable), QUICK, now);
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
}
