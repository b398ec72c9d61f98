//! Several senders around one machine: what holds for one sender holds for all together.

use proptest::collection::vec;
use proptest::prelude::*;

use super::poison::random;
use super::*;

fn with(connections: usize, events: usize) -> Simulation {
    seeded(connections, events, 7)
}

fn seeded(connections: usize, events: usize, seed: u64) -> Simulation {
    let settings = Settings {
        connections,
        ..settings()
    };
    Simulation::seeded(settings, events, seed)
}

const SLOW: Duration = Duration::from_millis(200);

#[test]
fn a_slow_stream_makes_as_few_requests_as_with_one_sender() {
    let requests = |connections| {
        let mut simulation = with(connections, 6000);
        simulation.arrivals = (0..6000).map(|at| Duration::from_millis(at * 10)).collect();
        simulation.run_until(MAX * 10, |_| (Outcome::Delivered, QUICK));
        assert!(simulation.delivered_all_but(&[]));
        simulation.requests.len()
    };
    assert_eq!(requests(8), requests(1));
}

#[test]
fn what_a_distant_webhook_takes_grows_with_the_connections() {
    let took = |connections| {
        let mut simulation = with(connections, 10_000);
        simulation.size = 10_000;
        simulation.run_until(MAX * 10, |_| (Outcome::Delivered, SLOW));
        assert!(simulation.delivered_all_but(&[]));
        simulation.elapsed()
    };
    assert!(took(1) > 7 * took(8), "{:?}, {:?}", took(1), took(8));
}

#[test]
fn each_connection_keeps_the_order() {
    let mut simulation = with(4, 20_000);
    let mut dice = 1;
    simulation.run_until(MAX * 10, |_| {
        let took = Duration::from_millis(1 + random(&mut dice) % 300);
        (Outcome::Delivered, took)
    });
    for sender in 0..4 {
        let of_it = simulation.requests.iter().filter(|it| it.sender == sender);
        let seqs: Vec<Seq> = of_it.flat_map(|request| request.seqs.clone()).collect();
        assert!(seqs.len() > 1000 && seqs.is_sorted());
    }
}

#[test]
fn an_outage_is_one_outage_with_one_probe_at_a_time() {
    for cause in [Cause::Answer, Cause::Unreachable, Cause::Timeout] {
        let mut simulation = with(8, 40_000);
        simulation.run_until(Duration::from_secs(3600), |request| match request.at {
            at if at < SLOW * 3 => (Outcome::Delivered, SLOW),
            _ => (failed(cause), SLOW),
        });
        let down = simulation.requests.iter().rposition(|it| it.seqs.len() > 1);
        let probes = &simulation.requests[down.unwrap() + 1..];
        let pause = |pair: &[Request]| pair[1].at - pair[0].at;
        assert!(
            probes.windows(2).all(|pair| pause(pair) >= MIN),
            "{cause:?}"
        );
        assert!(probes.len() > 100, "{cause:?}: {}", probes.len());
        let at_once = simulation.delays.iter().filter(|delay| **delay < MIN);
        assert!(
            at_once.count() <= 7,
            "one failure of eight bodies: {cause:?}"
        );
        assert!(simulation.rejected.is_empty());
        simulation.assert_nothing_forgotten();
        let back = simulation.elapsed();
        simulation.run_until(back + MAX * 2, |_| (Outcome::Delivered, SLOW));
        assert!(simulation.delivered_all_but(&[]), "{cause:?}");
    }
}

#[test]
fn a_poison_event_costs_itself_only() {
    for poison in [0, 500, 999] {
        for cause in [Cause::Answer, Cause::Disconnected] {
            let mut simulation = with(4, 1000);
            simulation.run_until(Duration::from_secs(60), |request| {
                match request.seqs.contains(&poison) {
                    true => (failed(cause), QUICK),
                    false => (Outcome::Delivered, QUICK),
                }
            });
            let place = format!("{poison}, {cause:?}");
            assert_eq!(simulation.delivered.len(), 999, "{place}");
            let requests = simulation.requests.len();
            assert!(requests < 60, "{place}: {requests}");
        }
    }
}

#[test]
fn a_poison_event_in_a_stream_is_rejected() {
    let mut simulation = with(4, 6000);
    simulation.arrivals = (0..6000).map(|at| Duration::from_millis(at * 50)).collect();
    simulation.run_until(MAX * 20, |request| match request.seqs.contains(&1000) {
        true => (failed(Cause::Answer), SLOW),
        false => (Outcome::Delivered, SLOW),
    });
    assert_eq!(simulation.rejected.keys().collect::<Vec<_>>(), [&1000]);
    assert!(simulation.delivered_all_but(&[1000]));
}

#[test]
fn a_flaky_webhook_costs_no_event() {
    for seed in 0..2 {
        let mut simulation = seeded(4, 3600, seed);
        simulation.size = 20;
        simulation.arrivals = (0..3600).map(Duration::from_secs).collect();
        let mut dice = seed + 1;
        simulation.run_until(Duration::from_secs(2 * 3600), |_| {
            match random(&mut dice) % 2 {
                0 => (failed(Cause::Answer), SLOW),
                _ => (Outcome::Delivered, SLOW),
            }
        });
        assert!(simulation.rejected.is_empty(), "seed {seed}");
        assert!(simulation.delivered_all_but(&[]), "seed {seed}");
    }
}

#[test]
fn a_connection_to_a_broken_server_costs_no_event() {
    for connections in [2, 4] {
        let mut simulation = with(connections, 3000);
        simulation.arrivals = (0..3000)
            .map(|at| Duration::from_millis(at * 100))
            .collect();
        simulation.run_until(MAX * 40, |request| match request.sender {
            // It fails faster than the others succeed, so its sender is free more often.
            1 => (failed(Cause::Answer), QUICK),
            _ => (Outcome::Delivered, SLOW),
        });
        assert!(simulation.rejected.is_empty(), "{connections}");
        assert!(simulation.delivered_all_but(&[]), "{connections}");
    }
}

#[test]
fn what_another_target_answers_late_counts_for_nothing() {
    let mut simulation = with(4, 40_000);
    let limit = Duration::from_millis(1);
    simulation.run_until(limit, |_| (failed(Cause::Answer), SLOW));
    assert_eq!(simulation.requests.len(), 4);
    simulation.delivery.retarget(2, terms());
    simulation.run_until(MAX, |_| (Outcome::Delivered, SLOW));
    assert!(simulation.delays.is_empty(), "no failure of the new one");
    assert!(simulation.delivered_all_but(&[]));
}

proptest! {
    #[test]
    fn each_event_ends_once_whoever_sends_it(
        script in vec((0u32..8, 0u64..3000), 1..40),
        gaps in vec(0u64..500, 1..300),
        connections in 1usize..6,
        reject_after in 0u32..7,
        seed: u64,
    ) {
        let body = Extent { events: 20, bytes: 1 << 20 };
        let settings = Settings { body, reject_after, connections, ..settings() };
        let mut simulation = Simulation::seeded(settings, gaps.len(), seed);
        let mut at = 0;
        simulation.arrivals = gaps.iter().map(|gap| { at += gap; Duration::from_millis(at) }).collect();
        let mut refused: BTreeSet<Seq> = BTreeSet::new();
        let mut failures: BTreeMap<Seq, u32> = BTreeMap::new();
        let mut answers = script.iter().cycle().take(300);
        simulation.run_until(Duration::from_secs(86_400), |request| {
            let (answer, took) = answers.next().copied().unwrap_or((7, 5));
            let outcome = match answer {
                0 => rejected(),
                1 => Outcome::TooLarge(DeliveryError::transient(Cause::Answer, "HTTP 413")),
                2 => failed(Cause::Answer),
                3 => failed(Cause::Disconnected),
                4 => failed(Cause::Unreachable),
                5 => failed(Cause::Settings),
                _ => Outcome::Delivered,
            };
            match answer {
                0 | 1 if request.seqs.len() == 1 => refused.extend(&request.seqs),
                2 | 3 | 5 => request.seqs.iter().for_each(|seq| *failures.entry(*seq).or_default() += 1),
                _ => {}
            }
            (outcome, Duration::from_millis(took))
        });
        simulation.assert_nothing_forgotten();
        prop_assert_eq!(simulation.delivered.len() + simulation.rejected.len(), gaps.len());
        for seq in simulation.rejected.keys() {
            let often = failures.get(seq).copied().unwrap_or(0);
            prop_assert!(refused.contains(seq) || (reject_after > 0 && often >= reject_after));
        }
    }
}
