//! Events that fail whatever else happens, and webhooks that only look as if there were such events.

use super::*;

const CAUSES: [Cause; 4] = [
    Cause::Answer,
    Cause::Disconnected,
    Cause::Timeout,
    Cause::Settings,
];

/// Answers as `cause` says if one of these is in the request.
fn poison(culprits: &[Seq], cause: Cause) -> impl FnMut(&Request) -> (Outcome, Duration) + use<> {
    let culprits = culprits.to_vec();
    move |request| match request.seqs.iter().any(|seq| culprits.contains(seq)) {
        true => (failed(cause), QUICK),
        false => (Outcome::Delivered, QUICK),
    }
}

#[test]
fn one_among_a_thousand_costs_itself_only_wherever_it_is() {
    for cause in CAUSES {
        for culprit in [0, 1, 2, 7, 333, 499, 500, 997, 998, 999] {
            let mut simulation = Simulation::new(1000);
            simulation.run_until(Duration::from_secs(600), poison(&[culprit], cause));
            assert!(
                simulation.delivered_all_but(&[culprit]),
                "{cause:?} {culprit}"
            );
            let last = *simulation.delivered.values().max().unwrap();
            assert!(
                last < Duration::from_secs(60),
                "{cause:?} {culprit}: {last:?}"
            );
            assert_eq!(simulation.rejected.len(), 1, "{cause:?} {culprit}");
            assert_eq!(simulation.rejected[&culprit], format!("{cause:?}"));
            let requests = simulation.requests.len();
            assert!(requests <= 42, "{cause:?} {culprit}: {requests} requests");
            assert_eq!(simulation.set_aside, 1, "one line");
        }
    }
}

#[test]
fn the_others_stay_in_full_bodies_afterwards() {
    let mut simulation = Simulation::new(20_000);
    simulation.run_until(Duration::from_secs(600), poison(&[300], Cause::Answer));
    let last = simulation.requests.last().unwrap();
    assert!(
        simulation
            .requests
            .iter()
            .rev()
            .take(5)
            .any(|request| request.bytes > 1_000_000),
        "{last:?}"
    );
    assert!(simulation.requests.len() < 20_000 / 1000 + 50);
    assert_eq!(simulation.sizes_learned, [0; 0], "it was not the size");
}

#[test]
fn a_live_stream_flows_past_it() {
    let mut simulation = Simulation::new(6000);
    simulation.arrivals = (0..6000)
        .map(|event| Duration::from_millis(event * 10))
        .collect();
    let culprits = [100, 2500];
    simulation.run_until(Duration::from_secs(120), poison(&culprits, Cause::Answer));
    assert!(simulation.delivered_all_but(&culprits));
    assert_eq!(simulation.rejected.len(), 2);
    let late = simulation
        .delivered
        .iter()
        .map(|(seq, at)| *at - simulation.arrivals[*seq as usize]);
    assert!(late.max().unwrap() < Duration::from_secs(30));
}

#[test]
fn two_of_them_cost_two() {
    for culprits in [[0, 999], [10, 11], [0, 1], [250, 750], [998, 999]] {
        for cause in CAUSES {
            let mut simulation = Simulation::new(1000);
            simulation.run_until(Duration::from_secs(3600), poison(&culprits, cause));
            assert!(
                simulation.delivered_all_but(&culprits),
                "{culprits:?} {cause:?}"
            );
            let last = *simulation.delivered.values().max().unwrap();
            assert!(
                last < Duration::from_secs(90),
                "{culprits:?} {cause:?}: {last:?}"
            );
        }
    }
}

#[test]
fn a_run_of_neighbours_does_not_keep_the_others_for_long() {
    // When the last of the others is delivered.
    let last = |culprits: &[Seq], outcome: fn() -> Outcome| {
        let mut simulation = Simulation::new(1000);
        simulation.run_until(Duration::from_secs(3600), |request| {
            match request.seqs.iter().any(|seq| culprits.contains(seq)) {
                true => (outcome(), QUICK),
                false => (Outcome::Delivered, QUICK),
            }
        });
        assert!(simulation.delivered_all_but(culprits), "{culprits:?}");
        *simulation.delivered.values().max().unwrap()
    };
    for length in [3, 10, 30, 100] {
        for first in [0, 450, 1000 - length] {
            let culprits: Vec<Seq> = (first..first + length).collect();
            let refused = last(&culprits, rejected);
            assert!(
                refused < Duration::from_secs(5),
                "{length}, {first}: {refused:?}"
            );
            // Each of these has to fail several times while others pass.
            if length <= 30 {
                let unclear = last(&culprits, || failed(Cause::Answer));
                assert!(
                    unclear < Duration::from_secs(60 + 10 * length),
                    "{length}, {first}: {unclear:?}"
                );
            }
        }
    }
}

#[test]
fn all_of_them_are_a_webhook_that_is_down() {
    let all: Vec<Seq> = (0..1000).collect();
    let mut simulation = Simulation::new(1000);
    simulation.run_until(Duration::from_secs(3600), poison(&all, Cause::Answer));
    assert!(simulation.rejected.is_empty());
    simulation.assert_nothing_forgotten();
}

#[test]
fn many_among_few_others_hold_nobody_up() {
    let culprits: Vec<Seq> = (0..20).filter(|seq| seq % 10 != 9).collect();
    let mut simulation = Simulation::new(20);
    simulation.run_until(Duration::from_secs(3600), poison(&culprits, Cause::Answer));
    assert!(simulation.delivered.contains_key(&9) && simulation.delivered.contains_key(&19));
    simulation.assert_nothing_forgotten();
}

#[test]
fn one_in_an_outage_is_found_after_it() {
    for culprit in [0, 3, 500] {
        let mut simulation = Simulation::new(1000);
        let outage = Duration::from_secs(600);
        let mut after = poison(&[culprit], Cause::Answer);
        simulation.run_until(outage, |_| (failed(Cause::Answer), QUICK));
        assert!(simulation.rejected.is_empty());
        let back = simulation.elapsed();
        simulation.run_until(outage * 10, |request| after(request));
        assert!(simulation.delivered_all_but(&[culprit]), "{culprit}");
        let last = *simulation.delivered.values().max().unwrap() - back;
        assert!(last < Duration::from_secs(90), "{culprit}: {last:?}");
    }
}

#[test]
fn at_a_stop_the_others_are_delivered_within_its_time() {
    for culprit in [0, 500, 999] {
        let mut simulation = Simulation::new(1000);
        simulation.stop_at = Some(Duration::from_millis(200));
        let mut webhook = poison(&[culprit], Cause::Answer);
        simulation.run_until(Duration::from_millis(5200), |request| webhook(request));
        assert!(
            simulation.delivered_all_but(&[culprit]),
            "{culprit}: {}",
            simulation.delivered.len()
        );
        simulation.assert_nothing_forgotten();
    }
}

#[test]
fn never_means_never() {
    let settings = Settings {
        reject_after: 0,
        ..settings()
    };
    let mut simulation = Simulation::with(settings, 2000);
    simulation.arrivals = (0..2000)
        .map(|event| Duration::from_millis(event * 100))
        .collect();
    simulation.run_until(Duration::from_secs(400), poison(&[50], Cause::Answer));
    assert!(simulation.delivered_all_but(&[50]) && simulation.rejected.is_empty());
    simulation.assert_nothing_forgotten();
}

#[test]
fn with_few_others_one_is_kept_until_enough_of_them_have_passed() {
    let mut simulation = Simulation::new(3);
    simulation.run_until(Duration::from_secs(60), poison(&[1], Cause::Answer));
    assert!(simulation.delivered_all_but(&[1]) && simulation.rejected.is_empty());
    let now = simulation.elapsed();
    let mut simulation = Simulation::new(30);
    simulation.arrivals = (0..30)
        .map(|event| Duration::from_secs(event * 10))
        .collect();
    simulation.run_until(now + Duration::from_secs(1200), poison(&[1], Cause::Answer));
    assert_eq!(simulation.rejected.len(), 1);
    assert!(simulation.delivered_all_but(&[1]));
}

/// A cheap random number generator, so that a run can be repeated with its seed.
pub(super) fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[test]
fn a_flaky_webhook_costs_no_event_in_an_hour() {
    for seed in 0..4 {
        for percent in [20, 50, 80] {
            let mut simulation = Simulation::seeded(settings(), 3600, seed);
            simulation.size = 20;
            simulation.arrivals = (0..3600).map(Duration::from_secs).collect();
            let mut state = seed * 1000 + percent;
            simulation.run_until(Duration::from_secs(2 * 3600), |_| {
                match random(&mut state) % 100 < percent {
                    true => (failed(CAUSES[(state % 4) as usize]), QUICK),
                    false => (Outcome::Delivered, QUICK),
                }
            });
            assert!(simulation.rejected.is_empty(), "seed {seed}, {percent} %");
            simulation.assert_nothing_forgotten();
            assert!(
                percent > 50 || simulation.delivered_all_but(&[]),
                "seed {seed}, {percent} %: {}",
                simulation.delivered.len()
            );
        }
    }
}

#[test]
fn a_webhook_that_comes_and_goes_costs_no_event() {
    for seed in 0..12 {
        let mut simulation = Simulation::seeded(settings(), 3600, seed);
        simulation.size = 20;
        simulation.arrivals = (0..3600).map(Duration::from_secs).collect();
        simulation.run_until(Duration::from_secs(2 * 3600), |request| {
            // Up for one minute, down for one, and so on, after a good quarter of an hour.
            let seconds = request.at.as_secs() + seed;
            match seconds > 900 && seconds / 60 % 2 == 1 {
                true => (failed(Cause::Answer), QUICK),
                false => (Outcome::Delivered, QUICK),
            }
        });
        assert!(simulation.rejected.is_empty(), "seed {seed}");
        assert!(simulation.delivered_all_but(&[]), "seed {seed}");
    }
}

#[test]
fn a_balancer_that_takes_turns_between_a_good_and_a_broken_server_costs_no_event() {
    for events_per_body in [1, 10, 100] {
        for passes in [20, 150, 400] {
            let settings = Settings {
                body: Extent {
                    events: events_per_body,
                    ..settings().body
                },
                ..settings()
            };
            let mut simulation = Simulation::with(settings, 600 * events_per_body);
            simulation.size = 20;
            // All at once, as after an outage.
            let backlog = simulation.run(600 * events_per_body);
            simulation.delivery.collected(Some(backlog), simulation.now);
            let mut request = 0;
            simulation.run_until(Duration::from_secs(3600), |_| {
                request += 1;
                match request <= 3 || (request > passes + 3 && request % 2 == 0) {
                    true => (failed(Cause::Answer), QUICK),
                    false => (Outcome::Delivered, QUICK),
                }
            });
            let place = format!("{events_per_body} in a body, {passes} passes");
            assert!(
                simulation.rejected.is_empty(),
                "{place}: {:?}",
                simulation.rejected.len()
            );
            assert!(simulation.delivered_all_but(&[]), "{place}");
        }
    }
}

#[test]
fn one_in_many_of_a_stream_holds_nobody_up() {
    for (one_in, connections) in [(1000, 1), (300, 1), (300, 4), (100, 4)] {
        let settings = Settings {
            connections,
            ..settings()
        };
        let mut simulation = Simulation::with(settings, 6000);
        simulation.arrivals = (0..6000)
            .map(|event| Duration::from_millis(event * 10))
            .collect();
        let culprits: Vec<Seq> = (0..6000).step_by(one_in).collect();
        let limit = Duration::from_secs(120);
        simulation.run_until(limit, poison(&culprits, Cause::Answer));
        let place = format!("one in {one_in}, {connections}");
        assert!(simulation.delivered_all_but(&culprits), "{place}");
        let late = simulation.latest();
        assert!(late < Duration::from_secs(20), "{place}: {late:?}");
        assert!(simulation.rejected.len() > culprits.len() / 2, "{place}");
    }
}

#[test]
fn a_webhook_that_wants_fewer_requests_is_not_hurried() {
    for is_overload in [false, true] {
        let mut simulation = Simulation::new(2000);
        let culprits = [100, 700, 1300];
        simulation.run_until(MAX, |request| {
            let error = DeliveryError {
                is_overload,
                ..DeliveryError::transient(Cause::Answer, "HTTP 503")
            };
            match request.seqs.iter().any(|seq| culprits.contains(seq)) {
                true => (Outcome::Failed(error), QUICK),
                false => (Outcome::Delivered, QUICK),
            }
        });
        assert!(simulation.delivered_all_but(&culprits), "{is_overload}");
        let is_hurried = simulation.delays.iter().any(|delay| *delay < MIN);
        assert_eq!(is_hurried, !is_overload);
    }
}
