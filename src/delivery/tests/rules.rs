//! Batching, backoff, outages, stop and changed settings.

use super::*;

fn ok(_: &Request) -> (Outcome, Duration) {
    (Outcome::Delivered, QUICK)
}

#[test]
fn a_body_is_sent_when_it_is_full_or_its_oldest_event_is_old_enough() {
    let mut few = Simulation::new(3);
    few.arrivals = [0, 400, 5000].map(Duration::from_millis).to_vec();
    few.run_until(MAX, ok);
    let sent: Vec<_> = few
        .requests
        .iter()
        .map(|request| request.seqs.len())
        .collect();
    assert_eq!(sent, [2, 1]);
    assert_eq!(
        few.requests[0].at,
        Duration::from_secs(1),
        "the oldest waits a second"
    );

    let mut many = Simulation::new(2500);
    many.run_until(MAX, ok);
    let full = (1 << 20) / 1000;
    let sent: Vec<_> = many
        .requests
        .iter()
        .map(|request| request.seqs.len())
        .collect();
    assert_eq!(sent, [full, full, 2500 - 2 * full]);
    assert_eq!(many.requests[1].at, QUICK, "full ones do not wait");
}

/// In the long run: each body waits until those before it are within the rate, those that failed, too.
#[test]
fn no_more_is_sent_a_second_than_the_rate() {
    for connections in [1, 4] {
        let body = Extent {
            events: 100,
            bytes: 5000,
        };
        let settings = Settings {
            rate: 10_000,
            body,
            connections,
            ..settings()
        };
        let mut simulation = Simulation::with(settings, 100);
        let mut requests = 0;
        simulation.run_until(MAX, |_| {
            requests += 1;
            let outcome = match requests {
                3 => failed(Cause::Answer),
                _ => Outcome::Delivered,
            };
            (outcome, QUICK)
        });
        assert!(simulation.delivered_all_but(&[]));
        let mut sent = 0;
        for request in &simulation.requests {
            let least = Duration::from_millis(sent / 10);
            assert!(request.at >= least, "{sent} bytes before {:?}", request.at);
            sent += 1000 * request.seqs.len() as u64;
        }
        let last = simulation.requests.last().unwrap();
        assert!(last.at < Duration::from_secs(12), "{:?}", last.at);
        // What is over is over.
        assert!(simulation.elapsed() <= last.at + QUICK);
    }
}

#[test]
fn what_waits_for_the_rate_is_not_taken_from_the_queue_by_others() {
    let mut delivery = Delivery::new(
        Settings {
            rate: 1000,
            age: Duration::ZERO,
            ..settings()
        },
        Backoff::new(MIN, MAX, 7),
    );
    delivery.retarget(1, terms());
    let now = Instant::now();
    let mut simulation = Simulation::new(2);
    let mut collect = |delivery: &mut Delivery| {
        let step = delivery.next(0, now);
        assert!(matches!(step, Step::Collect { .. }), "{step:?}");
        delivery.collected(Some(simulation.run(1)), now);
    };
    collect(&mut delivery);
    let mut step = delivery.next(0, now);
    while let Step::Collect { .. } = step {
        delivery.collected(None, now);
        step = delivery.next(0, now);
    }
    let flight = sent(step);
    delivery.on(flight, Outcome::Delivered, QUICK, now);
    collect(&mut delivery);
    let second = Duration::from_secs(1);
    for (at, is_sent) in [
        (now, false),
        (now + second / 2, false),
        (now + second, true),
    ] {
        match delivery.next(0, at) {
            Step::Wait(until) => assert_eq!(until, Some(now + second)),
            Step::Collect { .. } if is_sent => {
                delivery.collected(None, at);
                sent(delivery.next(0, at));
            }
            step => assert!(is_sent, "{step:?}"),
        }
    }
}

#[test]
fn events_of_a_body_are_bounded_too() {
    let body = Extent {
        events: 10,
        bytes: 1 << 20,
    };
    let mut simulation = Simulation::with(Settings { body, ..settings() }, 25);
    simulation.run_until(MAX, ok);
    assert!(
        simulation
            .requests
            .iter()
            .all(|request| request.seqs.len() <= 10)
    );
    assert!(simulation.delivered_all_but(&[]));
}

#[test]
fn without_age_what_is_there_is_sent_at_once() {
    let settings = Settings {
        age: Duration::ZERO,
        ..settings()
    };
    let mut simulation = Simulation::with(settings, 3);
    simulation.arrivals = [0, 10, 20].map(Duration::from_millis).to_vec();
    simulation.run_until(MAX, ok);
    assert_eq!(simulation.requests.len(), 3);
}

#[test]
fn a_webhook_that_fails_everything_loses_nothing_and_is_asked_with_one_event_per_backoff() {
    for cause in [
        Cause::Answer,
        Cause::Disconnected,
        Cause::Settings,
        Cause::Unreachable,
        Cause::Timeout,
    ] {
        let mut simulation = Simulation::new(1000);
        let half_a_day = Duration::from_secs(43_200);
        simulation.run_until(half_a_day, |_| (failed(cause), QUICK));
        assert!(simulation.rejected.is_empty() && simulation.delivered.is_empty());
        simulation.assert_nothing_forgotten();
        let later = &simulation.requests[5..];
        assert!(
            later.iter().all(|request| request.seqs.len() == 1),
            "{cause:?}"
        );
        let different: BTreeSet<_> = later.iter().map(|request| request.seqs[0]).collect();
        match cause {
            Cause::Unreachable => assert_eq!(different.len(), 1, "{cause:?}"),
            // The event may be to blame.
            _ => assert!(different.len() > 500, "{cause:?}: {}", different.len()),
        }
        let pause = |pair: &[Request]| pair[1].at - pair[0].at;
        assert!(later.windows(2).all(|pair| pause(pair) >= MIN));
        assert!(
            later.len() > 2000,
            "it is asked again and again: {}",
            later.len()
        );
        // When the webhook is back, it has all of them within moments.
        let back = simulation.elapsed();
        simulation.run_until(back + MAX * 2, ok);
        assert!(simulation.delivered_all_but(&[]), "{cause:?}");
    }
}

#[test]
fn delays_grow_to_the_limit_and_begin_anew_after_success() {
    let mut simulation = Simulation::new(1);
    simulation.run_until(Duration::from_secs(3600), |_| {
        (failed(Cause::Answer), QUICK)
    });
    assert!(simulation.delays[0] >= MIN && simulation.delays[0] <= 2 * MIN);
    assert!(
        simulation
            .delays
            .iter()
            .all(|delay| *delay >= MIN && *delay <= MAX)
    );
    let late = &simulation.delays[8..];
    assert!(late.iter().sum::<Duration>() / late.len() as u32 > MAX / 3);
}

#[test]
fn what_the_webhook_asks_for_is_waited_for_within_the_limits() {
    for (asked, least, most) in [(7, 7, 10), (0, 0, 1), (3600, 22, 30)] {
        let mut simulation = Simulation::new(1);
        let error = DeliveryError {
            retry_after: Some(Duration::from_secs(asked)),
            ..DeliveryError::transient(Cause::Answer, "busy")
        };
        let mut outcomes = vec![Outcome::Delivered, Outcome::Failed(error)];
        simulation.run_until(MAX * 2, |_| (outcomes.pop().unwrap(), QUICK));
        let delay = simulation.delays[0];
        assert!(
            delay >= Duration::from_secs(least).max(MIN),
            "{asked}: {delay:?}"
        );
        assert!(delay <= Duration::from_secs(most), "{asked}: {delay:?}");
    }
}

#[test]
fn a_passing_failure_costs_one_more_request_with_the_same_body() {
    let mut simulation = Simulation::new(100);
    let mut outcomes = vec![Outcome::Delivered, failed(Cause::Answer)];
    simulation.run_until(MAX, |_| (outcomes.pop().unwrap(), QUICK));
    assert_eq!(simulation.requests.len(), 2);
    assert_eq!(simulation.requests[0].seqs, simulation.requests[1].seqs);
    assert!(simulation.delivered_all_but(&[]));
}

#[test]
fn events_that_may_have_arrived_are_counted_when_they_are_sent_again() {
    for (cause, redelivered) in [
        (Cause::Disconnected, 100),
        (Cause::Timeout, 100),
        (Cause::Answer, 0),
        (Cause::Unreachable, 0),
    ] {
        let mut simulation = Simulation::new(100);
        let mut first = true;
        simulation.run_until(MAX * 2, |_| match std::mem::take(&mut first) {
            true => (failed(cause), QUICK),
            false => (Outcome::Delivered, QUICK),
        });
        assert_eq!(simulation.redelivered, redelivered, "{cause:?}");
        assert!(simulation.delivered_all_but(&[]));
    }
}

#[test]
fn events_that_met_an_answer_that_is_not_http_may_have_arrived_too() {
    let mut simulation = Simulation::new(100);
    let mut first = true;
    simulation.run_until(MAX * 2, |_| match std::mem::take(&mut first) {
        true => {
            let error = DeliveryError::permanent("not HTTP", "check the --endpoint");
            let error = DeliveryError {
                may_have_arrived: true,
                ..error
            };
            (Outcome::Failed(error), QUICK)
        }
        false => (Outcome::Delivered, QUICK),
    });
    assert_eq!(simulation.redelivered, 100);
    assert!(simulation.delivered_all_but(&[]));
}

#[test]
fn a_stop_is_answered_by_one_more_request_at_once() {
    let mut simulation = Simulation::new(100);
    simulation.stop_at = Some(Duration::from_secs(600));
    simulation.run_until(Duration::from_secs(605), |_| {
        (failed(Cause::Unreachable), QUICK)
    });
    let after: Vec<_> = simulation
        .requests
        .iter()
        .filter(|request| request.at >= Duration::from_secs(600))
        .collect();
    assert!(
        !after.is_empty() && after[0].at == Duration::from_secs(600),
        "{after:?}"
    );
    assert!(after.len() <= 4, "and the others wait: {}", after.len());
    simulation.assert_nothing_forgotten();
}

#[test]
fn a_stop_drains_what_is_there() {
    let mut simulation = Simulation::new(5000);
    simulation.stop_at = Some(Duration::ZERO);
    simulation.arrivals = vec![Duration::ZERO; 5000];
    simulation.run_until(MAX, ok);
    assert_eq!(simulation.delivered.len(), simulation.taken);
    simulation.assert_nothing_forgotten();
}

#[test]
fn the_agents_own_end_of_a_request_is_no_failure() {
    let mut simulation = Simulation::new(10);
    let mut outcomes = vec![Outcome::Delivered, failed(Cause::Aborted)];
    simulation.run_until(MAX, |_| (outcomes.pop().unwrap(), QUICK));
    assert!(simulation.delays.is_empty() && simulation.redelivered == 0);
    assert!(simulation.delivered_all_but(&[]));
}

#[test]
fn another_target_is_asked_at_once_and_without_prejudice() {
    let mut simulation = Simulation::new(1000);
    simulation.run_until(Duration::from_secs(300), |_| (failed(Cause::Answer), QUICK));
    simulation.delivery.retarget(
        2,
        Terms {
            max_events: 600,
            ..terms()
        },
    );
    let (before, at) = (simulation.requests.len(), simulation.elapsed());
    simulation.run_until(at + MAX, ok);
    let sent: Vec<_> = simulation.requests[before..]
        .iter()
        .map(|request| request.seqs.len())
        .collect();
    assert_eq!(sent, [600, 400]);
    assert_eq!(simulation.requests[before].at, at);
}

#[test]
fn a_rejected_event_is_found_by_halving_and_costs_itself_only() {
    for culprit in [0, 1, 499, 998, 999] {
        let mut simulation = Simulation::new(1000);
        simulation.run_until(MAX, |request| match request.seqs.contains(&culprit) {
            true => (rejected(), QUICK),
            false => (Outcome::Delivered, QUICK),
        });
        assert_eq!(
            simulation.rejected.keys().copied().collect::<Vec<_>>(),
            [culprit]
        );
        assert_eq!(simulation.rejected[&culprit], "HTTP 400");
        assert!(simulation.delivered_all_but(&[culprit]));
        assert!(
            simulation.requests.len() <= 21,
            "{}",
            simulation.requests.len()
        );
        assert!(
            simulation.elapsed() < Duration::from_secs(2),
            "nothing is waited for"
        );
    }
}

#[test]
fn a_webhook_that_rejects_everything_is_not_asked_in_a_hurry() {
    let mut simulation = Simulation::new(100);
    simulation.run_until(Duration::from_secs(60), |_| (rejected(), QUICK));
    assert!(
        simulation.rejected.len() < 20,
        "{}",
        simulation.rejected.len()
    );
    simulation.assert_nothing_forgotten();
}
