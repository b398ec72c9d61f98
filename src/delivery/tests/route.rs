//! Several endpoints: which one is used, and what the failure of one means for the others and for the events.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::delivery::route::Mode;

const FAILBACK: Duration = Duration::from_secs(300);
pub(super) const SLOW: Duration = Duration::from_millis(50);

/// The same with compression, or without.
fn compressed(mut simulation: Simulation, is_compressed: bool) -> Simulation {
    let terms = Terms {
        is_compressed,
        ..simulation.delivery.terms
    };
    simulation.delivery.retarget(3, terms);
    simulation.packs = is_compressed.then_some(|request| request.bytes / 5);
    simulation
}

pub(super) fn to(endpoints: usize, mode: Mode, connections: usize, events: usize) -> Simulation {
    let settings = Settings {
        connections,
        ..settings()
    };
    let mut simulation = Simulation::with(settings, events);
    let policy = Policy {
        endpoints,
        mode,
        failback: FAILBACK,
    };
    simulation.delivery.retarget(2, Terms { policy, ..terms() });
    simulation
}

/// A stream of events, with this many milliseconds between two of them.
pub(super) fn stream(mut simulation: Simulation, gap: u64) -> Simulation {
    for (at, arrival) in simulation.arrivals.iter_mut().enumerate() {
        *arrival = Duration::from_millis(at as u64 * gap);
    }
    simulation
}

const CAUSES: [Cause; 5] = [
    Cause::Unreachable,
    Cause::Settings,
    Cause::Answer,
    Cause::Disconnected,
    Cause::Timeout,
];

/// The requests to an endpoint.
fn at(simulation: &Simulation, endpoint: usize) -> Vec<&Request> {
    let requests = simulation.requests.iter();
    requests.filter(|it| it.endpoint == endpoint).collect()
}

#[test]
fn what_fails_at_one_goes_to_the_next_at_once() {
    for cause in CAUSES {
        for connections in [1, 4] {
            let mut simulation = to(3, Mode::Failover, connections, 50_000);
            simulation.run_until(MAX, |request| match request.endpoint {
                0 => (failed(cause), SLOW),
                _ => (Outcome::Delivered, SLOW),
            });
            let place = format!("{cause:?} {connections}");
            assert!(simulation.delivered_all_but(&[]), "{place}");
            assert!(simulation.delays.is_empty(), "no outage: {place}");
            assert_eq!(simulation.set_aside, 0, "{place}");
            assert!(simulation.sizes_learned.is_empty(), "{place}");
            assert_eq!(at(&simulation, 2).len(), 0, "{place}");
            let (first, rest) = simulation.turns.split_first().unwrap();
            assert_eq!((first.0, first.1), (0, false), "{place}");
            assert!(rest.iter().all(|turn| turn.0 == 0 && !turn.1), "{place}");
            // Each sender may have a body there when the first endpoint fails; after that, it gets one event at a time.
            let later = at(&simulation, 0).split_off(connections);
            assert!(
                later.iter().all(|request| request.seqs.len() == 1),
                "{place}"
            );
            assert!(later.len() < 15, "{place}: {}", later.len());
        }
    }
}

#[test]
fn senders_go_home_when_the_first_has_worked_for_a_while() {
    let mut simulation = stream(to(2, Mode::Failover, 1, 6000), 100);
    let down = Duration::from_secs(10)..Duration::from_secs(60);
    simulation.run_until(MAX * 100, |request| match request.endpoint {
        0 if down.contains(&request.at) => (failed(Cause::Unreachable), QUICK),
        _ => (Outcome::Delivered, QUICK),
    });
    assert!(simulation.delivered_all_but(&[]));
    let restored = simulation.turns.last().unwrap();
    assert!(
        restored.1 && restored.2 > down.end,
        "{:?}",
        simulation.turns
    );
    let home = restored.2 + FAILBACK;
    for request in &simulation.requests {
        let is_at_home = request.at < down.start || request.at >= home;
        let is_trial = request.endpoint == 0 && request.seqs.len() == 1;
        let is_first = request.at < down.start + Duration::from_secs(2);
        assert!(
            (request.endpoint == 0) == is_at_home || is_trial || is_first,
            "{:?} at {}",
            request.at,
            request.endpoint
        );
    }
    assert!(simulation.requests.last().unwrap().at > home);
    let proofs = at(&simulation, 0);
    let proofs = proofs
        .iter()
        .filter(|it| it.at > restored.2 && it.at < home);
    assert!(
        (5..15).contains(&proofs.count()),
        "it is seen to work meanwhile"
    );
}

#[test]
fn one_that_may_be_back_is_tried_before_anybody_waits() {
    let seconds = Duration::from_secs;
    for (mode, connections) in [(Mode::Failover, 1), (Mode::Failover, 4), (Mode::Spread, 4)] {
        let mut simulation = stream(to(3, mode, connections, 3000), 10);
        // The first endpoint is back long before it is tried again, since it was slow to fail.
        let down = [
            seconds(4)..seconds(5),
            seconds(9)..seconds(60),
            seconds(13)..seconds(60),
        ];
        simulation.run_until(MAX * 10, |request| {
            match down[request.endpoint].contains(&request.at) {
                true => (failed(Cause::Unreachable), seconds(2)),
                false => (Outcome::Delivered, QUICK),
            }
        });
        let place = format!("{mode:?} {connections}");
        assert!(simulation.delivered_all_but(&[]), "{place}");
        assert!(simulation.delays.is_empty(), "{place}: an outage");
        let times: BTreeSet<_> = simulation.delivered.values().collect();
        let pauses = times.iter().zip(times.iter().skip(1));
        let longest = pauses.map(|(at, next)| **next - **at).max().unwrap();
        assert!(longest < seconds(4), "{place}: {longest:?}");
    }
}

#[test]
fn spread_uses_all_and_leaves_one_that_fails_to_a_single_event() {
    let mut simulation = to(3, Mode::Spread, 3, 200_000);
    simulation.run_until(MAX * 10, |_| (Outcome::Delivered, SLOW));
    let counts: Vec<_> = (0..3).map(|place| at(&simulation, place).len()).collect();
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(most - least <= 1, "{counts:?}");

    let mut simulation = to(3, Mode::Spread, 3, 200_000);
    simulation.run_until(MAX * 10, |request| match request.endpoint {
        1 => (failed(Cause::Answer), SLOW),
        _ => (Outcome::Delivered, SLOW),
    });
    assert!(simulation.delivered_all_but(&[]) && simulation.delays.is_empty());
    let tries = at(&simulation, 1);
    assert!(tries[1..].iter().all(|request| request.seqs.len() == 1));
    let is_gap = |pair: &[&Request]| pair[1].at - pair[0].at >= MIN;
    assert!(tries.windows(2).all(is_gap), "after its backoff");
    assert_eq!(simulation.rejected.len(), 0);
}

#[test]
fn one_sender_spreads_over_time() {
    let mut simulation = stream(to(3, Mode::Spread, 1, 1200), 100);
    simulation.run_until(MAX * 10, |_| (Outcome::Delivered, QUICK));
    let counts: Vec<_> = (0..3).map(|place| at(&simulation, place).len()).collect();
    assert!(counts.iter().all(|count| *count > 20), "{counts:?}");
}

#[test]
fn a_slow_failure_costs_a_tenth_of_the_time_at_most() {
    let mut simulation = stream(to(2, Mode::Failover, 1, 6000), 100);
    let slow = Duration::from_secs(10);
    simulation.run_until(MAX * 100, |request| match request.endpoint {
        0 => (failed(Cause::Unreachable), slow),
        _ => (Outcome::Delivered, QUICK),
    });
    assert!(simulation.delivered_all_but(&[]));
    let tries = at(&simulation, 0).len() as u32;
    assert!(slow * tries <= simulation.elapsed() / 9 + slow, "{tries}");
}

#[test]
fn an_outage_of_all_is_one_outage_and_all_are_tried() {
    for cause in CAUSES {
        for mode in [Mode::Failover, Mode::Spread] {
            let mut simulation = to(3, mode, 4, 10_000);
            let outage = Duration::from_secs(600);
            let last = |endpoint| (endpoint + 1) % 3 == 0;
            simulation.run_until(outage, |_| (failed(cause), SLOW));
            let place = format!("{cause:?} {mode:?}");
            for endpoint in 0..3 {
                assert!(at(&simulation, endpoint).len() > 15, "{place} {endpoint}");
            }
            let total = simulation.requests.len();
            assert!(total < 600, "{place}: {total}");
            assert!(simulation.rejected.is_empty(), "{place}");
            // Whichever endpoint comes back is found within a backoff.
            simulation.run_until(outage + MAX * 3, |request| match last(request.endpoint) {
                true => (Outcome::Delivered, SLOW),
                false => (failed(cause), SLOW),
            });
            assert!(simulation.delivered_all_but(&[]), "{place}");
            let first = simulation.delivered.values().min().unwrap();
            assert!(*first < outage + MAX + MAX / 10, "{place}: {first:?}");
        }
    }
}

#[test]
fn a_poison_event_blames_no_endpoint() {
    for cause in [Cause::Answer, Cause::Disconnected] {
        for connections in [1, 4] {
            let mut simulation = stream(to(3, Mode::Failover, connections, 6000), 50);
            simulation.run_until(MAX * 20, |request| match request.seqs.contains(&1000) {
                true => (failed(cause), QUICK),
                false => (Outcome::Delivered, QUICK),
            });
            let place = format!("{cause:?} {connections}");
            assert_eq!(simulation.rejected.keys().collect::<Vec<_>>(), [&1000]);
            assert!(simulation.delivered_all_but(&[1000]), "{place}");
            assert_eq!(simulation.turns, [], "{place}");
        }
    }
}

#[test]
fn a_poison_event_keeps_no_endpoint_from_work() {
    let mut simulation = stream(to(3, Mode::Spread, 3, 6000), 50);
    simulation.delivery.settings.reject_after = 0;
    simulation.run_until(Duration::from_secs(300), |request| {
        match request.seqs.contains(&1000) {
            true => (failed(Cause::Answer), QUICK),
            false => (Outcome::Delivered, QUICK),
        }
    });
    let of_poison = |it: &&Request| it.seqs == [1000];
    let later = simulation.requests.iter().filter(|it| it.at > MAX * 3);
    let (poison, others): (Vec<_>, Vec<_>) = later.partition(of_poison);
    assert!(poison.len() > 20, "{}", poison.len());
    let trials = others.iter().filter(|it| it.seqs.len() == 1).count();
    assert!(trials < 3, "{trials}: none is taken for down");
}

#[test]
fn a_poison_event_costs_itself_only_while_an_endpoint_is_down() {
    for dead in 0..3 {
        let mut simulation = stream(to(3, Mode::Failover, 2, 6000), 50);
        simulation.run_until(MAX * 20, |request| match request.endpoint {
            endpoint if endpoint == dead => (failed(Cause::Unreachable), QUICK),
            _ if request.seqs.contains(&1000) => (failed(Cause::Answer), QUICK),
            _ => (Outcome::Delivered, QUICK),
        });
        assert_eq!(simulation.rejected.keys().collect::<Vec<_>>(), [&1000]);
        assert!(simulation.delivered_all_but(&[1000]), "{dead}");
        let others = simulation.turns.iter().filter(|turn| turn.0 != dead);
        assert_eq!(others.count(), 0, "{dead}: {:?}", simulation.turns);
    }
}

#[test]
fn a_rejection_is_the_events_and_not_the_endpoints() {
    let mut simulation = to(2, Mode::Failover, 1, 1000);
    simulation.run_until(MAX, |request| match request.seqs.contains(&500) {
        true => (rejected(), QUICK),
        false => (Outcome::Delivered, QUICK),
    });
    assert_eq!(simulation.rejected.keys().collect::<Vec<_>>(), [&500]);
    assert_eq!(at(&simulation, 1).len(), 0);
    assert_eq!(simulation.turns, []);
}

#[test]
fn an_endpoint_that_is_down_is_not_tried_at_the_end() {
    let mut simulation = stream(to(2, Mode::Failover, 1, 400), 100);
    simulation.stop_at = Some(Duration::from_secs(20));
    simulation.run_until(MAX * 10, |request| match request.endpoint {
        0 => (failed(Cause::Unreachable), QUICK),
        _ => (Outcome::Delivered, QUICK),
    });
    assert!(at(&simulation, 0).len() > 2);
    let late = at(&simulation, 0).into_iter();
    assert_eq!(late.filter(|it| it.at >= MIN * 40).count(), 0);
    simulation.assert_nothing_forgotten();
}

#[test]
fn with_compression_too_an_endpoint_that_failed_is_tried_again_by_one_event_at_a_time() {
    // A stretch that compresses well, and one that hardly does.
    let packs = |request: &Request| match (request.seqs[0] / 9000) % 2 {
        0 => request.bytes / 8,
        _ => request.bytes,
    };
    for (mode, connections) in [(Mode::Failover, 1), (Mode::Spread, 1), (Mode::Spread, 3)] {
        let mut simulation = to(2, mode, connections, 200_000);
        let terms = Terms {
            is_compressed: true,
            ..simulation.delivery.terms
        };
        simulation.delivery.retarget(3, terms);
        simulation.packs = Some(packs);
        simulation.run_until(MAX * 20, |request| match request.endpoint {
            0 => (failed(Cause::Answer), SLOW),
            _ => (Outcome::Delivered, SLOW * 20),
        });
        let place = format!("{mode:?} {connections}");
        assert!(simulation.delivered_all_but(&[]), "{place}");
        assert!(simulation.oversized > 2, "{place}");
        let tries = at(&simulation, 0).split_off(connections);
        let is_one = |request: &&Request| request.seqs.len() == 1;
        assert!(tries.iter().all(is_one), "{place}: {tries:?}");
        let last = tries.last().unwrap().at;
        assert!(last + MAX * 2 > simulation.elapsed(), "{place}: {last:?}");
    }
}

#[test]
fn with_compression_too_a_trickle_of_events_goes_on_beside_an_endpoint_that_failed() {
    for gap in [400, 1500] {
        let mut simulation = compressed(stream(to(2, Mode::Failover, 1, 100), gap), true);
        simulation.run_until(MAX * 100, |request| match request.endpoint {
            0 => (failed(Cause::Answer), QUICK),
            _ => (Outcome::Delivered, QUICK),
        });
        assert!(simulation.delivered_all_but(&[]), "{gap}");
        assert!(at(&simulation, 0).len() > 3, "{gap}");
    }
}

proptest! {
    /// Each endpoint fails when and how it wants, but one always works: nothing is rejected or waits for a backoff.
    #[test]
    fn while_one_works_there_is_no_outage(
        endpoints in 2usize..5,
        is_spread: bool,
        connections in 1usize..5,
        packs: bool,
        works in 0usize..5,
        script in vec((0usize..8, 1u64..400), 1..60),
        gaps in vec(0u64..200, 1..300),
    ) {
        let mode = if is_spread { Mode::Spread } else { Mode::Failover };
        let mut simulation = compressed(to(endpoints, mode, connections, gaps.len()), packs);
        let mut at = 0;
        simulation.arrivals = gaps.iter().map(|gap| { at += gap; Duration::from_millis(at) }).collect();
        let mut answers = script.iter().cycle();
        simulation.run_until(Duration::from_secs(86_400), |request| {
            let (answer, took) = *answers.next().unwrap();
            let took = Duration::from_millis(took);
            match CAUSES.get(answer) {
                Some(cause) if request.endpoint != works % endpoints => (failed(*cause), took),
                _ => (Outcome::Delivered, took),
            }
        });
        prop_assert!(simulation.delivered_all_but(&[]));
        prop_assert!(simulation.delays.is_empty());
        prop_assert!(simulation.turns.iter().all(|turn| turn.0 != works % endpoints));
        // What comes back went down before.
        for place in 0..endpoints {
            let mut is_down = false;
            for turn in simulation.turns.iter().filter(|turn| turn.0 == place) {
                prop_assert!(is_down || !turn.1);
                is_down = !turn.1;
            }
        }
    }

    /// Whatever the answers of all endpoints: each event becomes final once.
    #[test]
    fn each_event_ends_once_wherever_it_goes(
        endpoints in 1usize..5,
        is_spread: bool,
        connections in 1usize..5,
        packs: bool,
        script in vec((0usize..9, 0u64..3000), 1..60),
        gaps in vec(0u64..500, 1..200),
    ) {
        let mode = if is_spread { Mode::Spread } else { Mode::Failover };
        let mut simulation = compressed(to(endpoints, mode, connections, gaps.len()), packs);
        let mut at = 0;
        simulation.arrivals = gaps.iter().map(|gap| { at += gap; Duration::from_millis(at) }).collect();
        let mut answers = script.iter().cycle().take(300);
        simulation.run_until(Duration::from_secs(86_400), |_| {
            let (answer, took) = answers.next().copied().unwrap_or((8, 5));
            let outcome = match CAUSES.get(answer) {
                Some(cause) => failed(*cause),
                None if answer == 5 => rejected(),
                None => Outcome::Delivered,
            };
            (outcome, Duration::from_millis(took))
        });
        simulation.assert_nothing_forgotten();
        prop_assert_eq!(simulation.delivered.len() + simulation.rejected.len(), gaps.len());
    }
}

/// Each probe of one event goes to all of the endpoints, and is one probe.
#[test]
fn an_event_that_fails_at_every_endpoint_stops_nothing_however_many_there_are() {
    for endpoints in 1..=6 {
        for poison in [20, 23, 26] {
            let mut simulation = Simulation::new(100);
            simulation.arrivals = (0..100).map(|at| Duration::from_secs(3 * at)).collect();
            let policy = Policy {
                endpoints,
                mode: Mode::Failover,
                failback: Duration::from_secs(60),
            };
            simulation.delivery.retarget(2, Terms { policy, ..terms() });
            simulation.run_until(Duration::from_secs(1800), |request| {
                match request.seqs.contains(&poison) {
                    true => (failed(Cause::Answer), QUICK),
                    false => (Outcome::Delivered, QUICK),
                }
            });
            let left = 100 - simulation.delivered.len();
            assert_eq!(left, 1, "{endpoints} {poison}");
        }
    }
}
