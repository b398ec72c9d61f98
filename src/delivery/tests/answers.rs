//! What follows from one answer.

use super::parts::partial;
use super::*;
use crate::delivery::attempt::{Airborne, Attempt, Launch};
use crate::delivery::doubt::Doubt;
use crate::delivery::outcome::EventOutcome;
use crate::delivery::posted::{CHANGED, MOVED};

fn events() -> Attempt {
    Attempt::from(Batch::of(b"{}\n{}\n{}\n"))
}

/// Why they may have arrived.
fn reason(attempt: &Attempt) -> Option<&str> {
    attempt.doubt.as_ref().map(|doubt| &*doubt.why)
}

/// Three events are in flight.
pub(super) fn in_flight(terms: Terms) -> (Delivery, Box<Flight>) {
    let settings = Settings {
        connections: 2,
        ..settings()
    };
    let mut delivery = Delivery::new(settings, Backoff::new(MIN, MIN, 7));
    delivery.retarget(1, terms);
    delivery.retry.push_back(events());
    match delivery.next(0, Instant::now()) {
        Step::Send(flight) => (delivery, flight),
        step => panic!("{step:?}"),
    }
}

fn splunk() -> Terms {
    Terms {
        ack_timeout: Some(MAX),
        ..terms()
    }
}

#[test]
fn what_the_previous_target_has_taken_is_delivered() {
    let accepted = || Outcome::Accepted(0);
    let failed = || failed(Cause::Answer);
    let third = || {
        Outcome::Rejected(DeliveryError {
            wrong: Some(2),
            ..DeliveryError::transient(Cause::Answer, "HTTP 400")
        })
    };
    for (is_installed, outcome, delivered, doubt) in [
        (true, Outcome::Delivered, 3, None),
        (true, accepted(), 0, Some(CHANGED)),
        (true, failed(), 0, None),
        (true, rejected(), 0, None),
        (true, third(), 0, Some("HTTP 400")),
        (false, Outcome::Delivered, 3, None),
        (false, accepted(), 0, Some(CHANGED)),
        (false, failed(), 0, None),
        (false, rejected(), 0, None),
        (false, third(), 0, Some("HTTP 400")),
    ] {
        let (mut delivery, mut flight) = in_flight(terms());
        match is_installed {
            true => assert!(delivery.retarget(2, terms())),
            false => flight.outdated(),
        }
        let effects = delivery.on(flight, outcome, QUICK, Instant::now());
        let events = effects.iter().map(|effect| match effect {
            Effect::Delivered(batch) => batch.extent().events,
            _ => 0,
        });
        assert_eq!(events.sum::<usize>(), delivered);
        assert!(!is_restored(&effects), "nothing is known of this one");
        assert_eq!(delivery.buffered(), 3 - delivered);
        let attempt = delivery.retry.front();
        assert_eq!(attempt.and_then(reason), doubt);
        assert_eq!(delivery.suspects.len(), 0, "{is_installed}");
    }
}

/// A sender had nowhere to send it.
#[test]
fn what_was_not_sent_is_as_doubtful_as_before() {
    let (mut delivery, mut flight) = in_flight(terms());
    flight.attempt.doubt = Doubt::of(flight.batch().seqs(), MOVED);
    delivery.wakes_others();
    delivery.unsent(flight);
    let attempt = delivery.retry.front().unwrap();
    assert_eq!(reason(attempt), Some(MOVED));
    assert_eq!((delivery.buffered(), delivery.in_flight.len()), (3, 0));
    assert!(delivery.wakes_others());
}

#[test]
fn other_senders_look_again_unless_all_is_well() {
    for (has_failed, has_ended, outcome, wakes) in [
        (false, false, Outcome::Delivered, false),
        (true, false, Outcome::Delivered, true),
        (false, true, Outcome::Delivered, true),
        (false, false, rejected(), true),
    ] {
        let (mut delivery, flight) = in_flight(terms());
        delivery.wakes_others();
        delivery.has_ended = has_ended;
        if has_failed {
            let mut attempt = events();
            attempt.failures = 1;
            delivery.retry.push_back(attempt);
        }
        let place = format!("{has_failed} {has_ended} {outcome:?}");
        delivery.on(flight, outcome, QUICK, Instant::now());
        assert_eq!(delivery.wakes_others(), wakes, "{place}");
    }
}

/// Whether an outage is over.
fn is_restored(effects: &[Effect]) -> bool {
    let mut effects = effects.iter();
    effects.any(|effect| matches!(effect, Effect::Passed))
}

#[test]
fn what_is_taken_ends_an_outage_unless_splunk_acknowledges_nothing() {
    for (terms, outcome, is_distrusted) in [
        (terms(), Outcome::Delivered, false),
        (splunk(), Outcome::Accepted(0), false),
        (splunk(), Outcome::Accepted(0), true),
    ] {
        let (mut delivery, flight) = in_flight(terms);
        distrust(&mut delivery, is_distrusted);
        delivery.failed_in_a_row = 1;
        let effects = delivery.on(flight, outcome, QUICK, Instant::now());
        assert_eq!(is_restored(&effects), !is_distrusted);
        assert_eq!(delivery.failed_in_a_row, u32::from(is_distrusted));
    }
}

#[test]
fn an_acknowledgement_of_what_was_posted_before_does_not_end_an_outage() {
    for is_distrusted in [false, true] {
        let (mut delivery, flight) = in_flight(splunk());
        let now = Instant::now();
        delivery.on(flight, Outcome::Accepted(0), QUICK, now);
        let query = delivery.posted.due(0, now + MAX).unwrap();
        distrust(&mut delivery, is_distrusted);
        delivery.failed_in_a_row = 1;
        let effects = delivery.asked(&query, Ok(vec![0]), QUICK, now);
        assert_eq!(is_restored(&effects), is_distrusted);
        assert_eq!(delivery.failed_in_a_row, u32::from(!is_distrusted));
    }
}

#[test]
fn what_another_server_has_taken_is_sent_again() {
    let (mut delivery, flight) = in_flight(splunk());
    delivery.on(flight, Outcome::Accepted(0), QUICK, Instant::now());
    for (sender, posted) in [(1, 3), (0, 0)] {
        delivery.moved(sender, 0);
        assert_eq!((delivery.posted(), delivery.buffered()), (posted, 3));
    }
    let attempt = delivery.retry.pop_front().unwrap();
    assert_eq!(reason(&attempt), Some(MOVED));
}

#[test]
fn events_are_open_wherever_they_are() {
    let (flying, _) = in_flight(terms());
    let empty = || Delivery::new(settings(), Backoff::new(MIN, MIN, 7));
    let [mut fresh, mut retry, mut suspect] = [empty(), empty(), empty()];
    fresh.fresh = events().batch;
    retry.retry.push_back(events());
    suspect.set_aside(None, events(), "no", Instant::now());
    for delivery in [flying, fresh, retry, suspect] {
        assert!(delivery.is_open(&(2..5)) && !delivery.is_open(&(3..5)));
    }
    assert!(!empty().is_open(&(0..5)));
}

#[test]
fn only_what_forbids_queries_is_an_outage() {
    for (cause, is_outage, is_reported) in [
        (Cause::Aborted, false, false),
        (Cause::Answer, false, true),
        (Cause::Settings, true, true),
    ] {
        let (mut delivery, flight) = in_flight(splunk());
        let (launch, now) = (flight.launch, Instant::now());
        delivery.on(flight, Outcome::Accepted(0), QUICK, now);
        // One more failure, and not a part of this one.
        delivery.count_failure(launch);
        let query = delivery.posted.due(0, now + MAX).unwrap();
        let error = Err(DeliveryError::transient(cause, "no"));
        let effects = delivery.asked(&query, error, QUICK, now);
        let failures: Vec<_> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Failed(_, delay) => Some((true, *delay)),
                Effect::QueryFailed(_) => Some((false, MIN)),
                Effect::EndpointFailed(..) => None,
                effect => panic!("{effect:?}"),
            })
            .collect();
        assert_eq!(failures, [(is_outage, MIN)][usize::from(!is_reported)..]);
        assert_eq!(delivery.posted.distrusts(0), is_outage, "{cause:?}");
        assert_eq!(delivery.posted.events() == 0, is_outage);
    }
}

/// The same of two endpoints, and the event is a suspect that had its last chance.
fn suspect_at_two_endpoints(now: Instant) -> (Delivery, Box<Flight>) {
    let policy = Policy {
        endpoints: 2,
        ..Policy::default()
    };
    let (mut delivery, _) = in_flight(Terms { policy, ..terms() });
    delivery.in_flight.clear();
    let one = Attempt::from(Batch::of(b"{}\n"));
    delivery.set_aside(None, one, "no", now);
    delivery.suspects[0].had_last_chance = true;
    delivery.failed_in_a_row = 2;
    match delivery.next(0, now) {
        Step::Send(flight) => (delivery, flight),
        step => panic!("{step:?}"),
    }
}

#[test]
fn a_suspect_goes_to_another_endpoint_at_once() {
    let now = Instant::now();
    let (mut delivery, flight) = suspect_at_two_endpoints(now);
    assert_eq!(flight.endpoint(), 0);
    let effects = delivery.on(flight, failed(Cause::Unreachable), QUICK, now);
    assert!(matches!(effects[..], [Effect::EndpointFailed(0, _)]));
    let suspect = &delivery.suspects[0];
    assert_eq!((suspect.due, suspect.had_last_chance), (now, false));
    assert_eq!(delivery.route.pick(0, now, |_| true), Some(1));
}

#[test]
fn the_agents_own_end_of_a_request_says_nothing_of_the_endpoint() {
    let now = Instant::now();
    let (mut delivery, flight) = suspect_at_two_endpoints(now);
    assert!(
        delivery
            .on(flight, failed(Cause::Aborted), QUICK, now)
            .is_empty()
    );
    assert_eq!(delivery.route.pick(0, now, |_| true), Some(0));
}

#[test]
fn what_may_have_arrived_is_reported_when_it_is_sent_again() {
    for (outcome, is_reported, doubt) in [
        (Outcome::Delivered, true, None),
        (rejected(), true, None),
        (failed(Cause::Answer), true, None),
        (failed(Cause::Timeout), true, Some("Timeout")),
        // Nothing was sent.
        (failed(Cause::Unreachable), false, Some("before")),
    ] {
        let (mut delivery, mut flight) = in_flight(terms());
        flight.attempt.doubt = Doubt::of(flight.batch().seqs(), "before");
        let name = format!("{outcome:?}");
        let effects = delivery.on(flight, outcome, QUICK, Instant::now());
        let reports = effects.iter().filter_map(|effect| match effect {
            Effect::Redelivered(events, doubt) => Some((*events, doubt.as_str())),
            _ => None,
        });
        let expected = [(3, "before")];
        assert_eq!(
            reports.collect::<Vec<_>>(),
            expected[usize::from(!is_reported)..],
            "{name}"
        );
        let attempt = delivery.retry.front();
        assert_eq!(attempt.and_then(reason), doubt, "{name}");
    }
}

#[test]
fn while_others_pass_halves_are_tried_after_the_other_half_of_the_whole() {
    for (outcome, other_family, expected) in [
        (failed(Cause::Answer), 7, [3, 1, 2]),
        (failed(Cause::Answer), 6, [1, 2, 3]),
        (rejected(), 7, [1, 2, 3]),
    ] {
        let (mut delivery, mut flight) = in_flight(terms());
        flight.attempt.family = 7;
        let mut other = events();
        other.family = other_family;
        delivery.retry.push_back(other);
        (delivery.trouble, delivery.passes, delivery.family) = (Some(0), 1, 7);
        let name = format!("{outcome:?} {other_family}");
        delivery.on(flight, outcome, QUICK, Instant::now());
        let events = delivery.retry.iter().map(|it| it.batch.extent().events);
        assert_eq!(events.collect::<Vec<_>>(), expected, "{name}");
        let of_halves = |it: &&Attempt| it.family == 8;
        assert_eq!(delivery.retry.iter().filter(of_halves).count(), 2);
    }
}

#[test]
fn only_after_a_success_the_body_made_ahead_is_the_next() {
    for (outcome, events) in [
        (Outcome::Delivered, Some(5)),
        (Outcome::Accepted(0), Some(5)),
        (failed(Cause::Answer), None),
        (rejected(), None),
    ] {
        let (mut delivery, flight) = in_flight(terms());
        delivery.ahead.begin(5);
        delivery.on(flight, outcome, QUICK, Instant::now());
        assert_eq!(delivery.ahead.events(), events);
    }
}

#[test]
fn a_failure_that_is_part_of_another_one_makes_nobody_wait_longer() {
    for (is_part, delay) in [(false, MIN), (true, Duration::ZERO)] {
        let (mut delivery, flight) = in_flight(terms());
        if is_part {
            delivery.count_failure(flight.launch);
        }
        let now = Instant::now();
        let effects = delivery.on(flight, failed(Cause::Unreachable), QUICK, now);
        let is_told = matches!(effects.last(), Some(Effect::Failed(_, it)) if *it == delay);
        assert!(is_told, "{effects:?}");
        assert_eq!(delivery.waits_for(0, now), delay);
    }
}

#[test]
fn who_rejects_one_event_after_the_other_gets_another_one_and_then_fewer() {
    for (outcome, rejected_before, others_fly, stops, wants_other, waits) in [
        (rejected(), 1, 0, false, false, false),
        (rejected(), 2, 0, false, true, false),
        (rejected(), 3, 0, false, true, true),
        (rejected(), 4, 0, false, true, true),
        (rejected(), 3, 1, false, true, false),
        (rejected(), 4, 1, false, true, true),
        // What is tried in a hurry at the end would be lost, too.
        (rejected(), 3, 0, true, true, true),
        (
            partial(vec![EventOutcome::Rejected]),
            3,
            0,
            false,
            true,
            true,
        ),
    ] {
        let (mut delivery, mut flight) = in_flight(terms());
        flight.attempt.batch = Batch::of(b"{}\n");
        delivery.rejected_in_a_row = rejected_before;
        for _ in 0..others_fly {
            delivery.in_flight.push(Airborne {
                launch: Launch::default(),
                seqs: Vec::new(),
            });
        }
        if stops {
            delivery.stop(Instant::now());
        }
        let now = Instant::now();
        let effects = delivery.on(flight, outcome, QUICK, now);
        let wait = delivery.waits_for(0, now);
        let place = format!("{rejected_before} {others_fly}");
        let got = (delivery.wants_other, !wait.is_zero());
        assert_eq!(got, (wants_other, waits), "{place}");
        let told = effects.iter().find_map(|effect| match effect {
            Effect::Failed(error, delay) => Some((&*error.message, *delay)),
            _ => None,
        });
        let expected = "each event is rejected: ";
        assert_eq!(told.is_some(), waits, "{place}");
        assert!(
            told.is_none_or(|(text, delay)| text.starts_with(expected) && delay == wait),
            "{told:?}"
        );
    }
}

/// Else a webhook that refuses all for a while would cost whole bodies.
#[test]
fn events_of_a_body_that_are_all_rejected_are_divided_first() {
    use EventOutcome::{Delivered, Rejected, Retry};
    for (events, lost) in [
        (vec![Rejected; 8], 0),
        (vec![Rejected, Rejected, Retry], 0),
        (vec![Rejected, Retry], 1),
        (vec![Rejected, Rejected, Delivered], 2),
    ] {
        let (mut delivery, mut flight) = in_flight(terms());
        let count = events.len();
        flight.attempt.batch = Batch::of(&b"{}\n".repeat(count));
        let passed = events.iter().filter(|event| **event == Delivered).count();
        let now = Instant::now();
        let effects = delivery.on(flight, partial(events.clone()), QUICK, now);
        let rejected = effects.iter().map(|effect| match effect {
            Effect::Rejected(batch, _) => batch.extent().events,
            _ => 0,
        });
        assert_eq!(rejected.sum::<usize>(), lost, "{events:?}");
        assert_eq!(delivery.buffered(), count - lost - passed, "{events:?}");
    }
}

/// Splunk has taken those before the one that it names.
#[test]
fn a_body_is_divided_where_the_webhook_says() {
    for (at, halves, redelivered) in [
        (None, [5, 5], 0),
        (Some(0), [1, 9], 0),
        (Some(1), [1, 9], 1),
        (Some(7), [7, 3], 7),
        (Some(9), [9, 1], 9),
        (Some(10), [5, 5], 0),
    ] {
        let (mut delivery, mut flight) = in_flight(terms());
        flight.attempt.batch = Batch::of(&b"{}\n".repeat(10));
        let error = DeliveryError {
            wrong: at,
            ..DeliveryError::transient(Cause::Answer, "HTTP 400")
        };
        let now = Instant::now();
        delivery.on(flight, Outcome::Rejected(error), QUICK, now);
        let (mut sizes, mut again) = (Vec::new(), 0);
        for _ in 0..2 {
            let Step::Send(half) = delivery.next(0, now) else {
                panic!("{at:?}: not sent")
            };
            sizes.push(half.batch().extent().events);
            let effects = delivery.on(half, Outcome::Delivered, QUICK, now);
            again += effects.iter().fold(0, |sum, effect| match effect {
                Effect::Redelivered(events, _) => sum + events,
                _ => sum,
            });
        }
        assert_eq!((sizes, again), (halves.to_vec(), redelivered), "{at:?}");
    }
}

/// Whatever is wrong with it; and what is before it is sent again with the rest.
#[test]
fn what_is_before_a_wrong_event_may_have_arrived() {
    for cause in [Cause::Settings, Cause::Answer] {
        for (at, redelivered) in [
            (None, 0),
            (Some(0), 0),
            (Some(7), 7),
            (Some(9), 9),
            (Some(10), 0),
        ] {
            let (mut delivery, mut flight) = in_flight(terms());
            flight.attempt.batch = Batch::of(&b"{}\n".repeat(10));
            let error = DeliveryError {
                wrong: at,
                ..DeliveryError::transient(cause, "HTTP 400")
            };
            let now = Instant::now();
            delivery.on(flight, Outcome::Failed(error), QUICK, now);
            let again = sent(delivery.next(0, now + MAX));
            assert_eq!(again.batch().extent().events, 10);
            let effects = delivery.on(again, Outcome::Delivered, QUICK, now + MAX);
            let counts = effects.iter().filter_map(|effect| match effect {
                Effect::Redelivered(events, _) => Some(events),
                _ => None,
            });
            assert_eq!(counts.sum::<usize>(), redelivered, "{cause:?} {at:?}");
        }
    }
}

#[test]
fn bodies_begin_small_after_an_outage_of_what_was_reached() {
    for (cause, failures, is_growing) in [
        (Cause::Unreachable, 5, false),
        (Cause::Settings, 0, false),
        (Cause::Settings, 5, true),
        (Cause::Answer, 0, false),
        (Cause::Answer, 5, true),
    ] {
        let (mut delivery, flight) = in_flight(terms());
        delivery.failed_in_a_row = failures;
        delivery.on(flight, failed(cause), QUICK, Instant::now());
        assert_eq!(delivery.size.is_growing(), is_growing, "{cause:?}");
    }
}
