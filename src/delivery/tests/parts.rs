//! Answers that say of each event what became of it.

use super::answers::in_flight;
use super::poison::random;
use super::*;
use crate::delivery::outcome::{EventOutcome, Partial};

/// An answer with these outcomes.
pub(super) fn partial(events: Vec<EventOutcome>) -> Outcome {
    use EventOutcome::{Failed, Rejected, Retry, Unknown};
    let has_any = |any: &[EventOutcome]| any.iter().any(|what| events.contains(what));
    let error = |text: &str| DeliveryError::transient(Cause::Answer, text);
    Outcome::Partial(Partial {
        rejection: has_any(&[Rejected]).then(|| error("bad")),
        failure: has_any(&[Retry, Failed, Unknown]).then(|| error("busy")),
        events,
    })
}

#[test]
fn each_event_of_a_body_may_end_by_itself() {
    let mut simulation = Simulation::new(9);
    let mut is_first = true;
    simulation.run_until(MAX, |request| {
        if !std::mem::take(&mut is_first) {
            return (Outcome::Delivered, QUICK);
        }
        let outcome = |seq: &Seq| {
            [
                EventOutcome::Delivered,
                EventOutcome::Rejected,
                EventOutcome::Retry,
            ][*seq as usize % 3]
        };
        (partial(request.seqs.iter().map(outcome).collect()), QUICK)
    });
    assert_eq!(
        simulation.rejected.keys().copied().collect::<Vec<_>>(),
        [1, 4, 7]
    );
    assert_eq!(simulation.requests[1].seqs, [2, 5, 8]);
    assert!(simulation.delivered_all_but(&[1, 4, 7]));
}

#[test]
fn a_webhook_that_rejects_all_for_a_while_costs_few_events() {
    for is_told_apart in [false, true] {
        for stop_at in [None, Some(Duration::from_secs(20))] {
            let mut simulation = Simulation::new(3000);
            simulation.stop_at = stop_at;
            simulation.run_until(Duration::from_secs(25), |request| {
                let events = vec![EventOutcome::Rejected; request.seqs.len()];
                let outcome = if is_told_apart {
                    partial(events)
                } else {
                    rejected()
                };
                (outcome, QUICK)
            });
            let lost = simulation.rejected.len();
            assert!(lost < 20, "{is_told_apart} {stop_at:?}: {lost}");
            assert_eq!(simulation.delivered.len(), 0);
            simulation.assert_nothing_forgotten();
        }
    }
}

/// Those that failed are sent apart, unless they are so many that the webhook is to blame; and only what a single one is
/// to blame for holds nobody off.
#[test]
fn a_few_events_that_fail_are_kept_apart_from_newer_ones() {
    use EventOutcome::{Delivered, Failed, Rejected, Retry, Unknown};
    // The first events of a body, and the others; how many are set aside, how many failures are waited after, and how
    // many events are sent next.
    for (first, others, size, set_aside, waits, next) in [
        (&[Failed][..], Delivered, 5, 1, 0, 1),
        (&[Failed], Delivered, 20, 1, 0, 1),
        (&[Failed, Failed], Delivered, 20, 0, 1, 2),
        (&[Failed, Failed, Failed], Delivered, 20, 0, 1, 20),
        (&[Failed, Retry], Delivered, 20, 1, 1, 1),
        (&[Failed, Unknown], Delivered, 20, 1, 1, 1),
        (&[Failed], Rejected, 20, 1, 1, 1),
    ] {
        let body = Extent {
            events: size,
            ..settings().body
        };
        let limited = Settings { body, ..settings() };
        let mut simulation = Simulation::with(limited, 2 * size);
        let mut is_first = true;
        simulation.run_until(MAX, |_| {
            if !std::mem::take(&mut is_first) {
                return (Outcome::Delivered, QUICK);
            }
            let rest = vec![others; size - first.len()];
            (partial([first, &rest].concat()), QUICK)
        });
        let found = (
            simulation.set_aside,
            simulation.delays.len(),
            simulation.requests[1].seqs.len(),
        );
        assert_eq!(found, (set_aside, waits, next), "{first:?} of {size}");
    }
}

/// The others of its body have passed since.
#[test]
fn only_an_event_that_fails_is_trouble_before_its_body_has_passed() {
    use EventOutcome::{Delivered, Failed, Retry, Unknown};
    for (outcome, trouble) in [
        (Failed, Some(0)),
        // What is put off, or may have arrived, is a failure of the webhook after what it took.
        (Unknown, Some(1)),
        (Retry, None),
        (Delivered, None),
    ] {
        let (mut delivery, flight) = in_flight(terms());
        let outcomes = partial(vec![Delivered, outcome, Delivered]);
        delivery.on(flight, outcomes, QUICK, Instant::now());
        assert_eq!(
            (delivery.trouble, delivery.passes),
            (trouble, 1),
            "{outcome:?}"
        );
    }
}

#[test]
fn what_may_have_arrived_of_a_body_is_counted_when_it_is_sent_again() {
    let mut simulation = Simulation::new(9);
    let mut is_first = true;
    simulation.run_until(MAX, |request| {
        if !std::mem::take(&mut is_first) {
            return (Outcome::Delivered, QUICK);
        }
        let outcome = |seq: &Seq| match seq {
            0..5 => EventOutcome::Delivered,
            5 => EventOutcome::Retry,
            _ => EventOutcome::Unknown,
        };
        (partial(request.seqs.iter().map(outcome).collect()), QUICK)
    });
    assert!(simulation.delivered_all_but(&[]));
    assert_eq!(simulation.redelivered, 3);
}

#[test]
fn events_that_are_put_off_again_and_again_keep_no_others_waiting() {
    let mut simulation = Simulation::new(2000);
    simulation.arrivals = (0..2000)
        .map(|event| Duration::from_millis(event * 10))
        .collect();
    simulation.run_until(Duration::from_secs(30), |request| {
        let outcome = |seq: &Seq| match seq % 100 {
            0 => EventOutcome::Retry,
            _ => EventOutcome::Delivered,
        };
        let outcomes: Vec<_> = request.seqs.iter().map(outcome).collect();
        match outcomes
            .iter()
            .all(|outcome| *outcome == EventOutcome::Delivered)
        {
            true => (Outcome::Delivered, QUICK),
            false => (partial(outcomes), QUICK),
        }
    });
    assert_eq!(simulation.delivered.len(), 1980);
    assert!(simulation.rejected.is_empty());
    assert!(simulation.latest() < Duration::from_secs(5));
}

/// The same, said as simply as the webhook's side does.
fn answer(events: Vec<EventOutcome>) -> Outcome {
    let all = |outcome| events.iter().all(|event| *event == outcome);
    match (all(EventOutcome::Delivered), all(EventOutcome::Failed)) {
        (true, _) => Outcome::Delivered,
        (_, true) => failed(Cause::Answer),
        _ => partial(events),
    }
}

/// So many events come at this distance. Of those before `last`, one in `share` fails whatever it is sent with.
fn some_fail(
    settings: Settings,
    (events, gap): (u64, Duration),
    share: Seq,
    last: Seq,
) -> Simulation {
    let mut simulation = Simulation::with(settings, events as usize);
    simulation.arrivals = (0..events).map(|event| gap * event as u32).collect();
    let limit = gap * events as u32 + Duration::from_secs(60);
    simulation.run_until(limit, |request| {
        let outcome = |seq: &Seq| match seq % share {
            0 if *seq < last => EventOutcome::Failed,
            _ => EventOutcome::Delivered,
        };
        (answer(request.seqs.iter().map(outcome).collect()), QUICK)
    });
    simulation
}

#[test]
fn an_event_that_fails_whenever_others_of_its_body_pass_is_rejected() {
    for share in [1000, 300] {
        let stream = (20_000, Duration::from_millis(10));
        let simulation = some_fail(settings(), stream, share, 1500);
        let poison: Vec<Seq> = (0..1500).step_by(share as usize).collect();
        assert!(simulation.delivered_all_but(&poison), "{share}");
        assert!(simulation.rejected.keys().eq(&poison), "{share}");
        assert!(simulation.latest() < Duration::from_secs(5), "{share}");
        let requests = simulation.requests.len();
        assert!(requests < 220 + 25 * poison.len(), "{share}: {requests}");
    }
}

#[test]
fn a_share_of_events_that_always_fails_holds_nobody_up() {
    for (share, connections) in [(1000, 1), (300, 1), (1000, 4), (300, 4)] {
        let settings = Settings {
            connections,
            ..settings()
        };
        let stream = (30_000, Duration::from_millis(2));
        let simulation = some_fail(settings, stream, share, Seq::MAX);
        let poison: Vec<Seq> = (0..30_000).step_by(share as usize).collect();
        let place = format!("one in {share}, {connections}");
        assert!(simulation.delivered_all_but(&poison), "{place}");
        assert!(simulation.latest() < Duration::from_secs(20), "{place}");
        assert!(simulation.rejected.len() > poison.len() / 4, "{place}");
    }
}

#[test]
fn an_event_that_failed_is_set_aside_unless_that_was_another_webhook() {
    for is_late in [false, true] {
        let (mut delivery, flight) = in_flight(terms());
        if is_late {
            delivery.retarget(2, terms());
        }
        let (passed, failed) = (EventOutcome::Delivered, EventOutcome::Failed);
        let outcome = partial(vec![passed, failed, passed]);
        delivery.on(flight, outcome, QUICK, Instant::now());
        let aside = (delivery.suspects.len(), delivery.fresh.extent().events);
        assert_eq!(aside, if is_late { (0, 1) } else { (1, 0) });
    }
}

#[test]
fn what_another_webhook_says_of_each_event_is_no_pass_and_no_failure_of_this_one() {
    use EventOutcome::{Delivered, Failed, Rejected, Retry, Unknown};
    for outcome in [Failed, Rejected, Retry, Unknown] {
        let (mut delivery, flight) = in_flight(terms());
        delivery.retarget(2, terms());
        let outcomes = partial(vec![Delivered, outcome, Delivered]);
        let now = Instant::now();
        let effects = delivery.on(flight, outcomes, QUICK, now);
        let is_delivered =
            matches!(&effects[..], [Effect::Delivered(batch)] if batch.extent().events == 2);
        assert!(is_delivered, "{outcome:?}: {effects:?}");
        let known = (delivery.passes, delivery.failed_in_a_row, delivery.trouble);
        assert_eq!(known, (0, 0, None), "{outcome:?}");
        let wait = delivery.waits_for(0, now);
        assert_eq!(
            (wait, delivery.buffered()),
            (Duration::ZERO, 1),
            "{outcome:?}"
        );
    }
}

#[test]
fn events_that_fail_by_chance_in_bodies_that_pass_are_not_rejected() {
    for percent in [1, 5, 20, 50, 90] {
        let mut simulation = Simulation::new(20_000);
        simulation.arrivals = (0..20_000)
            .map(|event| Duration::from_millis(event * 20))
            .collect();
        let mut state = percent;
        simulation.run_until(Duration::from_secs(3600), |request| {
            let mut outcome = |_: &Seq| match random(&mut state) % 100 < percent {
                true => EventOutcome::Failed,
                false => EventOutcome::Delivered,
            };
            (
                answer(request.seqs.iter().map(&mut outcome).collect()),
                QUICK,
            )
        });
        assert!(simulation.rejected.is_empty(), "{percent} %");
        assert!(simulation.delivered_all_but(&[]), "{percent} %");
    }
}
