//! Single events that keep failing: when they are tried again.

use std::iter::once;

use super::*;
use crate::delivery::attempt::{Airborne, Attempt, Launch, Suspect, draw};
use crate::delivery::doubt::Doubt;

#[test]
fn a_suspect_is_tried_after_its_backoff_and_at_the_end_when_nothing_else_is_left() {
    let event = || Batch::of(b"{}\n");
    for (stopping, has_ended, fresh, retry, at_once, later) in [
        (false, false, false, false, false, true),
        (false, true, false, false, false, true),
        (true, false, false, false, false, false),
        (true, true, true, false, false, false),
        (true, true, false, true, false, false),
        (true, true, false, false, true, true),
    ] {
        for (after, is_tried) in [(MIN - Duration::from_nanos(1), at_once), (MIN, later)] {
            let now = Instant::now();
            let mut delivery = Delivery::new(settings(), Backoff::new(MIN, MIN, 7));
            delivery.set_aside(None, Attempt::from(event()), "no", now);
            (delivery.stopping, delivery.has_ended) = (stopping, has_ended);
            if fresh {
                delivery.fresh = event();
            }
            if retry {
                delivery.retry.push_back(Attempt::from(event()));
            }
            let due = (!stopping).then_some(now + MIN);
            assert_eq!(delivery.next_suspect(), due);
            let suspect = delivery.take_due_suspect(now + after);
            let place = format!("{stopping} {has_ended} {fresh} {retry} {after:?}");
            assert_eq!(suspect.is_some(), is_tried, "{place}");
        }
    }
}

#[test]
fn a_suspect_is_not_tried_early_for_ever() {
    let (mut delivery, now) = (Simulation::new(0).delivery, Instant::now());
    let event = Attempt::from(Batch::of(b"{}\n"));
    delivery.set_aside(None, event, "no", now);
    for tries in 1..30 {
        let mut suspect = delivery.suspects.pop_front().unwrap();
        assert_eq!(suspect.tries, tries);
        assert_eq!(suspect.is_awaited(1, now), tries < 24, "{tries}");
        let event = std::mem::take(&mut suspect.attempt);
        delivery.set_aside(Some(suspect), event, "no", now);
    }
    delivery.release_suspects();
    assert_eq!((delivery.suspects.len(), delivery.retry.len()), (0, 1));
}

#[test]
fn three_suspects_take_turns_before_the_others() {
    let (mut delivery, now) = (Simulation::new(0).delivery, Instant::now());
    for event in Batch::of(b"1\n2\n3\n4\n").events() {
        delivery.set_aside(None, Attempt::from(event), "no", now);
    }
    let mut tried = Vec::new();
    for _ in 0..6 {
        delivery.passes += 1;
        let mut flight = delivery.take_due_suspect(now).unwrap();
        tried.extend(flight.attempt.batch.seqs().map(|seqs| seqs.start));
        flight.attempt.failed(delivery.passes);
        delivery.set_aside(flight.suspect, flight.attempt, "no", now);
    }
    assert_eq!(tried, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn no_more_than_two_failures_in_a_row_are_a_suspects_while_others_wait() {
    for (others_wait, failed, tried, is_turn) in [
        (true, 1, 0, true),
        (true, 2, 0, false),
        (true, 0, 1, true),
        (true, 1, 1, false),
        (false, 2, 0, true),
        (false, 0, 1, false),
    ] {
        let mut delivery = Simulation::new(0).delivery;
        let event = || Batch::of(b"{}\n");
        delivery.set_aside(None, Attempt::from(event()), "no", Instant::now());
        if others_wait {
            delivery.fresh = event();
        }
        delivery.suspects_failed = failed;
        for is_suspect in [false, true].into_iter().take(2 * tried) {
            delivery.in_flight.push(Airborne {
                launch: Launch {
                    is_suspect,
                    ..Launch::default()
                },
                seqs: Vec::new(),
            });
        }
        let place = format!("{others_wait} {failed} {tried}");
        assert_eq!(delivery.next_suspect().is_some(), is_turn, "{place}");
        let suspect = delivery.take_due_suspect(Instant::now() + MAX);
        assert_eq!(suspect.is_some(), is_turn, "{place}");
    }
}

/// It would always come right after a request that passed, and those that it is compared with don't.
#[test]
fn a_suspect_is_tried_before_its_time_only_if_that_is_drawn_while_several_may_be_to_blame() {
    for is_clear in [true, false] {
        for launches in 0..20 {
            let (mut delivery, now) = (Simulation::new(0).delivery, Instant::now());
            delivery.chance.failed(true, once(5..6));
            if !is_clear {
                delivery.chance.failed(true, once(7..8));
            }
            delivery.set_aside(None, Attempt::from(events(1)), "no", now);
            (delivery.passes, delivery.launches) = (1, launches);
            let is_drawn = is_clear || draw(launches, 2) == 0;
            let place = format!("{is_clear} {launches}");
            let suspect = delivery.take_due_suspect(now);
            assert_eq!(suspect.is_some(), is_drawn, "{place}");
            if let Some(suspect) = suspect.and_then(|flight| flight.suspect) {
                delivery.set_aside(Some(suspect), Attempt::from(events(1)), "no", now);
            }
            assert!(delivery.take_due_suspect(now + MAX).is_some(), "{place}");
        }
    }
}

#[test]
fn a_suspect_keeps_no_memory_of_others() {
    let (mut delivery, mut others) = (Simulation::new(0).delivery, Batch::of(b"{}\n[1]\n{}\n"));
    let one = Attempt::from(others.take_one(1));
    delivery.set_aside(None, one, "no", Instant::now());
    let suspect = delivery.suspects.pop_front().unwrap();
    let buffers = suspect.attempt.batch.into_buffers();
    assert_eq!(buffers.collect::<Vec<_>>(), [b"[1]\n"]);
}

#[test]
fn at_the_end_a_suspect_has_one_more_chance_after_all_others() {
    let stop = Duration::from_millis(60_900);
    for passes in [true, false] {
        let settings = Settings {
            reject_after: 0,
            ..settings()
        };
        let mut simulation = Simulation::with(settings, 2000);
        simulation.arrivals = (0..2000)
            .map(|at| Duration::from_millis(at * 100))
            .collect();
        simulation.stop_at = Some(stop);
        simulation.run_until(MAX * 10, |request| {
            let is_poison = request.seqs.contains(&50) && !(passes && request.at >= stop);
            match is_poison {
                true => (failed(Cause::Answer), QUICK),
                false => (Outcome::Delivered, QUICK),
            }
        });
        assert_eq!(simulation.delivered.contains_key(&50), passes);
        simulation.assert_nothing_forgotten();
        assert_eq!(simulation.delivery.buffered(), usize::from(!passes));
        let late = simulation.requests.iter().filter(|it| it.at >= stop);
        let last: Vec<_> = late.map(|it| it.seqs.contains(&50)).collect();
        assert_eq!(last, [false, true], "{passes}");
    }
}

#[test]
fn all_that_is_known_of_an_attempt_makes_it_an_old_one() {
    let changes: [fn(&mut Attempt); 4] = [
        |it| it.failures = 1,
        |it| it.family = 1,
        |it| it.doubt = Doubt::of(it.batch.seqs(), "no answer"),
        |it| it.blamed = vec![0],
    ];
    assert!(Attempt::default().is_new());
    for (place, change) in changes.iter().enumerate() {
        let mut attempt = Attempt::from(events(2));
        change(&mut attempt);
        assert!(!attempt.is_new(), "{place}");
        assert!(!attempt.of(events(1)).is_new(), "{place}");
        assert_eq!(attempt.half(events(1), 7).family, 7);
    }
}

#[test]
fn of_the_failures_between_two_passes_two_count() {
    for (passes, failures, is_suspicious) in [
        (&[0][..], 1, false),
        (&[5, 5], 2, false),
        (&[0, 0, 0], 2, false),
        (&[0, 0, 0, 1], 3, true),
        (&[0, 1, 1, 1, 2], 4, true),
        (&[3, 4], 2, true),
    ] {
        let mut attempt = Attempt::default();
        passes.iter().for_each(|passes| attempt.failed(*passes));
        let got = (attempt.failures, attempt.is_suspicious());
        assert_eq!(got, (failures, is_suspicious), "{passes:?}");
    }
}

#[test]
fn a_suspect_is_tried_when_that_tells_more() {
    // How many of a thousand suspects are tried.
    let awaited = |tries, failures: u64, passes, failed_twice| {
        let is_awaited = |seq: &Seq| {
            let chunk = Chunk {
                bytes: b"{}\n".to_vec(),
                events: 1,
            };
            let mut attempt = Attempt::from(Batch::from(Run::new(chunk, *seq)));
            (0..failures).for_each(|_| attempt.failed(0));
            let suspect = Suspect {
                attempt,
                backoff: Backoff::new(MIN, MIN, 7),
                due: Instant::now(),
                tries,
                failed_twice,
                message: String::new(),
                had_last_chance: false,
            };
            suspect.is_awaited(passes, Instant::now())
        };
        (0..1000).filter(is_awaited).count()
    };
    assert_eq!(awaited(23, 1, 1, true), 1000, "others have passed since");
    assert_eq!(awaited(24, 1, 1, true), 0, "that was often enough");
    assert_eq!(awaited(1, 1, 0, false), 1000, "once more in between");
    assert_eq!(awaited(1, 2, 0, false), 0, "that was twice in between");
    assert!((400..600).contains(&awaited(1, 1, 0, true)), "by chance");
    assert_eq!(awaited(1, 2, 0, true), 0);
}
